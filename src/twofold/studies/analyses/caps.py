"""How much of a gain remains if each item of the added task keeps only few training targets.

A cap also removes data, so each has a size-matched control that loses the same number of targets
at random. Only a difference between the two is an effect of popularity and not of fewer data.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from twofold.records import TASKS, Task, other_task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.interventions import CAPS, TaskIntervention
from twofold.studies.scores import Scores
from twofold.studies.values import Difference, Mean, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult


class CapEffects(Value):
    """Differences in the primary measure of the helped task."""

    capped_minus_plain: Difference
    size_matched_minus_plain: Difference
    capped_minus_joint: Difference
    capped_minus_size_matched: Difference


class Cap(Value):
    """The arms of one cap; all fields are None if it removes no target, so there are no arms."""

    cap: int
    targets: int | None = None
    """The number of training targets under the cap."""
    capped: Mean | None = None
    size_matched: Mean | None = None
    effects: CapEffects | None = None


class TaskCaps(Value):
    """The caps of one helped task."""

    added: Task
    """The task whose targets are capped."""
    targets: int
    """The number of its training targets without a cap."""
    caps: list[Cap]


Caps = dict[Task, TaskCaps]
"""The caps by helped task."""


def caps(evidence: Evidence) -> Caps | None:
    """The means and effects under every cap; None without the intervention."""
    if "caps" not in evidence.plan.interventions:
        return None
    scores = evidence.scores
    return {
        task: TaskCaps(
            added=other_task(task),
            targets=scores.stamps["joint"][0].targets[other_task(task)],
            caps=[_cap(scores, task, cap) for cap in CAPS],
        )
        for task in TASKS
    }


def _cap(scores: Scores, task: Task, cap: int) -> Cap:
    """The scores under one cap, and their differences to those of other arms."""
    added = other_task(task)
    capped = TaskIntervention("capped", added, cap).arm.name
    matched = TaskIntervention("size-matched", added, cap).arm.name
    if capped not in scores.arms:
        return Cap(cap=cap)
    clusters = scores.clusters(task)
    return Cap(
        cap=cap,
        targets=scores.stamps[capped][0].targets[added],
        capped=Mean.of(scores.matrix(capped, task), clusters),
        size_matched=Mean.of(scores.matrix(matched, task), clusters),
        effects=CapEffects(
            capped_minus_plain=scores.difference(capped, task, task),
            size_matched_minus_plain=scores.difference(matched, task, task),
            capped_minus_joint=scores.difference(capped, "joint", task),
            capped_minus_size_matched=scores.difference(capped, matched, task),
        ),
    )


def figure(result: Caps, study: "StudyResult") -> "Figure":
    """Joint minus plain by cap, and the same for the size-matched controls."""
    figure, axes = plots.panels(1, len(result), 2.8)
    for axis, (task, task_caps) in zip(axes, result.items(), strict=True):
        shown = [(point.cap, point.effects) for point in task_caps.caps if point.effects]
        axis.axhline(0, color=plots.INK, lw=1)
        for shift, name, colour in (
            (-0.06, "capped", plots.COLOURS[task]),
            (0.06, "size_matched", plots.INK),
        ):
            for x, (_, effects) in enumerate(shown):
                effect = getattr(effects, f"{name}_minus_plain")
                label = name.replace("_", "-") if x == 0 else None
                axis.plot([x + shift] * 2, effect.interval, color=colour, lw=2)
                axis.plot(x + shift, effect.difference, "o", color=colour, label=label)
        full = study.verdicts[task].contrasts["plain"]
        joint = plots.COLOURS["joint"]
        axis.plot([len(shown)] * 2, full.interval, color=joint, lw=2)
        axis.plot(len(shown), full.difference, "o", color=joint, label="joint")
        axis.set_xticks(range(len(shown) + 1), [*(str(cap) for cap, _ in shown), "no cap"])
        axis.set_xlabel(f"cap on the targets of an item in {task_caps.added}")
        plots.title(axis, task)
        plots.legend(axis)
    axes[0].set_ylabel("difference from the plain arm")
    return figure


def tables(result: Mapping[Task, TaskCaps], _study: "StudyResult") -> Iterable[Table]:
    """One table for each helped task, one row for each cap."""
    columns = ["capped − plain", "size-matched − plain", "capped − size-matched"]
    for task, task_caps in result.items():
        rows: list[Row] = []
        for point in task_caps.caps:
            if point.effects is None:
                continue
            effects = (
                point.effects.capped_minus_plain,
                point.effects.size_matched_minus_plain,
                point.effects.capped_minus_size_matched,
            )
            rows.append((str(point.cap), [Cell.difference(effect) for effect in effects]))
        yield Table(f"Caps on {task_caps.added}, {task}", columns, rows)


CHAPTER = """
<h2>Fewer targets of the added task</h2>
<figure>
{{ figures.caps | safe }}
<figcaption>A cap limits how often an item is a training target of the added task. The size-matched
control loses the same number of targets, but at random. Only a difference between the two is an
effect of popularity; the rest is an effect of less data.</figcaption>
</figure>
<div class="wide">
<table>
<thead><tr><th>cap</th><th>targets left</th><th>capped − plain</th><th>size-matched − plain</th>
<th>capped − size-matched</th></tr></thead>
<tbody>
{% for task, caps in result.items() %}
<tr><th class="group" colspan="5">{{ task }}, with a cap on the targets of {{ caps.added }}</th>
</tr>
{% for point in caps.caps %}
<tr><td>{{ point.cap }}</td>
{% if point.effects %}<td>{{ point.targets | count }}</td>
<td>{{ point.effects.capped_minus_plain | effect }}</td>
<td>{{ point.effects.size_matched_minus_plain | effect }}</td>
<td>{{ point.effects.capped_minus_size_matched | effect }}</td>
{% else %}<td class="text" colspan="4">removes no target</td>{% endif %}</tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("caps", Caps | None, caps, CHAPTER, {"caps": figure}, tables)
