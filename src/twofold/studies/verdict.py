"""The verdict for one task: what joint training does to it, or that the data do not show it.

`joint` is set against the plain arm (what a user would run otherwise) and against the step-matched
control (which rules out that joint merely trained for longer); a verdict needs both. The question
*transfer* is whether learning the other task helps; *replace*, whether one model can take the place
of two, which it can where it is not worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from twofold.evaluation.significance import MIN_SEEDS, Estimate
from twofold.records import Task
from twofold.studies.statistics import rule
from twofold.studies.statistics.power import Needed, needed
from twofold.studies.statistics.reasons import LEVEL, disagree, reason_of
from twofold.studies.statistics.rule import Effect, Found, Levels, Question, Verdict
from twofold.studies.statistics.task_scores import (
    TOP,
    TaskScores,
    why_at_ceiling,
    why_degenerate,
    why_too_few_seeds,
)
from twofold.studies.values import Difference, Interval, Probability, Value

SESOI_SHARE = 0.05
"""The smallest effect of interest, as a share of the plain arm's mean."""

EQUIVALENCE_LEVEL = 0.90


class Contrast(Difference):
    """The joint arm minus another arm in one measure."""

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


Contrasts = Mapping[Literal["plain", "control"], Contrast]


class TopEffect(Value):
    """What joint training does to the first ranks."""

    measure: str
    p_adjusted: Probability
    contrasts: Contrasts


class Look(Value):
    """At which look the verdict was given, in a study that grows until it decides."""

    seeds: pydantic.PositiveInt
    planned: Sequence[int]
    """The seeds of every look."""
    level: Probability
    """What this look may spend of the error of *helps* and *hurts*, two-sided."""
    level_one_sided: Probability
    """The same of *no material difference* and of *not worse*."""


class TaskVerdict(Value):
    """What the study concludes for one task, and from what."""

    verdict: Verdict
    provisional: bool
    """Whether seeds are under three, so that their variance is hardly known."""
    reason: Annotated[str, pydantic.Field(min_length=1)]
    sesoi: pydantic.NonNegativeFloat
    """The smallest effect of interest, in the unit of the measure."""
    p_adjusted: Probability
    """The larger of the two contrasts' p-values, after Holm's correction over tasks and measures;
    1 where the contrasts have different signs."""
    contrasts: Contrasts
    """The joint arm minus the plain arm, and minus the step-matched control."""
    needed: Needed | None
    """What would decide, where the verdict is `not enough data`."""
    of_each_seed: bool = False
    """Whether the test requests of `needed` are those of each seed."""
    question: Question = "transfer"
    """`transfer`: does the other task help? `replace`: can one model take the place of two?"""
    effect: Effect | None = None
    """What joint does at the place that `only deeper` or `only at the top` names."""
    measure: str | None = None
    """The primary measure; None in older studies, where it was Recall@30."""
    sesoi_of_misses: pydantic.NonNegativeFloat | None = None
    """The smallest effect of interest as a share of what the plain arm misses."""
    p_same: Probability | None = None
    """The p-value of the hypothesis that a difference is as large as `sesoi`, or larger."""
    margin: pydantic.NonNegativeFloat | None = None
    """By how much joint may be worse and still take the place of the others, as a share of the
    plain arm's mean."""
    p_not_worse: Probability | None = None
    """The p-value of the hypothesis that joint is worse by the margin or more."""
    top: TopEffect | None = None
    """The first ranks, where the primary measure does not weigh ranks."""
    look: Look | None = None
    """None where the number of seeds was fixed beforehand."""


def decide(
    scores: Mapping[Task, TaskScores],
    sesoi_share: float = SESOI_SHARE,
    *,
    question: Question = "transfer",
    margin: float | None = None,
    looks: Sequence[int] | None = None,
    plan: bool = True,
) -> dict[Task, TaskVerdict]:
    """Verdicts of all tasks together: the correction runs over the tests of all of them.

    Args:
        scores: by task; a task whose data cannot decide anything is no part of the correction.
        sesoi_share: the smallest effect of interest, as a share of the plain arm's mean.
        question: `transfer` or `replace`.
        margin: for `replace`: the loss that would not matter, as a share of the plain arm's mean,
            set before the scores are seen; `sesoi_share` by default.
        looks: the seeds of all interim looks of a study that grows; None for a fixed number.
        plan: whether to compute what would decide, where nothing does.
    """
    criteria = _Criteria(
        question, sesoi_share, sesoi_share if margin is None else margin, looks, plan
    )
    excluded = {task: why_degenerate(own) for task, own in scores.items()}
    tested = {task: own for task, own in scores.items() if excluded[task] is None}
    contrasts = {task: Found.of(rule.pair_of(own.moments)) for task, own in tested.items()}
    tops = {
        task: Found.of(rule.pair_of(own.top_moments))
        for task, own in tested.items()
        if own.top_moments is not None
    }
    primary, top = rule.adjusted(contrasts, tops)
    verdicts: dict[Task, TaskVerdict] = {}
    for task, own in scores.items():
        reason = excluded[task]
        if reason is not None:
            verdicts[task] = _withheld(own, reason, criteria)
        else:
            p_values = (primary[task], top.get(task, 1.0))
            verdicts[task] = _decided(own, contrasts[task], tops.get(task), p_values, criteria)
    return verdicts


