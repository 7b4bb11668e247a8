"""From p-values to the verdicts of a study.

Hypotheses of one task: joint and the others are equal in the primary measure, and so in nDCG@10.
Each is tested against the plain arm and the step-matched control at once, and its p-value is the
larger one. The hypotheses of all tasks are tested together by Holm's rule, which is the closed test
with weighted Bonferroni intersections; the primary measure has four fifths of the weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from twofold.evaluation.multiple import holm
from twofold.evaluation.sequential import level
from twofold.evaluation.significance import Estimate, Moments
from twofold.records import Task

ALPHA = 0.05
"""The error of *helps* and *hurts*, two-sided, over all tasks; and of each other verdict."""

PRIMARY_WEIGHT = 0.8
"""The share of the error that goes to the primary measure where nDCG@10 is tested too."""

Question = Literal["transfer", "replace"]
Direction = Literal["helps", "hurts", "open"]
Verdict = Literal[
    "helps",
    "hurts",
    "no material difference",
    "not worse",
    "only deeper",
    "only at the top",
    "not enough data",
]
Effect = Literal["helps", "hurts", "not worse"]
"""What joint does where `only deeper` or `only at the top` names the place."""

Pair = Mapping[Literal["plain", "control"], Estimate]
"""Joint minus the plain arm, and minus the step-matched control."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels at which a study tests at this look.

    Attributes:
        two_sided: of *helps* and *hurts*.
        one_sided: of *no material difference* and *not worse*.
    """

    two_sided: float = ALPHA
    one_sided: float = ALPHA

    @classmethod
    def of(cls, looks: Sequence[int] | None, seeds: int) -> "Levels":
        """The levels after so many seeds by a plan of looks; those of a single look without one."""
        if looks is None:
            return cls()
        return cls(2 * level(looks, seeds, ALPHA / 2), level(looks, seeds, ALPHA))


@dataclass(frozen=True, slots=True)
class Found:
    """What a test of both contrasts found.

    Attributes:
        p: two-sided, the larger of both contrasts; 1 where their signs differ.
        above: whether joint is the better one.
    """

    p: float
    above: bool

    @classmethod
    def of(cls, pair: Pair) -> "Found":
        above = max(estimate.p_above for estimate in pair.values())
        below = max(estimate.p_below for estimate in pair.values())
        return cls(min(1.0, 2 * min(above, below)), above < below)

    def direction(self, adjusted: float, alpha: float) -> Direction:
        """What it shows at the level `alpha`, given its adjusted p-value."""
        if adjusted > alpha:
            return "open"
        return "helps" if self.above else "hurts"


def pair_of(moments: Moments) -> Pair:
    """Both contrasts of the arms joint, plain and control."""
    return {"plain": moments.contrast((1, -1, 0)), "control": moments.contrast((1, 0, -1))}


def p_same(moments: Moments, share: float) -> float:
    """One-sided p-value of: some difference is at least `share` of the plain arm's mean in size.

    The mean of the plain arm is an estimate as well, so that the bound varies; hence joint is
    compared with 1 + share and 1 - share times the plain arm, not a difference with a number.
    """
    above = (moments.contrast((1, -1 - share, 0)), moments.contrast((1, -share, -1)))
    return max(*(estimate.p_below for estimate in above), p_not_worse(moments, share))


def p_not_worse(moments: Moments, margin: float) -> float:
    """One-sided p-value of: joint is worse than an arm by `margin` of the plain mean or more."""
    below = (moments.contrast((1, -1 + margin, 0)), moments.contrast((1, margin, -1)))
    return max(estimate.p_above for estimate in below)


def adjusted(
    primary: Mapping[Task, Found], top: Mapping[Task, Found]
) -> tuple[dict[Task, float], dict[Task, float]]:
    """Adjusted p-values in the primary measure and at the top, by task."""
    weights = [PRIMARY_WEIGHT if task in top else 1.0 for task in primary]
    weights += [1 - PRIMARY_WEIGHT] * len(top)
    p_values = holm([test.p for test in (*primary.values(), *top.values())], weights)
    adjusted_primary = dict(zip(primary, p_values, strict=False))
    return adjusted_primary, dict(zip(top, p_values[len(primary) :], strict=True))


def conclude(
    question: Question, primary: Direction, top: Direction, same: bool, not_worse: bool
) -> tuple[Verdict, Effect | None]:
    """The verdict, and what joint does where the verdict names a place.

    Args:
        primary, top: what is shown in the primary measure and in nDCG@10.
        same: both differences are surely inside the smallest effect of interest.
        not_worse: joint is surely not worse than both arms by the margin.
    """
    if question == "replace":
        return _replace(primary, top, not_worse)
    if same or primary == "open":
        if top != "open":
            return "only at the top", top
        return ("no material difference" if same else "not enough data"), None
    if top in ("open", primary):
        return primary, None
    return ("only deeper" if primary == "helps" else "only at the top"), "helps"


def _replace(primary: Direction, top: Direction, not_worse: bool) -> tuple[Verdict, Effect | None]:
    if not_worse:
        return ("only deeper", "not worse") if top == "hurts" else ("not worse", None)
    if primary == "hurts":
        return ("only at the top", "helps") if top == "helps" else ("hurts", None)
    if top == "hurts":
        return "only at the top", "hurts"
    return "not enough data", None
