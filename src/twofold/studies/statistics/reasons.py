"""The reason for a verdict, or for none."""

from typing import NamedTuple

from twofold.studies.statistics.rule import Direction, Effect, Obstacle, Pair, Verdict, pair_of
from twofold.studies.statistics.task_scores import TOP, TaskScores

LEVEL = 0.95
"""The level of every interval, unless its name states another level."""


class Reason(NamedTuple):
    """Why there is a verdict, or none.

    Attributes:
        text: the reason in words.
        obstacle: what prevents a verdict; None if there is one.
    """

    text: str
    obstacle: Obstacle | None = None


_REASONS = {
    "helps": "joint is above the plain arm and above the step-matched control",
    "hurts": "joint is below the plain arm and below the step-matched control",
    "no material difference": "both 90 % intervals lie inside the smallest effect of interest",
    "not worse": "joint is significantly above both arms minus the margin",
}


def reason_of(
    verdict: Verdict, effect: Effect | None, scores: TaskScores, shown: Direction
) -> Reason:
    """Why the rule gives this verdict.

    Args:
        effect: the effect at the ranks that the verdict names, if it names any.
        shown: the significant effect in the primary measure.
    """
    if verdict in _REASONS:
        return Reason(_REASONS[verdict])
    measure = scores.measure
    if verdict == "only deeper":
        at = "not worse" if effect == "not worse" else "better"
        return Reason(f"joint is significantly {at} in {measure}, and significantly worse in {TOP}")
    if verdict == "only at the top":
        better = "better" if effect == "helps" else "worse"
        deeper = "no difference is shown" if shown == "open" else f"it {shown}"
        return Reason(f"joint is significantly {better} in {TOP}; in {measure} {deeper}")
    return _why_open(pair_of(scores.moments))


def _why_open(pair: Pair) -> Reason:
    """Why the data do not give a verdict."""
    if disagree(pair):
        text = "joint lies between the plain arm and the step-matched control"
        return Reason(text, "between the arms")
    wide = {name: estimate.interval(LEVEL) for name, estimate in pair.items()}
    arms = {"plain": "plain", "control": "step-matched"}
    unclear = [f"joint − {arms[name]}" for name, (low, high) in wide.items() if low <= 0 <= high]
    if not unclear:
        text = (
            "the difference is not significant after Holm's correction or at the level of this look"
        )
    elif len(unclear) > 1:
        text = f"the 95 % intervals of {' and '.join(unclear)} include 0"
    else:
        text = f"the 95 % interval of {unclear[0]} includes 0"
    return Reason(text, "uncertain")


def disagree(pair: Pair) -> bool:
    """Whether joint is significantly above one of the two arms and below the other."""
    bounds = [estimate.interval(LEVEL) for estimate in pair.values()]
    return any(low > 0 for low, _ in bounds) and any(high < 0 for _, high in bounds)
