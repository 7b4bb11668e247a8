"""The scores behind the verdict on one task, and whether they can distinguish arms at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from twofold.evaluation.measures import MEASURES, PRIMARY, Measure
from twofold.evaluation.significance import MIN_SEEDS, Moments, has_folds
from twofold.records import Floats, InputError, Ints

ROLES = ("joint", "plain", "control")
"""The arms of a verdict, in the order of the weights of contrasts."""

TOP = Measure("nDCG", 10)
"""The measure of the first ranks, which no verdict may contradict."""

MOST_OF_CATALOG = 0.5
"""The largest share of the catalog in the first k ranks for an informative measure."""
USUAL_PART_OF_CATALOG = 0.1
"""If the first 30 ranks are a larger share of the catalog, a smaller k is the default."""
FEWEST_CLUSTERS = 20
"""The smallest number of test users, or queries without a user, for a verdict."""
FEWEST_FOUND = 5
"""The smallest number of them for which some arm retrieves a relevant item."""
FEWEST_SEEDS = 2
"""The smallest number of seeds with which the seed variance can be estimated."""


@dataclass(frozen=True)
class TaskScores:
    """The primary measure of one task, by request; and the measure of the first ranks.

    Attributes:
        joint, plain, control: the scores, (S, R) each; with folds, a score is NaN if the seed
            does not test the request.
        clusters: the cluster of each request, (R,): its user, or the query itself.
        rises: for each arm (`joint`, `control`), the relative rise of its validation score in the
            last third of its steps, if a cap ended its training while the score rose.
        catalog: the number of items that are ranked; None if it is not known.
        measure: the primary measure.
        top: nDCG@10 of joint, plain and control, (S, R) each; None if the primary measure
            itself weights the first ranks.
    """

    joint: Floats
    plain: Floats
    control: Floats
    clusters: Ints
    rises: Mapping[str, float] = field(default_factory=dict)
    catalog: int | None = None
    measure: Measure = PRIMARY
    top: tuple[Floats, Floats, Floats] | None = None

    @property
    def arms(self) -> tuple[Floats, Floats, Floats]:
        """The scores in the order of `ROLES`."""
        return self.joint, self.plain, self.control

    @property
    def seeds(self) -> int:
        """The number of seeds of the arm with the fewest."""
        return min(map(len, self.arms))

    @property
    def requests(self) -> int:
        """The number of test requests of one seed."""
        requests = int(self.joint.shape[1])
        return round(requests / len(self.joint)) if has_folds(self.joint) else requests

    @property
    def plain_mean(self) -> float:
        """The mean of the plain arm over seeds and requests."""
        return float(np.nanmean(self.plain))

    @cached_property
    def moments(self) -> Moments:
        """The moments of the primary measure."""
        return Moments(self.arms, self.clusters)

    @cached_property
    def top_moments(self) -> Moments | None:
        """The moments of the measure of the first ranks."""
        return Moments(self.top, self.clusters) if self.top else None


def primary_measure(catalog: int, name: str | None = None) -> Measure:
    """The primary measure, which decides: Recall@30, or Recall@10 if the catalog is small.

    Args:
        catalog: the number of items that are ranked.
        name: the user's choice, one of the measures that every evaluation reports.

    Raises:
        InputError: an unknown measure.
    """
    if name is None:
        usual = PRIMARY.k <= USUAL_PART_OF_CATALOG * catalog
        return PRIMARY if usual else Measure(PRIMARY.name, TOP.k)
    measure = Measure.parse(name)
    if measure not in MEASURES:
        raise InputError(f"--measure '{name}': choose one of {', '.join(map(str, MEASURES))}")
    return measure


def has_top(measure: Measure) -> bool:
    """Whether the first ranks are tested too, since the primary measure does not weight ranks."""
    return measure.name not in ("nDCG", "RR")


def why_degenerate(scores: TaskScores) -> str | None:
    """Why the measure cannot distinguish the arms, whatever they learned; None if it can."""
    if not all(np.isfinite(_present(arm)).all() for arm in (*scores.arms, *(scores.top or ()))):
        return "some scores are not numbers"
    if not any(_present(arm).any() for arm in scores.arms):
        return "no arm retrieves any relevant item"
    measure, catalog = scores.measure, scores.catalog
    if catalog is not None and catalog * MOST_OF_CATALOG < measure.k:
        return (
            f"the first {measure.k} ranks are more than half of the catalog of {catalog} "
            f"items, so {measure} is high for any model; a verdict needs a larger catalog"
        )
    return _why_too_few(scores)


def _why_too_few(scores: TaskScores) -> str | None:
    """Why there are too few independent requests, or differences, for a verdict; None if not."""
    clusters = len(np.unique(scores.clusters))
    if clusters < FEWEST_CLUSTERS:
        return (
            f"too few test users or queries: {clusters}; a verdict needs at least "
            f"{FEWEST_CLUSTERS} that are independent"
        )
    arms = [_present(arm) for arm in scores.arms]
    retrieved = np.any([arm.any(axis=0) for arm in arms], axis=0)
    clusters_retrieved = len(np.unique(scores.clusters[retrieved]))
    if clusters_retrieved < FEWEST_FOUND:
        return (
            f"the arms retrieve relevant items for only {clusters_retrieved} of {clusters} test "
            f"users or queries; a verdict needs at least {FEWEST_FOUND}"
        )
    if not np.ptp(np.concatenate(arms), axis=0).any():
        return "every arm has the same score on every request"
    return None


def _present(arm: Floats) -> Floats:
    """An arm's scores, (S, R); with folds, those of the seed that tests the request, (1, R)."""
    return np.nansum(arm, axis=0)[None] if has_folds(arm) else arm


def why_at_ceiling(scores: TaskScores, smallest: float) -> str | None:
    """Why no gain of the size `smallest` is possible; None if one is."""
    plain = scores.plain_mean
    if 1 - plain >= smallest:
        return None
    return (
        f"the plain arm has {plain:.4f} of at most 1, so no gain as large as the smallest "
        f"effect of interest is possible; a verdict needs harder requests, or a larger catalog"
    )


def why_too_few_seeds(scores: TaskScores) -> str | None:
    """Why the variance over seeds is unknown; None if it can be estimated."""
    arms = scores.arms
    alike = len({len(arm) for arm in arms}) == 1
    if (scores.seeds >= FEWEST_SEEDS and alike) or max(map(len, arms)) >= MIN_SEEDS:
        return None
    return (
        f"{'one seed' if scores.seeds == 1 else f'{scores.seeds} seeds'}: the variance over "
        f"seeds is unknown, so a difference may hold for these trained models only; a verdict "
        f"needs at least {FEWEST_SEEDS} seeds, better {MIN_SEEDS}"
    )
