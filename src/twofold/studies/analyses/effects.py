"""Joint minus the plain arm and minus the step-matched control, in every measure.

The verdict rests on the primary measure alone; the others are exploratory.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twofold.evaluation.measures import MEASURES
from twofold.records import Task
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.arms import control_name
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.values import Difference, Value

if TYPE_CHECKING:
    from twofold.studies.result import StudyResult


class Effect(Value):
    """What joint training changes in one measure."""

    plain: Difference
    """Joint minus the plain arm."""
    control: Difference
    """Joint minus the step-matched control."""


Effects = dict[Task, dict[str, Effect]]
"""By task and measure."""


def effects(evidence: Evidence) -> Effects:
    """The effects on every task in every measure."""
    return {
        task: {str(measure): _effect(evidence, task, str(measure)) for measure in MEASURES}
        for task in evidence.dataset.tasks
    }


def _effect(evidence: Evidence, task: Task, measure: str) -> Effect:
    scores = evidence.scores
    return Effect(
        plain=scores.difference("joint", task, task, measure),
        control=scores.difference("joint", control_name(task), task, measure),
    )


def tables(result: Effects, _study: "StudyResult") -> Iterable[Table]:
    """One row for each task and measure."""
    rows: list[Row] = [
        (f"{task} {measure}", [Cell.difference(effect.plain), Cell.difference(effect.control)])
        for task, effects in result.items()
        for measure, effect in effects.items()
    ]
    yield Table("Joint minus plain and control", ["− plain", "− step-matched"], rows)


CHAPTER = """
<div class="wide">
<table>
<caption>Joint minus the plain arm and minus the step-matched control. Only
{{ study.stamp.primary }} decides, with Holm's correction over the tasks; every other row is
exploratory. A mark (†): the 95 % interval excludes 0, uncorrected.</caption>
<thead><tr><th>effect</th><th>− plain</th><th>− step-matched</th></tr></thead>
<tbody>
{% for task, measures in result.items() %}{% for measure, effect in measures.items() %}
<tr><td>{{ task }} {{ measure }}</td>
{% for difference in [effect.plain, effect.control] %}
<td>{{ difference | effect }}{{ " †" if difference.excludes_zero }}</td>
{% endfor %}</tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("effects", Effects, effects, CHAPTER, tables=tables)
