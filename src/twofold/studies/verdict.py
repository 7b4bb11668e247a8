"""The verdict on one task: the effect of joint training, or that the data do not show one.

`joint` is compared with the plain arm (the model that a user would train otherwise) and with the
step-matched control (which rules out that joint only trained for longer); a verdict needs both
contrasts. The question *transfer* asks whether learning the other task helps. The question
*replace* asks whether one model can replace two, which it can if it is not worse.
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
from twofold.studies.statistics.reasons import LEVEL, Reason, disagree, reason_of
from twofold.studies.statistics.rule import (
    ContrastTest,
    Effect,
    Levels,
    Obstacle,
    Question,
    Verdict,
)
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
    """None if there are too few seeds to estimate it."""

    @classmethod
    def of(cls, estimate: Estimate) -> "Contrast":
        """An estimated difference with the intervals that a verdict needs."""
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
    """The effect of joint training at the first ranks."""

    measure: str
    p_adjusted: Probability
    contrasts: Contrasts


class Look(Value):
    """The interim look of the verdict, in a study that adds seeds until every verdict is final."""

    seeds: pydantic.PositiveInt
    """The number of seeds at this look."""
    planned: Sequence[int]
    """The number of seeds at every planned look."""
    level: Probability
    """The significance level of this look for *helps* and *hurts*, two-sided."""
    level_one_sided: Probability
    """The significance level of this look for *no material difference* and *not worse*, one-sided.
    """


class TaskVerdict(Value):
    """The conclusion of the study for one task, and the numbers behind it."""

    verdict: Verdict
    provisional: bool
    """Whether there are fewer than three seeds, so that the seed variance is poorly estimated."""
    reason: Annotated[str, pydantic.Field(min_length=1)]
    obstacle: Obstacle | None = None
    """What prevents a verdict, if it is `not enough data`."""
    sesoi: pydantic.NonNegativeFloat
    """The smallest effect of interest, in the unit of the measure."""
    p_adjusted: Probability
    """The larger p-value of the two contrasts, after Holm's correction over tasks and measures;
    1 if the contrasts have different signs."""
    contrasts: Contrasts
    """The joint arm minus the plain arm, and minus the step-matched control."""
    needed: Needed | None
    """The test requests or seeds that would decide, if the verdict is `not enough data`."""
    of_each_seed: bool = False
    """Whether `needed` counts the test requests of each seed."""
    question: Question
    """`transfer`: does the other task help? `replace`: can one model replace two?"""
    effect: Effect | None = None
    """The effect at the ranks that the verdict `only deeper` or `only at the top` names."""
    measure: str
    """The primary measure."""
    sesoi_of_misses: pydantic.NonNegativeFloat | None = None
    """The smallest effect of interest, as a share of 1 minus the plain arm's mean."""
    p_same: Probability | None = None
    """The p-value of the equivalence test; its null hypothesis is that the difference is at least
    `sesoi`, in either direction."""
    margin: pydantic.NonNegativeFloat | None = None
    """The non-inferiority margin, as a share of the plain arm's mean; None unless the question is
    `replace`."""
    p_not_worse: Probability | None = None
    """The p-value of the non-inferiority test; its null hypothesis is that joint is worse by the
    margin or more."""
    top: TopEffect | None = None
    """The effect at the first ranks, if the primary measure does not weigh ranks."""
    look: Look | None = None
    """None if the number of seeds was fixed in advance."""


def decide(
    scores: Mapping[Task, TaskScores],
    sesoi_share: float = SESOI_SHARE,
    *,
    question: Question = "transfer",
    margin: float | None = None,
    looks: Sequence[int] | None = None,
    plan: bool = True,
) -> dict[Task, TaskVerdict]:
    """The verdicts on all tasks, with one correction over the tests of all of them.

    Args:
        scores: by task; a task whose data cannot decide anything is not in the correction.
        sesoi_share: the smallest effect of interest, as a share of the plain arm's mean.
        question: `transfer` or `replace`.
        margin: the non-inferiority margin of `replace`, as a share of the plain arm's mean; it must
            be set before the scores are seen; `sesoi_share` by default.
        looks: the number of seeds at every interim look; None if the number of seeds is fixed.
        plan: whether to compute the data that would decide, for a verdict of not enough data.
    """
    criteria = _Criteria(
        question, sesoi_share, sesoi_share if margin is None else margin, looks, plan
    )
    excluded = {task: why_degenerate(task_scores) for task, task_scores in scores.items()}
    tested = {task: task_scores for task, task_scores in scores.items() if excluded[task] is None}
    contrasts = {
        task: ContrastTest.of(rule.pair_of(task_scores.moments))
        for task, task_scores in tested.items()
    }
    tops = {
        task: ContrastTest.of(rule.pair_of(task_scores.top_moments))
        for task, task_scores in tested.items()
        if task_scores.top_moments is not None
    }
    primary, top = rule.adjusted(contrasts, tops)
    verdicts: dict[Task, TaskVerdict] = {}
    for task, task_scores in scores.items():
        reason = excluded[task]
        if reason is not None:
            verdicts[task] = _withheld(task_scores, reason, criteria)
        else:
            p_values = (primary[task], top.get(task, 1.0))
            verdicts[task] = _decided(
                task_scores, contrasts[task], tops.get(task), p_values, criteria
            )
    return verdicts


