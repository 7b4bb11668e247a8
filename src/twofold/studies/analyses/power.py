"""The statistical power of a study with more seeds or more test requests.

It is simulated from the variances of this study; see `twofold.studies.statistics.power`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pydantic

from twofold.records import Task
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.scores import Scores
from twofold.studies.statistics.power import Plan, power_table
from twofold.studies.values import Probability, Value
from twofold.tasks.folds import Folds

if TYPE_CHECKING:
    from twofold.studies.result import StudyResult

REDRAWN: Mapping[Task, float] = {"search": 1.0, "recommendation": 0.75}
"""The share of the request variance that every fold draws anew. In search, folds have other
queries; in recommendation, other events of the same users, if histories are long enough."""
EFFECTS = (1, 2, 4)
"""True differences, in units of the smallest effect of interest."""


class Chances(Value):
    """The probabilities of the verdicts of a study of one size."""

    seeds: pydantic.PositiveInt
    requests: pydantic.PositiveInt
    """The number of test requests of each seed."""
    no_material_difference: Probability
    """The probability of this verdict without a true difference."""
    helps: Mapping[str, Probability]
    """The probability of this verdict by the true difference, in units of the smallest effect of
    interest; *hurts* has the same probability for a loss."""


Power = dict[Task, list[Chances]]
"""By task; empty if the plain arm retrieves nothing relevant."""


def power(evidence: Evidence) -> Power:
    """The probabilities of the verdicts, by task."""
    return {task: _of_task(evidence, task) for task in evidence.dataset.tasks}


def _of_task(evidence: Evidence, task: Task) -> list[Chances]:
    plans = _plans(evidence.scores, task, evidence.plan.sesoi_share, effects=(0, *EFFECTS))

    def size(plan: Plan) -> tuple[int, int]:
        return plan.requests, plan.seeds

    return [_chances(list(same_size)) for _, same_size in groupby(sorted(plans, key=size), size)]


def _plans(scores: Scores, task: Task, sesoi_share: float, **sizes: Any) -> list[Plan]:
    task_scores = scores.primary(task)
    if not task_scores.plain_mean > 0:
        return []
    redrawn = _redrawn(scores.folds, task)
    return power_table(
        task_scores.moments, task_scores.requests, sesoi_share, redrawn=redrawn, **sizes
    )


def _redrawn(folds: Folds, task: Task) -> float:
    """The share of the variance of a task's requests that every fold draws anew."""
    if folds.why_fixed[task]:
        return 0.0
    return REDRAWN[task] * (folds.folded_users if task == "recommendation" else 1.0)


def outlook(scores: Scores, task: Task, sesoi_share: float, looks: Sequence[int]) -> str:
    """The power of a study, estimated after its first seed: one sentence; empty if unknown.

    Args:
        scores: the scores of the first seed.
        task: the task.
        sesoi_share: the smallest effect of interest, as a share of the plain arm's mean.
        looks: the numbers of seeds to report.
    """
    plans = _plans(scores, task, sesoi_share, looks=looks, times=(1.0,), effects=(2.0,))
    shown = ", ".join(f"{plan.helps:.0%} with {plan.seeds}" for plan in plans)
    return f"{task}: the power for an effect of 2 SESOI is {shown} seeds" if shown else ""


def _chances(plans: list[Plan]) -> Chances:
    """The probabilities from the plans of one size, one plan for each true difference."""
    by_effect = {round(plan.effect): plan for plan in plans}
    return Chances(
        seeds=plans[0].seeds,
        requests=plans[0].requests,
        no_material_difference=by_effect[0].no_material_difference,
        helps={str(effect): by_effect[effect].helps for effect in EFFECTS},
    )


def tables(result: Power, _study: "StudyResult") -> Iterable[Table]:
    """One table for each task, one row for each number of seeds and test requests."""
    columns = ["no effect: no material difference"]
    columns += [f"effect of {effect} SESOI: helps" for effect in EFFECTS]
    for task, sizes in result.items():
        rows: list[Row] = [
            (
                f"{size.seeds} seeds, {size.requests:,} test requests",
                [Cell(size.no_material_difference), *map(Cell, size.helps.values())],
            )
            for size in sizes
        ]
        yield Table(f"Probability of a verdict, {task}", columns, rows)


CHAPTER = """
<h2>Statistical power</h2>
<p>How likely is a verdict if the study is repeated with this number of seeds and of test requests
for each seed? If there is no true effect, the table shows the probability of <em>no material
difference</em>; if the true effect is 1, 2 or 4 times the smallest effect of interest (SESOI), that
of <em>helps</em> (or of <em>hurts</em> for a loss of that size).</p>
<div class="wide">
<table>
<caption>The probabilities come from simulated studies with the variances of this one. Few seeds
give a poor estimate of the seed variance, so each simulated study draws it from its plausible
values.</caption>
<thead><tr><th>seeds</th><th>test requests</th><th>no effect</th>
<th>1 SESOI</th><th>2 SESOI</th><th>4 SESOI</th></tr></thead>
<tbody>
{% for task, sizes in result.items() %}
<tr><th class="group" colspan="6">{{ task }}</th></tr>
{% for size in sizes %}
<tr><td>{{ size.seeds }}</td><td>{{ size.requests | count }}</td>
<td>{{ size.no_material_difference | percent }}</td>
{% for chance in size.helps.values() %}<td>{{ chance | percent }}</td>{% endfor %}</tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("power", Power, power, CHAPTER, tables=tables)
