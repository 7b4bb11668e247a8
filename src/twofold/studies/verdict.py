"""The verdict for one task: helps, hurts, no material difference, or not enough data.

`joint` is set against the plain arm (what a user would run otherwise) and against the step-matched
control (which rules out that joint merely trained for longer); a verdict needs both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pydantic

from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.significance import MIN_SEEDS, Estimate, difference, holm
from twofold.records import Floats, Ints, Task
from twofold.studies.values import Difference, Interval, Value

SESOI_SHARE = 0.05
"""The smallest effect of interest, as a share of the plain arm's mean."""

LEVEL = 0.95
EQUIVALENCE_LEVEL = 0.90

_HOLM_QUANTILE = 2.24
"""The normal distribution's quantile at .05 / 2 tasks, two-sided."""
_EQUIVALENCE_QUANTILE = 1.645
"""The normal distribution's quantile at .05, one-sided: an interval of 90 %."""

MOST_OF_CATALOG = 0.5
"""The largest share of the catalog that an answer may hold for the measure to say something."""
FEWEST_UNITS = 20
"""The fewest test users, or queries without one, that a verdict may rest on."""
FEWEST_FOUND = 5
"""The fewest of them for which some arm finds a right answer."""

BETWEEN = "joint lies between the plain arm and the step-matched control"

Verdict = Literal["helps", "hurts", "no material difference", "not enough data"]


@dataclass(frozen=True, slots=True)
class TaskScores:
    """The primary measure of one task, by request.

    Attributes:
        joint, plain, control: (S, R) each.
        clusters: (R,), the number of the user or query that each request is resampled with.
        still_improving: arms whose best validation value lies in the last tenth of their budget.
        catalog: the number of items that are ranked; None where it is not known.
    """

    joint: Floats
    plain: Floats
    control: Floats
    clusters: Ints
    still_improving: Sequence[str] = ()
    catalog: int | None = None


Probability = Annotated[float, pydantic.Field(ge=0, le=1)]


class Contrast(Difference):
    """The joint arm minus another arm in the primary measure."""

    interval_90: Interval
    p: Probability
    request_variance: pydantic.NonNegativeFloat
    seed_variance: pydantic.NonNegativeFloat | None
    """None where seeds are too few to estimate it."""

    @classmethod
    def of(cls, estimate: Estimate) -> "Contrast":
        """An estimated difference with the intervals that a verdict asks for."""
        return cls(
            difference=estimate.value,
            interval=estimate.interval(LEVEL),
            interval_90=estimate.interval(EQUIVALENCE_LEVEL),
            p=estimate.p_value,
            request_variance=estimate.request_variance,
            seed_variance=estimate.seed_variance,
        )


class Needed(Value):
    """How many would decide, if the difference stays as it is; None where no number would."""

    requests: int | None
    """Test requests, with the seeds as they are."""
    seeds: int | None
    """Seeds, with the requests as they are."""


class TaskVerdict(Value):
    """What the study concludes for one task, and from what."""

    verdict: Verdict
    provisional: bool
    """Whether seeds are under three, so that the verdict speaks of these trained models alone."""
    reason: Annotated[str, pydantic.Field(min_length=1)]
    sesoi: pydantic.NonNegativeFloat
    """The smallest effect of interest, in the unit of the measure."""
    p_adjusted: Probability
    """The larger of the two contrasts' p-values, after Holm's correction over the tasks."""
    contrasts: Mapping[Literal["plain", "control"], Contrast]
    """The joint arm minus the plain arm, and minus the step-matched control."""
    needed: Needed | None
    """What would decide, where the verdict is `not enough data`."""


def decide(
    scores: Mapping[Task, TaskScores], sesoi_share: float = SESOI_SHARE
) -> dict[Task, TaskVerdict]:
    """Verdicts of all tasks together: Holm's correction runs over their primary tests."""
    contrasts = {task: _contrasts(own) for task, own in scores.items()}
    weaker = [max(e.p_value for e in pair.values()) for pair in contrasts.values()]
    adjusted = dict(zip(scores, holm(weaker), strict=True))
    return {
        task: _verdict(own, contrasts[task], adjusted[task], sesoi_share)
        for task, own in scores.items()
    }


_Estimates = Mapping[Literal["plain", "control"], Estimate]


def _contrasts(scores: TaskScores) -> _Estimates:
    return {
        "plain": difference(scores.joint, scores.plain, scores.clusters),
        "control": difference(scores.joint, scores.control, scores.clusters),
    }


