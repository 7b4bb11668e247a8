"""The rule that gives the verdicts of a study from p-values.

The null hypotheses of one task are that joint equals the other arms in the primary measure, and
that it equals them in nDCG@10. Joint is tested against the plain arm and the step-matched control,
and the p-value is the larger one. The hypotheses of all tasks are corrected together by Holm's
procedure, which is the closed test with weighted Bonferroni intersections; the primary measure has
four fifths of the weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from twofold.evaluation.multiple import holm
from twofold.evaluation.sequential import level
from twofold.evaluation.significance import Estimate, Moments
from twofold.records import Task

ALPHA = 0.05
"""The type I error of *helps* and *hurts*, two-sided, over all tasks; and of each other verdict."""

PRIMARY_WEIGHT = 0.8
"""The share of the error for the primary measure, if nDCG@10 is tested too."""

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
"""The effect at the ranks that `only deeper` or `only at the top` names."""

Obstacle = Literal["undertrained", "degenerate data", "few seeds", "between the arms", "uncertain"]
"""What prevents a verdict: a cap ended a training too early; the data cannot distinguish the arms;
the seed variance is unknown; joint is above one arm and below the other; an interval is too wide.
"""

Pair = Mapping[Literal["plain", "control"], Estimate]
"""Joint minus the plain arm, and minus the step-matched control."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The significance levels of a look.

    Attributes:
        two_sided: the level of *helps* and *hurts*.
        one_sided: the level of *no material difference* and *not worse*.
    """

    two_sided: float = ALPHA
    one_sided: float = ALPHA

    @classmethod
    def of(cls, looks: Sequence[int] | None, seeds: int) -> "Levels":
        """The levels at `seeds` seeds in a plan of looks; without a plan, those of one look."""
        if looks is None:
            return cls()
        return cls(2 * level(looks, seeds, ALPHA / 2), level(looks, seeds, ALPHA))


@dataclass(frozen=True, slots=True)
class ContrastTest:
    """The result of the test of both contrasts.

    Attributes:
        p: the larger two-sided p-value of both contrasts; 1 if their signs differ.
        above: whether joint is better.
    """

    p: float
    above: bool

    @classmethod
    def of(cls, pair: Pair) -> "ContrastTest":
        above = max(estimate.p_above for estimate in pair.values())
        below = max(estimate.p_below for estimate in pair.values())
        return cls(min(1.0, 2 * min(above, below)), above < below)

    def direction(self, adjusted: float, alpha: float) -> Direction:
        """The significant direction at the level `alpha`, given the adjusted p-value."""
        if adjusted > alpha:
            return "open"
        return "helps" if self.above else "hurts"


def pair_of(moments: Moments) -> Pair:
    """Both contrasts of the arms joint, plain and control."""
    return {"plain": moments.contrast((1, -1, 0)), "control": moments.contrast((1, 0, -1))}


def p_same(moments: Moments, share: float) -> float:
    """The one-sided p-value of the equivalence test. Its null hypothesis is that the absolute
    difference to some arm is at least `share` of the plain arm's mean.

    The plain arm's mean is also an estimate, so the bound varies. Joint is therefore compared with
    1 + share and 1 - share times the plain arm, instead of a difference with a fixed number.
    """
    above = (moments.contrast((1, -1 - share, 0)), moments.contrast((1, -share, -1)))
    return max(*(estimate.p_below for estimate in above), p_not_worse(moments, share))


def p_not_worse(moments: Moments, margin: float) -> float:
    """The one-sided p-value of the non-inferiority test. Its null hypothesis is that joint is worse
    than some arm by `margin` of the plain arm's mean or more."""
    below = (moments.contrast((1, -1 + margin, 0)), moments.contrast((1, margin, -1)))
    return max(estimate.p_above for estimate in below)


def adjusted(
    primary: Mapping[Task, ContrastTest], top: Mapping[Task, ContrastTest]
) -> tuple[dict[Task, float], dict[Task, float]]:
    """Adjusted p-values in the primary measure and at the top, by task."""
    weights = [PRIMARY_WEIGHT if task in top else 1.0 for task in primary]
    weights += [1 - PRIMARY_WEIGHT] * len(top)
    p_values = holm([test.p for test in (*primary.values(), *top.values())], weights)
    adjusted_primary = dict(zip(primary, p_values, strict=False))
    return adjusted_primary, dict(zip(top, p_values[len(primary) :], strict=True))


def verdict_of(
    question: Question, primary: Direction, top: Direction, same: bool, not_worse: bool
) -> tuple[Verdict, Effect | None]:
    """The verdict, and the effect at the ranks that it names, if it names any.

    Args:
        primary, top: the significant directions in the primary measure and in nDCG@10.
        same: whether both differences are significantly smaller than the smallest effect of
            interest.
        not_worse: whether non-inferiority to both arms by the margin is significant.
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
