"""The verdict for one task: helps, hurts, no material difference, or not enough data.

`joint` is set against the plain arm (what a user would run otherwise) and against the step-matched
control (which rules out that joint merely trained for longer); a verdict needs both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from twofold.evaluation.significance import MIN_SEEDS, Estimate, difference, holm
from twofold.records import Floats, Ints, Task

SESOI_SHARE = 0.05
"""The smallest effect of interest, as a share of the plain arm's mean."""

LEVEL = 0.95
EQUIVALENCE_LEVEL = 0.90

_HOLM_QUANTILE = 2.24
"""Of the normal law at .05 / 2 tasks, two-sided."""
_EQUIVALENCE_QUANTILE = 1.645

_DISAGREE = "joint lies between the plain arm and the step-matched control"

Verdict = Literal["helps", "hurts", "no material difference", "not enough data"]


@dataclass(frozen=True, slots=True)
class TaskScores:
    """The primary measure of one task, by request.

    Attributes:
        joint, plain, control: (S, R) each.
        clusters: (R,), the users or queries that are resampled.
        still_improving: arms whose best validation value lies in the last tenth of their budget.
    """

    joint: Floats
    plain: Floats
    control: Floats
    clusters: Ints
    still_improving: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """What is said of one task, and from what.

    Attributes:
        verdict: in DESIGN's words.
        provisional: under three seeds, so that it speaks of these trained models alone.
        reason: why, in words.
        sesoi: the smallest effect of interest, in the unit of the measure.
        p_adjusted: of the weaker contrast, after Holm over the tasks.
        contrasts: `plain` and `control`: difference, 95 % and 90 % interval, p-value, variances.
        needed: requests or seeds that would decide, where the data do not; None otherwise.
    """

    verdict: Verdict
    provisional: bool
    reason: str
    sesoi: float
    p_adjusted: float
    contrasts: Mapping[str, Mapping[str, Any]]
    needed: Mapping[str, int | None] | None

    def as_dict(self) -> dict[str, Any]:
        """For study.json."""
        return asdict(self)


def decide(
    scores: Mapping[Task, TaskScores], sesoi_share: float = SESOI_SHARE
) -> dict[Task, TaskVerdict]:
    """Verdicts of all tasks together: Holm's correction runs over their primary tests."""
    contrasts = {task: _contrasts(found) for task, found in scores.items()}
    weaker = [max(e.p_value for e in pair.values()) for pair in contrasts.values()]
    adjusted = dict(zip(scores, holm(weaker), strict=True))
    return {
        task: _verdict(found, contrasts[task], adjusted[task], sesoi_share)
        for task, found in scores.items()
    }


def _contrasts(scores: TaskScores) -> dict[str, Estimate]:
    return {
        "plain": difference(scores.joint, scores.plain, scores.clusters),
        "control": difference(scores.joint, scores.control, scores.clusters),
    }


def _verdict(
    scores: TaskScores, contrasts: Mapping[str, Estimate], p_adjusted: float, share: float
) -> TaskVerdict:
    sesoi = share * float(scores.plain.mean())
    verdict, reason = _judge(contrasts, p_adjusted, sesoi)
    needed = _needed(scores, contrasts, sesoi) if verdict == "not enough data" else None
    if not (scores.joint.any() or scores.plain.any() or scores.control.any()):
        verdict, reason, needed = "not enough data", "no arm finds any right answer", None
    if scores.still_improving:
        names = ", ".join(scores.still_improving)
        verdict = "not enough data"
        reason = f"undertrained: still improving at the end of the budget: {names}"
        needed = None
    return TaskVerdict(
        verdict=verdict,
        provisional=min(len(scores.joint), len(scores.plain), len(scores.control)) < MIN_SEEDS,
        reason=reason,
        sesoi=sesoi,
        p_adjusted=p_adjusted,
        contrasts={name: _describe(estimate) for name, estimate in contrasts.items()},
        needed=needed,
    )


def _judge(
    contrasts: Mapping[str, Estimate], p_adjusted: float, sesoi: float
) -> tuple[Verdict, str]:
    estimates = list(contrasts.values())
    narrow = [estimate.interval(EQUIVALENCE_LEVEL) for estimate in estimates]
    if all(-sesoi < low and high < sesoi for low, high in narrow):
        return (
            "no material difference",
            "both 90 % intervals lie inside the smallest effect of interest",
        )
    wide = [estimate.interval(LEVEL) for estimate in estimates]
    certain = p_adjusted < 1 - LEVEL
    if certain and all(low > 0 for low, _ in wide):
        return "helps", "joint is above the plain arm and above the step-matched control"
    if certain and all(high < 0 for _, high in wide):
        return "hurts", "joint is below the plain arm and below the step-matched control"
    if all(low > 0 for low, _ in wide) or all(high < 0 for _, high in wide):
        return "not enough data", "the difference does not hold after Holm's correction"
    if _disagree(contrasts):
        return "not enough data", _DISAGREE
    unclear = [name for name, (low, high) in zip(contrasts, wide, strict=True) if low <= 0 <= high]
    named = " and ".join(f"joint - {name}" for name in unclear)
    return "not enough data", f"the 95 % interval of {named} includes 0, and is wide"


def _disagree(contrasts: Mapping[str, Estimate]) -> bool:
    """Whether joint is surely above one of the two arms and surely below the other."""
    wide = [estimate.interval(LEVEL) for estimate in contrasts.values()]
    return any(low > 0 for low, _ in wide) and any(high < 0 for _, high in wide)


def _needed(
    scores: TaskScores, contrasts: Mapping[str, Estimate], sesoi: float
) -> dict[str, int | None]:
    """Requests (seeds as they are) or seeds (requests as they are) that would decide.

    A contrast is decided when its interval excludes 0, after Holm's correction too, or lies
    inside the smallest effect of interest; the easier of the two is taken, at the difference that
    was measured. None where no number of that kind alone would do.
    """
    if _disagree(contrasts):
        return {"requests": None, "seeds": None}
    now_requests, now_seeds = scores.joint.shape[1], len(scores.joint)
    requests: float = now_requests + 1
    seeds: float = max(MIN_SEEDS, now_seeds + 1)
    for estimate in contrasts.values():
        size = abs(estimate.value)
        wanted = max(size / _HOLM_QUANTILE, (sesoi - size) / _EQUIVALENCE_QUANTILE) ** 2
        of_seeds = estimate.seed_variance or 0.0
        of_seeds_alone = max(0.0, of_seeds - estimate.interaction)
        of_requests = estimate.request_variance + of_seeds - of_seeds_alone
        requests = max(requests, now_requests * _ratio(of_requests, wanted - of_seeds_alone))
        seeds = max(seeds, now_seeds * _ratio(of_seeds, wanted - estimate.request_variance))
    return {
        "requests": math.ceil(requests) if math.isfinite(requests) else None,
        "seeds": math.ceil(seeds) if math.isfinite(seeds) else None,
    }


def _ratio(variance: float, room: float) -> float:
    """How many times as many are needed for `variance` to fit into `room`."""
    if variance == 0:
        return 0.0 if room >= 0 else math.inf
    return variance / room if room > 0 else math.inf


def _describe(estimate: Estimate) -> dict[str, Any]:
    return {
        "difference": estimate.value,
        "interval": list(estimate.interval(LEVEL)),
        "interval_90": list(estimate.interval(EQUIVALENCE_LEVEL)),
        "p": estimate.p_value,
        "request_variance": estimate.request_variance,
        "seed_variance": estimate.seed_variance,
    }