def is_final(verdict: TaskVerdict) -> bool:
    """Whether more seeds cannot change it: it is decided, or its reason does not depend on them."""
    return verdict.verdict != "not enough data" or verdict.needed is None


@dataclass(frozen=True, slots=True)
class _Criteria:
    """By which a verdict is decided."""

    question: Question
    sesoi_share: float
    margin: float
    looks: Sequence[int] | None
    plan: bool

    def levels(self, scores: TaskScores) -> Levels:
        return Levels.of(self.looks, scores.seeds)


def _decided(
    scores: TaskScores,
    contrast: Found,
    top: Found | None,
    p_values: tuple[float, float],
    criteria: _Criteria,
) -> TaskVerdict:
    """The verdict on a task whose data can decide; `p_values` are adjusted: primary, top."""
    levels, moments = criteria.levels(scores), scores.moments
    p_same = rule.p_same(moments, criteria.sesoi_share)
    p_not_worse = rule.p_not_worse(moments, criteria.margin)
    shown = contrast.direction(p_values[0], levels.two_sided)
    shown_top = top.direction(p_values[1], levels.two_sided) if top else "open"
    verdict, effect = rule.conclude(
        criteria.question,
        shown,
        shown_top,
        p_same <= levels.one_sided,
        p_not_worse <= levels.one_sided,
    )
    reason = reason_of(verdict, effect, scores, shown)
    withheld = _why_withheld(scores, verdict, criteria)
    more_would_decide = verdict == "not enough data" and withheld is None
    if withheld is None and (why := why_too_few_seeds(scores)):
        withheld, more_would_decide = why, True
    if withheld is not None:
        verdict, effect, reason = "not enough data", None, withheld
    plan = _needed(scores, criteria) if more_would_decide and criteria.plan else None
    return TaskVerdict(
        **_described(scores, criteria),
        verdict=verdict,
        reason=reason,
        p_adjusted=p_values[0],
        needed=plan,
        of_each_seed=plan is not None and plan.of_each_seed,
        effect=effect,
        p_same=p_same,
        p_not_worse=p_not_worse if criteria.question == "replace" else None,
        top=_top(scores, p_values[1]),
    )


def _withheld(scores: TaskScores, reason: str, criteria: _Criteria) -> TaskVerdict:
    """The verdict on a task whose data cannot decide anything."""
    return TaskVerdict(
        **_described(scores, criteria),
        verdict="not enough data",
        reason=reason,
        p_adjusted=1.0,
        needed=None,
        top=_top(scores, 1.0),
    )


def _described(scores: TaskScores, criteria: _Criteria) -> dict[str, Any]:
    """What a verdict says of the data, whatever it is."""
    plain = float(np.nan_to_num(scores.plain_mean))
    sesoi, levels = criteria.sesoi_share * plain, criteria.levels(scores)
    look = Look(
        seeds=scores.seeds,
        planned=criteria.looks or [scores.seeds],
        level=levels.two_sided,
        level_one_sided=levels.one_sided,
    )
    return {
        "provisional": scores.seeds < MIN_SEEDS,
        "sesoi": sesoi,
        "sesoi_of_misses": sesoi / (1 - plain) if plain < 1 else None,
        "contrasts": _contrasts(rule.pair_of(scores.moments)),
        "question": criteria.question,
        "measure": str(scores.measure),
        "margin": criteria.margin if criteria.question == "replace" else None,
        "look": look if criteria.looks else None,
    }


def _contrasts(pair: rule.Pair) -> Contrasts:
    return {name: Contrast.of(estimate) for name, estimate in pair.items()}


def _top(scores: TaskScores, p_adjusted: float) -> TopEffect | None:
    if scores.top_moments is None:
        return None
    contrasts = _contrasts(rule.pair_of(scores.top_moments))
    return TopEffect(measure=str(TOP), p_adjusted=p_adjusted, contrasts=contrasts)


_MAY_OVERTURN: Mapping[Verdict, Sequence[str]] = {
    "helps": ("control",),
    "not worse": ("control",),
    "hurts": ("joint",),
    "no material difference": ("joint", "control"),
}
"""The arms that might reach another verdict if they trained on. The plain arm never does: it would
only come nearer to the control, which has its recipe and takes no fewer steps."""
_CALLED = {"joint": "joint", "control": "the step-matched control"}
_MATERIAL_RISE = 0.5
"""A rise counts where it is larger than this part of the smallest effect of interest."""


def _why_withheld(scores: TaskScores, verdict: Verdict, criteria: _Criteria) -> str | None:
    """Why more data of this kind would not carry the verdict that the rule gives."""
    counted = _MAY_OVERTURN.get(verdict, ("joint", "control"))
    enough = _MATERIAL_RISE * criteria.sesoi_share
    if names := [_CALLED[arm] for arm in counted if scores.rises.get(arm, 0.0) > enough]:
        return f"undertrained: a cap ended {' and '.join(names)} while validation still rose"
    if verdict in ("no material difference", "not worse"):
        smallest = criteria.sesoi_share * scores.plain_mean
        return why_at_ceiling(scores, smallest)
    return None


def _needed(scores: TaskScores, criteria: _Criteria) -> Needed:
    """Requests or seeds that would decide; none where joint lies between the other two arms."""
    pair = rule.pair_of(scores.moments)
    alike = len(set(map(len, scores.arms))) == 1
    if not alike or disagree(pair):
        return Needed(requests=None, seeds=None)
    return needed(scores.moments, scores.requests, criteria.sesoi_share)