def is_final(verdict: TaskVerdict) -> bool:
    """Whether more seeds are not needed: the verdict is reached, or seeds could not decide it."""
    return verdict.verdict != "not enough data" or verdict.needed is None


@dataclass(frozen=True, slots=True)
class _Criteria:
    """The question, and the criteria of its verdict."""

    question: Question
    sesoi_share: float
    margin: float
    looks: Sequence[int] | None
    plan: bool

    def levels(self, scores: TaskScores) -> Levels:
        return Levels.of(self.looks, scores.seeds)


def _decided(
    scores: TaskScores,
    contrast: ContrastTest,
    top: ContrastTest | None,
    p_values: tuple[float, float],
    criteria: _Criteria,
) -> TaskVerdict:
    """The verdict on a task whose data can decide.

    Args:
        scores, contrast, top, criteria: of the task.
        p_values: the adjusted p-values of the primary measure and of the first ranks.
    """
    levels, moments = criteria.levels(scores), scores.moments
    p_same = rule.p_same(moments, criteria.sesoi_share)
    p_not_worse = rule.p_not_worse(moments, criteria.margin)
    shown = contrast.direction(p_values[0], levels.two_sided)
    shown_top = top.direction(p_values[1], levels.two_sided) if top else "open"
    verdict, effect = rule.verdict_of(
        criteria.question,
        shown,
        shown_top,
        p_same <= levels.one_sided,
        p_not_worse <= levels.one_sided,
    )
    reason = reason_of(verdict, effect, scores, shown)
    if withheld := _why_withheld(scores, verdict, criteria):
        verdict, effect, reason = "not enough data", None, withheld
    more_would_decide = reason.obstacle not in (None, "undertrained", "degenerate data")
    plan = _needed(scores, criteria) if more_would_decide and criteria.plan else None
    return TaskVerdict(
        **_described(scores, criteria),
        verdict=verdict,
        reason=reason.text,
        obstacle=reason.obstacle,
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
        obstacle="degenerate data",
        p_adjusted=1.0,
        needed=None,
        top=_top(scores, 1.0),
    )


def _described(scores: TaskScores, criteria: _Criteria) -> dict[str, Any]:
    """The fields that do not depend on the verdict."""
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
"""The arms whose further training might change each verdict. The plain arm is not among them: it
would only approach the control, which continues its training."""
_CALLED = {"joint": "joint", "control": "the step-matched control"}
_MATERIAL_RISE = 0.5
"""A rise counts if it is larger than this share of the smallest effect of interest."""


def _why_withheld(scores: TaskScores, verdict: Verdict, criteria: _Criteria) -> Reason | None:
    """Why the verdict of the rule cannot be trusted, or why more data would not decide; None if
    neither holds."""
    smallest = criteria.sesoi_share * scores.plain_mean
    if _without_room(scores, verdict, smallest) and (why := why_at_ceiling(scores, smallest)):
        return Reason(why, "degenerate data")
    counted = _MAY_OVERTURN.get(verdict, ("joint", "control"))
    enough = _MATERIAL_RISE * criteria.sesoi_share
    if names := [_CALLED[arm] for arm in counted if scores.rises.get(arm, 0.0) > enough]:
        text = f"undertrained: a cap ended {' and '.join(names)} while validation still rose"
        return Reason(text, "undertrained")
    if why := why_too_few_seeds(scores):
        return Reason(why, "few seeds")
    return None


def _without_room(scores: TaskScores, verdict: Verdict, smallest: float) -> bool:
    """Whether no verdict is possible if the plain arm is at the ceiling.

    A loss can be shown at the ceiling, so *hurts* stands, and so does an open verdict whose
    estimated loss is as large as the smallest effect of interest: more data may show it.
    """
    if verdict == "not enough data":
        return all(each.value > -smallest for each in rule.pair_of(scores.moments).values())
    return verdict in ("helps", "no material difference", "not worse")


def _needed(scores: TaskScores, criteria: _Criteria) -> Needed:
    """The requests or seeds that would decide; none if joint lies between the other two arms."""
    pair = rule.pair_of(scores.moments)
    alike = len(set(map(len, scores.arms))) == 1
    if not alike or disagree(pair):
        return Needed(requests=None, seeds=None)
    return needed(scores.moments, scores.requests, criteria.sesoi_share)
