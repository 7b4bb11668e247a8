"""Future studies, simulated from a first study of one seed or more.

A simulated study has the first one's covariance of the arms' means over the sampling of requests,
its interaction of seeds and requests, and a seed variance. Few seeds give a poor estimate of the
seed variance, so every simulated study draws it from its posterior.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from twofold.evaluation.significance import Moments, pooled_seed_variance
from twofold.records import Floats
from twofold.studies.statistics.rule import ALPHA, PRIMARY_WEIGHT

USUAL_SEED_DEVIATION = 0.05
"""The prior standard deviation of an arm's mean over the seeds, as a share of the mean: most
studies so far have 2 to 8 %."""
_USUAL_DEGREES = 4
"""The degrees of freedom of this prior."""
_USUAL_INTERACTION = 0.5
"""The share of an arm's own request variance, which the arms do not share, that changes with the
seed."""

_DRAWS = 1000
"""The number of simulated studies, and of possible values of the seed variance."""

_TINY = 1e-30
"""The lower bound of a variance, against a division by 0."""

_HELPS, _HURTS, _SAME, _UNDECIDED = 0, 1, 2, -1
"""The verdicts of simulated studies; _SAME is *no material difference*."""


@dataclass(frozen=True, slots=True)
class VerdictChances:
    """The probability of each verdict of a study with one look."""

    helps: float
    hurts: float
    no_material_difference: float
    not_enough_data: float


@dataclass(frozen=True)
class Pilot:
    """The means and variances of a first study, for joint, plain and control in this order.

    Attributes:
        means: the means, (3,).
        requests: the covariance of the means from the sampling of requests alone, (3, 3).
        interaction: the covariance of the means of one seed's models from the interaction of seed
            and requests, (3, 3); with folds, from the sampling of the fold's requests.
        seed_variances: equally likely values of the seed variance of the mean of one trained model,
            without the interaction, ascending.
        seeds: the number of trained models of each arm.
        request_degrees: the degrees of freedom of the clusters.
    """

    means: Floats
    requests: Floats
    interaction: Floats
    seed_variances: Floats
    seeds: int
    request_degrees: float

    @classmethod
    def of(
        cls,
        moments: Moments,
        seed_deviation: float = USUAL_SEED_DEVIATION,
        redrawn: float = 0.0,
    ) -> "Pilot":
        """The pilot from the scores of a study.

        Args:
            moments: the moments of joint, plain and control, with the same number of seeds.
            redrawn: with one seed, the share of the request variance that every other seed will
                draw anew: 1 if folds hold out other queries, 0 without folds.
            seed_deviation: the usual standard deviation of the mean of one trained model, as a
                share of the mean. This prior weighs as much as three seeds of three arms, so three
                seeds that agree by chance do not suggest high power.
        """
        stacked = np.stack(moments.seed_means)
        arms, seeds = stacked.shape
        usual = (seed_deviation * float(moments.means.mean())) ** 2
        interaction = moments.interactions * seeds
        if seeds == 1:
            usual_part = np.diag(_usual_interaction(moments.request_covariance))
            interaction = redrawn * moments.request_covariance + (1 - redrawn) * usual_part
        centred = stacked - stacked.mean(axis=1, keepdims=True)
        squares = float(((centred - centred.mean(axis=0)) ** 2).sum())
        apart = float(np.trace(interaction) - interaction.mean() * arms) / (arms - 1)
        evidence = (squares, (arms - 1) * (seeds - 1), max(0.0, apart))
        requests = moments.request_covariance - interaction / seeds
        return cls(
            means=moments.means,
            requests=requests,
            interaction=interaction,
            seed_variances=_possible_variances(usual, *evidence),
            seeds=seeds,
            request_degrees=moments.request_degrees,
        )


def _possible_variances(usual: float, squares: float, degrees: int, interaction: float) -> Floats:
    """Equally likely values of the seed variance: quantiles of its posterior.

    The observed variance includes the interaction. If the interaction is most of it, the data say
    little about the seed variance.

    Args:
        usual: the prior seed variance, with `_USUAL_DEGREES` degrees of freedom.
        squares: the sum of squares of the seed means, with `degrees` degrees of freedom.
        degrees: see `squares`.
        interaction: the variance of a mean from the interaction.
    """
    values = usual * np.geomspace(1e-3, 1e3, 600)
    # Densities of the log variance: a scaled inverse chi-squared prior, a chi-squared likelihood.
    log = -_USUAL_DEGREES / 2 * (np.log(values) + usual / values)
    log -= (degrees * np.log(values + interaction) + squares / (values + interaction)) / 2
    shares = np.cumsum(np.exp(log - log.max()))
    places = (np.arange(_DRAWS) + 0.5) / _DRAWS
    return np.asarray(np.interp(places, shares / shares[-1], values))


def _usual_interaction(covariance: Floats) -> Floats:
    """The usual variance from the interaction of seed and requests, (A,), for a study of one seed.

    Args:
        covariance: the covariance of the arms' means from the sampling of requests, (A, A).
    """
    arms = len(covariance)
    shared = float(covariance.sum() - np.trace(covariance)) / (arms * (arms - 1))
    return np.asarray(_USUAL_INTERACTION * np.maximum(0.0, np.diag(covariance) - shared))


class FutureStudies:
    """Future studies, simulated from a pilot.

    Args:
        pilot: the means and variances of the first study.
        sesoi_share: the smallest effect of interest, as a share of the plain arm's mean.
        differences: the true joint - plain and joint - control.
    """

    def __init__(self, pilot: Pilot, sesoi_share: float, differences: tuple[float, float]) -> None:
        self._pilot, self._share = pilot, sesoi_share
        # The same random numbers in every simulation, so that only the plan differs.
        self._rng = np.random.default_rng(0)
        self._root = _root(pilot.requests)
        self._seed_variance = self._rng.choice(pilot.seed_variances, _DRAWS)
        plain = float(pilot.means[1])
        joint = plain + differences[0]
        self._means = np.array([joint, plain, joint - differences[1]])

    def chances(self, seeds: int, times: float) -> VerdictChances:
        """The probability of each verdict.

        Args:
            seeds: the number of seeds.
            times: the number of test requests, as a multiple of the pilot's.
        """
        self._rng = np.random.default_rng(1)
        requests = self._normal(3) @ self._root.T / math.sqrt(times)
        seed_means = (self._means + requests)[..., None] + self._noise(seeds, times)
        verdicts = self._verdicts(seed_means, times)
        return VerdictChances(
            helps=float((verdicts == _HELPS).mean()),
            hurts=float((verdicts == _HURTS).mean()),
            no_material_difference=float((verdicts == _SAME).mean()),
            not_enough_data=float((verdicts == _UNDECIDED).mean()),
        )

    def _verdicts(self, seed_means: Floats, times: float) -> Floats:
        """The verdict of each simulated study: `_HELPS`, `_HURTS`, `_SAME` or `_UNDECIDED`."""
        share = self._share
        factor = self._rng.chisquare(self._pilot.request_degrees, _DRAWS)
        factor /= self._pilot.request_degrees
        up, down = 1 + share, 1 - share
        contrasts = {
            "plain": (1, -1, 0),
            "control": (1, 0, -1),
            "plain, upper bound": (1, -up, 0),
            "plain, lower bound": (1, -down, 0),
            "control, upper bound": (1, -share, -1),
            "control, lower bound": (1, share, -1),
        }
        tails = {
            name: self._tails(seed_means, np.array(weights), times, factor)
            for name, weights in contrasts.items()
        }
        above, below = (np.maximum(tails["plain"][side], tails["control"][side]) for side in (0, 1))
        outside = [tails[f"{arm}, upper bound"][1] for arm in ("plain", "control")]
        outside += [tails[f"{arm}, lower bound"][0] for arm in ("plain", "control")]
        same = np.maximum.reduce(outside)
        # The other task is assumed to reject nothing: its hypotheses keep their part of the error.
        alpha = ALPHA * PRIMARY_WEIGHT / 2
        verdicts = np.full(_DRAWS, _UNDECIDED)
        verdicts[2 * above <= alpha], verdicts[2 * below <= alpha] = _HELPS, _HURTS
        verdicts[same <= ALPHA] = _SAME
        return verdicts

    def _tails(
        self, seed_means: Floats, weights: Floats, times: float, factor: Floats
    ) -> tuple[Floats, Floats]:
        """One-sided p-values of the null hypotheses that a contrast is 0 or less, and 0 or more."""
        seeds = seed_means.shape[-1]
        pilot = self._pilot
        value = seed_means.mean(axis=-1) @ weights
        alone = max(0.0, float(weights @ pilot.requests @ weights)) / times
        both = float(weights @ pilot.interaction @ weights) / (times * seeds)
        floor = (alone + both) * factor
        requests = np.maximum(0.0, floor - both)
        of_seeds, scale = pooled_seed_variance(seed_means, weights)
        total = requests + of_seeds
        total = np.maximum(total, _TINY)
        degrees = total**2 / np.maximum(scale + requests**2 / pilot.request_degrees, _TINY**2)
        t, least = value / np.sqrt(total), value / np.sqrt(np.maximum(floor, _TINY))
        tails = [
            np.maximum(
                special.stdtr(degrees, -sign * t),
                special.stdtr(pilot.request_degrees, -sign * least),
            )
            for sign in (1, -1)
        ]
        return tails[0], tails[1]

    def _noise(self, seeds: int, times: float) -> Floats:
        """The deviations of each seed's means: seed effect plus interaction with the requests."""
        interaction = self._pilot.interaction / times
        noise = self._normal(3, seeds)
        if not (interaction - np.diag(np.diag(interaction))).any():
            return (
                np.sqrt(self._seed_variance[:, None, None] + np.diag(interaction)[:, None]) * noise
            )
        together = _root(interaction) @ self._normal(3, seeds)
        return np.asarray(np.sqrt(self._seed_variance)[:, None, None] * noise + together)

    def _normal(self, *shape: int) -> Floats:
        return self._rng.standard_normal((_DRAWS, *shape))


def _root(covariance: Floats) -> Floats:
    """A square root of a covariance matrix; eigenvalues below 0 are set to 0."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