def _verdict(
    scores: TaskScores, contrasts: _Estimates, p_adjusted: float, share: float
) -> TaskVerdict:
    sesoi = share * float(scores.plain.mean())
    verdict, reason = _judge(contrasts, p_adjusted, sesoi)
    needed = _needed(scores, contrasts, sesoi) if verdict == "not enough data" else None
    if scores.still_improving:
        names = ", ".join(scores.still_improving)
        verdict, needed = "not enough data", None
        reason = f"undertrained: still improving at the end of the budget: {names}"
    if degenerate := _degenerate(scores) or _ceiling(scores, verdict, sesoi):
        verdict, reason, needed = "not enough data", degenerate, None
    return TaskVerdict(
        verdict=verdict,
        provisional=min(len(scores.joint), len(scores.plain), len(scores.control)) < MIN_SEEDS,
        reason=reason,
        sesoi=sesoi,
        p_adjusted=p_adjusted,
        contrasts={name: Contrast.of(estimate) for name, estimate in contrasts.items()},
        needed=needed,
    )


def _degenerate(scores: TaskScores) -> str | None:
    """Why the measure cannot distinguish the arms, whatever they learned; None where it can."""
    arms = (scores.joint, scores.plain, scores.control)
    if not any(arm.any() for arm in arms):
        return "no arm finds any right answer"
    if scores.catalog is not None and scores.catalog * MOST_OF_CATALOG < PRIMARY.k:
        return (
            f"an answer of {PRIMARY.k} holds more than half of the catalog of {scores.catalog} "
            f"items, so {PRIMARY} is high for any model; a verdict needs a larger catalog"
        )
    units = len(np.unique(scores.clusters))
    if units < FEWEST_UNITS:
        return (
            f"too few test users or queries: {units}; a verdict needs at least {FEWEST_UNITS} "
            f"that are independent"
        )
    answered = np.any([arm.any(axis=0) for arm in arms], axis=0)
    answered_units = len(np.unique(scores.clusters[answered]))
    if answered_units < FEWEST_FOUND:
        return (
            f"the arms find right answers for {answered_units} of {units} test users or queries "
            f"alone; a verdict needs at least {FEWEST_FOUND}"
        )
    if not np.ptp(np.concatenate(arms), axis=0).any():
        return "every arm scores the same on every request, so nothing distinguishes them"
    return None


def _ceiling(scores: TaskScores, verdict: Verdict, sesoi: float) -> str | None:
    """Why a difference could not have been seen: the plain arm leaves no room for one."""
    plain = float(scores.plain.mean())
    if verdict != "no material difference" or 1 - plain >= sesoi:
        return None
    return (
        f"the plain arm reaches {plain:.4f} of at most 1, which leaves less room than the smallest "
        f"effect of interest; a verdict needs harder requests, or a larger catalog"
    )


def _judge(contrasts: _Estimates, p_adjusted: float, sesoi: float) -> tuple[Verdict, str]:
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
        return "not enough data", BETWEEN
    unclear = [name for name, (low, high) in zip(contrasts, wide, strict=True) if low <= 0 <= high]
    named = " and ".join(f"joint - {name}" for name in unclear)
    return "not enough data", f"the 95 % interval of {named} includes 0, and is wide"


def _disagree(contrasts: _Estimates) -> bool:
    """Whether joint is surely above one of the two arms and surely below the other."""
    wide = [estimate.interval(LEVEL) for estimate in contrasts.values()]
    return any(low > 0 for low, _ in wide) and any(high < 0 for _, high in wide)


def _needed(scores: TaskScores, contrasts: _Estimates, sesoi: float) -> Needed:
    """Requests (seeds as they are) or seeds (requests as they are) that would decide.

    A contrast is decided when its interval excludes 0, after Holm's correction too, or lies
    inside the smallest effect of interest; the easier of the two is taken, at the difference that
    was measured. None where no number of that kind alone would do.
    """
    if _disagree(contrasts):
        return Needed(requests=None, seeds=None)
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
    return Needed(
        requests=math.ceil(requests) if math.isfinite(requests) else None,
        seeds=math.ceil(seeds) if math.isfinite(seeds) else None,
    )


def _ratio(variance: float, room: float) -> float:
    """How many times as many are needed for `variance` to fit into `room`."""
    if variance == 0:
        return 0.0 if room >= 0 else math.inf
    return variance / room if room > 0 else math.inf
