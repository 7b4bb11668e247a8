"""The reason for a verdict, or for none, in words."""

from twofold.studies.statistics.rule import Direction, Effect, Pair, Verdict, pair_of
from twofold.studies.statistics.task_scores import TOP, TaskScores

LEVEL = 0.95
"""The level of every interval, unless its name states another level."""

BETWEEN = "joint lies between the plain arm and the step-matched control"

_REASONS = {
    "helps": "joint is above the plain arm and above the step-matched control",
    "hurts": "joint is below the plain arm and below the step-matched control",
    "no material difference": "both 90 % intervals lie inside the smallest effect of interest",
    "not worse": "joint is significantly above both arms minus the margin",
}


def reason_of(verdict: Verdict, effect: Effect | None, scores: TaskScores, shown: Direction) -> str:
    """Why the rule gives this verdict.

    Args:
        effect: the effect at the ranks that the verdict names, if it names any.
        shown: the significant effect in the primary measure.
    """
    if verdict in _REASONS:
        return _REASONS[verdict]
    measure = scores.measure
    if verdict == "only deeper":
        at = "not worse" if effect == "not worse" else "better"
        return f"joint is significantly {at} in {measure}, and significantly worse in {TOP}"
    if verdict == "only at the top":
        better = "better" if effect == "helps" else "worse"
        deeper = "no difference is shown" if shown == "open" else f"it {shown}"
        return f"joint is significantly {better} in {TOP}; in {measure} {deeper}"
    return _why_open(pair_of(scores.moments))


def _why_open(pair: Pair) -> str:
    """Why the data do not give a verdict."""
    wide = {name: estimate.interval(LEVEL) for name, estimate in pair.items()}
    if all(low > 0 for low, _ in wide.values()) or all(high < 0 for _, high in wide.values()):
        return (
            "the difference is not significant after Holm's correction or at the level of this look"
        )
    if disagree(pair):
        return BETWEEN
    unclear = [name for name, (low, high) in wide.items() if low <= 0 <= high]
    arms = {"plain": "plain", "control": "step-matched"}
    named = " and ".join(f"joint − {arms[name]}" for name in unclear)
    if len(unclear) > 1:
        return f"the 95 % intervals of {named} include 0"
    return f"the 95 % interval of {named} includes 0"


def disagree(pair: Pair) -> bool:
    """Whether joint is significantly above one of the two arms and below the other."""
    bounds = [estimate.interval(LEVEL) for estimate in pair.values()]
    return any(low > 0 for low, _ in bounds) and any(high < 0 for _, high in bounds)
