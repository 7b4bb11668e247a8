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
from twofold.studies.values import CorrectedDifference, Value

if TYPE_CHECKING:
    from twofold.studies.result import StudyResult


class Effect(Value):
    """The effect of joint training in one measure."""

    plain: CorrectedDifference
    """Joint minus the plain arm."""
    control: CorrectedDifference
    """Joint minus the step-matched control."""


Effects = dict[Task, dict[str, Effect]]
"""The effects by task and measure."""


def effects(evidence: Evidence) -> Effects:
    """The effects on every task in every measure; the p-values are corrected over all of them."""
    scores, tasks = evidence.scores, evidence.dataset.tasks
    estimates = [
        scores.estimate("joint", arm, task, str(measure))
        for task in tasks
        for measure in MEASURES
        for arm in (task, control_name(task))
    ]
    tested = iter(CorrectedDifference.table(estimates))
    return {
        task: {
            str(measure): Effect(plain=next(tested), control=next(tested)) for measure in MEASURES
        }
        for task in tasks
    }


def tables(result: Effects, _study: "StudyResult") -> Iterable[Table]:
    """One row for each task and measure."""
    rows: list[Row] = [
        (f"{task} {measure}", [Cell.difference(effect.plain), Cell.difference(effect.control)])
        for task, effects in result.items()
        for measure, effect in effects.items()
    ]
    yield Table("Joint minus plain and control", ["− plain", "− step-matched"], rows)


CHAPTER = """
<h2>All measures</h2>
<p>{{ study.stamp.primary }} decides the verdict, with Holm's correction over the tasks, and nDCG@10
whether it holds at some ranks only. All other rows are exploratory. A dagger (†) marks a difference
that is still significant after the correction over this table (Benjamini and Hochberg, false
discovery rate 5 %); the 95 % intervals are not corrected.</p>
<div class="wide">
<table class="roomy">
<thead><tr><th>measure</th><th>joint − plain</th><th>joint − step-matched</th></tr></thead>
<tbody>
{% for task, measures in result.items() %}{% for measure, effect in measures.items() %}
<tr><td>{{ task }} {{ measure }}</td>
{% for difference in [effect.plain, effect.control] %}
<td>{{ difference | effect }}</td>
{% endfor %}</tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("effects", Effects, effects, CHAPTER, tables=tables)
