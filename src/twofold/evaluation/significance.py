"""Means and paired differences, with intervals over requests and seeds.

Shapes: S trained models (seeds) of one arm, R requests, A arms. Requests that belong together (one
user's queries) are one cluster and are resampled together.

The variance of a contrast of means over seeds and requests is the sum of two components. The
request variance is that of the contrast of the seed-averaged scores when clusters are resampled
(Efron's infinitesimal jackknife, without random numbers). The seed variance is that of the contrast
of the arms' means over the seeds. Both contain the interaction of seeds and requests, so it is
subtracted from the first. The sum is never less than the requests alone give, even if the seed
means happen to agree.

If each seed has other requests (another fold of the data), a request has scores by one seed, and
NaN elsewhere. The means of the seeds then differ by their requests as well, which is an interaction
as before; it is estimated over clusters, since a user may have requests in several folds.

With few seeds, the estimate of the seed variance is imprecise. If three arms or more share their
seeds, the variance of the contrast over the seeds is averaged with that of the other contrasts
between them, which have the weight 1/S: arms of equal variance then have nearly twice the degrees
of freedom, and an effect of a seed on all arms alike (such as the same training data) cancels. For
two arms, the variances are added, as if their seeds were independent. With too few seeds for
either, the estimate is valid for these trained models only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from twofold.evaluation.clusters import Clusters
from twofold.records import Floats, Ints

MIN_SEEDS = 3
_MOST_DEGREES = 1e9
"""From this many degrees of freedom on, the t distribution is taken as normal."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a contrast of means.

    Attributes:
        value: the point estimate.
        request_variance: the part of the variance of the value that is due to the requests.
        seed_variance: the part that is due to the seeds; None if it cannot be estimated.
        interaction: the part of `seed_variance` that more requests would reduce as well.
        degrees: degrees of freedom of the t distribution.
        floor_variance, floor_degrees: the variance of the value for these trained models, which is
            due to the requests alone, and its degrees of freedom; no interval is narrower.
        bound: the largest size that the value can have.
    """

    value: float
    request_variance: float
    seed_variance: float | None
    interaction: float
    degrees: float
    floor_variance: float = 0.0
    floor_degrees: float = _MOST_DEGREES
    bound: float = math.inf

    @classmethod
    def unknown(cls, bound: float) -> "Estimate":
        """An unknown value, with only a bound on its size."""
        return cls(0.0, bound**2, None, 0.0, 1.0, bound**2, 1.0, bound)

    @property
    def standard_error(self) -> float:
        return max(error for error, _ in self._errors)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval."""
        half = max(error * _quantile(0.5 + level / 2, degrees) for error, degrees in self._errors)
        return max(self.value - half, -self.bound), min(self.value + half, self.bound)

    @property
    def p_above(self) -> float:
        """One-sided p-value of the hypothesis that the true value is 0 or less."""
        return self._one_sided(self.value)

    @property
    def p_below(self) -> float:
        """One-sided p-value of the hypothesis that the true value is 0 or more."""
        return self._one_sided(-self.value)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the true value is 0."""
        return min(1.0, 2 * min(self.p_above, self.p_below))

    def _one_sided(self, value: float) -> float:
        if self.standard_error == 0:
            return 0.0 if value > 0 else 1.0
        return max(_tail(value / e, degrees) for e, degrees in self._errors if e > 0)

    @property
    def _errors(self) -> Sequence[tuple[float, float]]:
        """Standard errors with their degrees of freedom; whichever gives the wider interval."""
        total = self.request_variance + (self.seed_variance or 0.0)
        return (
            (math.sqrt(total), self.degrees),
            (math.sqrt(self.floor_variance), self.floor_degrees),
        )


def _quantile(probability: float, degrees: float) -> float:
    return float(special.stdtrit(min(degrees, _MOST_DEGREES), probability))


def _tail(statistic: float, degrees: float) -> float:
    """The probability that t is above `statistic`."""
    return float(special.stdtr(min(degrees, _MOST_DEGREES), -statistic))


class Moments:
    """Means and covariances of several arms on the same requests, for every contrast of the means.

    Args:
        scores: (S, R) for each of the A arms; S may differ between arms. With folds, the score of a
            request that a seed does not have is NaN, in all arms.
        clusters: the number of each request's cluster, (R,).

    Attributes:
        means: (A,).
        seed_means: (S,) for each arm.
        interactions: covariance of the arms' means by the interaction of seeds and requests, (A,
            A); diagonal if all seeds have the same requests.
        request_covariance: the covariance of the means over requests, (A, A).
        folded: whether each seed has its own requests.
    """

    def __init__(self, scores: Sequence[Floats], clusters: Ints) -> None:
        self.folded = has_folds(scores[0])
        self._unequal = 1.0
        if self.folded:
            self._of_folds(scores, clusters)
            return
        self._clusters = Clusters(clusters)
        averaged = np.stack([arm.mean(axis=0) for arm in scores])
        self.means = averaged.mean(axis=1)
        self.seed_means = [arm.mean(axis=1) for arm in scores]
        self.interactions = np.diag([_interaction(arm) for arm in scores])
        self.request_covariance = self._clusters.covariance(self._clusters.influence(averaged))

    def _of_folds(self, scores: Sequence[Floats], clusters: Ints) -> None:
        """The moments if each request has scores by one seed only."""
        asked = ~np.isnan(scores[0])
        counts = asked.sum(axis=1)
        folds, asked, counts = np.argmax(asked, axis=0), asked[counts > 0], counts[counts > 0]
        self._clusters = Clusters(clusters)
        # A fold without any of these requests has no mean.
        folds = np.unique(folds, return_inverse=True)[1]
        values = np.stack([np.nansum(arm, axis=0) for arm in scores])
        seed_means = np.stack([np.bincount(folds, weights=row) / counts for row in values])
        self.means = values.mean(axis=1)
        self.seed_means = list(seed_means)
        shares = counts / counts.sum()
        self._unequal = float(len(shares) * (shares**2).sum())
        residuals = values - seed_means[:, folds]
        self.request_covariance = self._clusters.covariance(self._clusters.influence(residuals))
        self.interactions = np.zeros_like(self.request_covariance)
        if len(shares) > 1:
            by_fold = np.stack(
                [
                    self._clusters.influence(np.where(folds == fold, residuals, 0.0)) / share
                    for fold, share in enumerate(shares)
                ]
            )
            deviations = by_fold - by_fold.mean(axis=0)
            covariances = np.stack(
                [self._clusters.covariance(influence) for influence in deviations]
            )
            spread = covariances.sum(axis=0) / (len(shares) - 1)
            self.interactions = spread * float((shares**2).sum())

    @property
    def request_degrees(self) -> float:
        """Degrees of freedom of the request variance."""
        return self._clusters.degrees

    def contrast(self, weights: Sequence[float]) -> Estimate:
        """The sum of the arms' means times `weights` (A,).

        Arms with weight 0 only help to estimate the seed variance.
        """
        w = np.asarray(weights, dtype=np.float64)
        if not np.isfinite(self.request_covariance).all():
            return Estimate.unknown(float(np.abs(w).sum()))
        value, raw = float(w @ self.means), _quadratic(self.request_covariance, w)
        raw_degrees = self.request_degrees
        seeds, scale = self._seed_variance(w)
        if seeds is None:
            return Estimate(value, raw, None, 0.0, raw_degrees, raw, raw_degrees)
        interaction = float(w @ self.interactions @ w)
        requests = max(0.0, raw - interaction)
        scale += requests**2 / raw_degrees
        degrees = (requests + seeds) ** 2 / scale if scale > 0 else _MOST_DEGREES
        return Estimate(value, requests, seeds, interaction, degrees, raw, raw_degrees)

    def _seed_variance(self, weights: Floats) -> tuple[float | None, float]:
        """`seed_variance`; with folds arms are paired by the requests of their seeds."""
        if not self.folded:
            return seed_variance(self.seed_means, weights)
        means, seeds = np.stack(self.seed_means), len(self.seed_means[0])
        if len(means) > 2 and seeds > 1:
            of_seeds, scale = (float(part) for part in pooled_seed_variance(means, weights))
        elif seeds >= MIN_SEEDS:
            of_seeds = float((weights @ means).var(ddof=1)) / seeds
            scale = of_seeds**2 / (seeds - 1)
        else:
            return None, 0.0
        return of_seeds * self._unequal, scale * self._unequal**2


def has_folds(scores: Floats) -> bool:
    """Whether each request has scores by one seed only, (S, R) with NaN elsewhere."""
    return bool(scores.shape[0] > 1 and (np.isfinite(scores).sum(axis=0) == 1).all())


def side_by_side(scores: Sequence[Floats]) -> Floats:
    """The scores of each fold's own requests, (R_s,) by seed, as one matrix with NaN elsewhere.

    Returns:
        (S, R), R the sum of all R_s.
    """
    ends = np.cumsum([len(of_seed) for of_seed in scores])
    matrix = np.full((len(scores), int(ends[-1])), np.nan)
    for row, (of_seed, end) in enumerate(zip(scores, ends, strict=True)):
        matrix[row, end - len(of_seed) : end] = of_seed
    return matrix


def _quadratic(covariance: Floats, weights: Floats) -> float:
    """The variance of a weighted sum; exactly 0 if it differs from 0 only by rounding."""
    value = float(weights @ covariance @ weights)
    largest = float(np.abs(weights) @ np.abs(covariance) @ np.abs(weights))
    return value if value > 1e-12 * largest else 0.0


def mean(scores: Floats, clusters: Ints) -> Estimate:
    """The mean of an arm's scores.

    Args:
        scores: (S, R).
        clusters: (R,), the number of each request's cluster.
    """
    return contrast([(1.0, scores)], clusters)


def difference(
    first: Floats,
    second: Floats,
    clusters: Ints,
    *,
    others: Sequence[Floats] = (),
    fixed: bool = False,
) -> Estimate:
    """The mean of `first` - `second`, requests paired.

    Args:
        first, second: (S, R) and (S', R), over the same requests.
        clusters: (R,).
        others: scores of further arms, which help to estimate the seed variance.
        fixed: `second` is not trained with seeds, so it has no seed variance.
    """
    if fixed:
        return contrast([(1.0, first - second)], clusters)
    terms = [(1.0, first), (-1.0, second), *((0.0, other) for other in others)]
    return contrast(terms, clusters)


def contrast(terms: Sequence[tuple[float, Floats]], clusters: Ints) -> Estimate:
    """A weighted sum of the means of several arms, requests paired.

    Args:
        terms: weight and scores (S, R) of each arm, over the same requests; each arm once.
        clusters: (R,).
    """
    weights, scores = zip(*terms, strict=True)
    return Moments(scores, clusters).contrast(weights)


def seed_variance(seed_means: Sequence[Floats], weights: Floats) -> tuple[float | None, float]:
    """The variance of a contrast of seed means, averaged over the seeds.

    Args:
        seed_means: (S,) for each of the A arms.
        weights: (A,).

    Returns:
        the variance, None if it cannot be estimated; and Satterthwaite's sum of its components,
        each squared and divided by its degrees of freedom.
    """
    counts = [len(means) for means in seed_means]
    if len(seed_means) > 2 and len(set(counts)) == 1 and counts[0] > 1:
        pooled = pooled_seed_variance(np.stack(seed_means), weights)
        return float(pooled[0]), float(pooled[1])
    used = [(weight, means) for weight, means in zip(weights, seed_means, strict=True) if weight]
    enough = [means for means in seed_means if len(means) >= MIN_SEEDS]
    if not enough:
        return None, 0.0
    # An arm with one or two seeds has the mean seed variance of the other arms.
    mean_variance = float(np.mean([means.var(ddof=1) for means in enough]))
    mean_degrees = sum(len(means) - 1 for means in enough)
    total = scale = 0.0
    for weight, means in used:
        has_enough = len(means) >= MIN_SEEDS
        part = weight**2 * (float(means.var(ddof=1)) if has_enough else mean_variance) / len(means)
        total += part
        scale += part**2 / (len(means) - 1 if has_enough else mean_degrees)
    return total, scale


def pooled_seed_variance(seed_means: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """`seed_variance` of arms that share their seeds, for any number of tables at once.

    Args:
        seed_means: (..., A, S), A > 2.
        weights: (A,).

    Returns:
        the variances and the sums of their components, (...) each.
    """
    arms, seeds = seed_means.shape[-2:]
    centred = seed_means - seed_means.mean(axis=-1, keepdims=True)
    squares = (centred**2).sum(axis=(-2, -1))
    size = float(weights @ weights)
    of_contrast = ((weights @ centred) ** 2).sum(axis=-1) / size
    # A shift of all arms alike cancels in the other contrasts.
    shift = np.ones(arms) - weights * (weights.sum() / size)
    shift /= max(math.sqrt(float(shift @ shift)), 1e-12)
    of_others = squares - of_contrast - ((shift @ centred) ** 2).sum(axis=-1)
    of_contrast = of_contrast / (seeds - 1) * (size * (1 - 1 / seeds) / seeds)
    of_others = np.maximum(of_others, 0) / ((arms - 2) * (seeds - 1)) * (size / seeds / seeds)
    scale = of_contrast**2 / (seeds - 1) + of_others**2 / ((arms - 2) * (seeds - 1))
    return of_contrast + of_others, scale


def _interaction(scores: Floats) -> float:
    """Variance of an arm's mean from the interaction of its seeds and requests."""
    seeds, requests = scores.shape
    if requests < 2 or seeds < 2:
        return 0.0
    both = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    residual = float((both**2).sum()) / ((seeds - 1) * (requests - 1))
    return float(residual / (seeds * requests))
