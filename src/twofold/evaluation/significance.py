"""Means and paired differences, with intervals for the choice of requests and of seeds.

Shapes: S trained models (seeds) of one arm, R requests. Requests that belong together (one user's
queries) are one cluster and are resampled together.

The variance of a mean over seeds and requests is the sum of two parts: seeds, the variance of
each arm's seed means over S; and requests, the variance of the mean of the seed-averaged scores
over bootstrap resamples of clusters, in the limit of many resamples (Efron's infinitesimal
jackknife, no random numbers). Both contain the seed-by-request interaction, so it is subtracted
from the second. With fewer than three seeds the first part cannot be estimated: the estimate then
holds for these trained models only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from twofold.records import Floats, Ints

MIN_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a difference of means.

    Attributes:
        value: the point estimate.
        request_variance: the variance of the value that comes from the choice of requests.
        seed_variance: that from the choice of seeds; None where it cannot be estimated.
        interaction: the part of `seed_variance` that more requests would shrink too.
        degrees: degrees of freedom of the t distribution.
    """

    value: float
    request_variance: float
    seed_variance: float | None
    interaction: float
    degrees: float

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.request_variance + (self.seed_variance or 0.0))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval."""
        half = float(stats.t.ppf(0.5 + level / 2, self.degrees)) * self.standard_error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the true value is 0."""
        if self.standard_error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.value) / self.standard_error, self.degrees))


def mean(scores: Floats, clusters: Ints) -> Estimate:
    """The mean of an arm's scores.

    Args:
        scores: (S, R).
        clusters: (R,), the number of each request's cluster.
    """
    return contrast([(1.0, scores)], clusters)


def difference(first: Floats, second: Floats, clusters: Ints, *, fixed: bool = False) -> Estimate:
    """The mean of `first` - `second`, requests paired, seeds not.

    Args:
        first, second: (S, R) and (S', R), over the same requests.
        clusters: (R,).
        fixed: `second` is not trained with seeds, so that it adds no seed variance.
    """
    if fixed:
        return contrast([(1.0, first - second)], clusters)
    return contrast([(1.0, first), (-1.0, second)], clusters)


def contrast(terms: Sequence[tuple[float, Floats]], clusters: Ints) -> Estimate:
    """A weighted sum of the means of several arms, requests paired, seeds not.

    Args:
        terms: weight and scores (S, R) of each arm, over the same requests; each arm once.
        clusters: (R,).
    """
    paired = sum((weight * scores.mean(axis=0) for weight, scores in terms), np.zeros(1))
    value, variance = float(paired.mean()), _resampling_variance(paired, clusters)
    groups = len(np.unique(clusters))
    if min(len(scores) for _, scores in terms) < MIN_SEEDS:
        return Estimate(value, variance, None, 0.0, max(1, groups - 1))
    interaction = sum(weight**2 * _interaction(scores) for weight, scores in terms)
    variance = max(0.0, variance - interaction)
    parts = [
        weight**2 * float(scores.mean(axis=1).var(ddof=1)) / len(scores) for weight, scores in terms
    ]
    # Welch and Satterthwaite.
    scale = sum(part**2 / (len(s) - 1) for part, (_, s) in zip(parts, terms, strict=True))
    scale += variance**2 / max(1, groups - 1)
    total = variance + sum(parts)
    degrees = total**2 / scale if scale > 0 else math.inf
    return Estimate(value, variance, sum(parts), interaction, degrees)


def _interaction(scores: Floats) -> float:
    """Variance of an arm's mean from the interaction of its seeds and requests."""
    seeds, requests = scores.shape
    if requests < 2:
        return 0.0
    both = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    residual = float((both**2).sum()) / ((seeds - 1) * (requests - 1))
    return float(residual / (seeds * requests))


def _resampling_variance(values: Floats, clusters: Ints) -> float:
    """Variance of the mean of `values` when clusters are drawn with replacement."""
    _, numbers = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(numbers, weights=values), np.bincount(numbers)
    if len(sums) < 2:
        return math.inf
    # A mean over a random number of requests is a ratio; linearised, these are the clusters'
    # influence values.
    influence = (sums - values.mean() * sizes) / len(values)
    return float((influence**2).sum() * len(sums) / (len(sums) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: adjusted p-values in the order given."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = largest
    return adjusted
