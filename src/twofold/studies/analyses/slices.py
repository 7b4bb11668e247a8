"""The effect on slices of the test requests, each with its own interval.

The slices are exploratory and do not enter the verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pydantic

from twofold.evaluation.significance import Estimate, Moments
from twofold.records import Task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.scores import Scores, verdict_arms
from twofold.studies.statistics.pooling import pooled
from twofold.studies.statistics.task_scores import ROLES
from twofold.studies.values import CorrectedDifference, Difference, Value
from twofold.tasks.slicings import Slicing, slicings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

_LEAST = 20
"""The smallest number of users or queries of a slice; with fewer, an interval is not reliable."""


class Slice(Value):
    """The scores of the arms on a slice of the test requests, in the primary measure."""

    slicing: str
    """The property by which the requests are sliced."""
    slice: str
    requests: Annotated[int, pydantic.Field(ge=2)]
    joint: float
    plain: float
    control: float
    minus_plain: CorrectedDifference
    """Joint minus the plain arm."""
    minus_control: CorrectedDifference
    """Joint minus the step-matched control."""
    pooled_minus_plain: Difference
    """`minus_plain` after partial pooling: shrunk towards the other slices of the same slicing."""

    @property
    def name(self) -> str:
        """The name in the report."""
        return f"{self.slicing}: {self.slice}"


Slices = dict[Task, list[Slice]]
"""The slices by task."""


def slices(evidence: Evidence) -> Slices:
    """Every slice that is large enough, by task."""
    return {task: _of_task(evidence, task) for task in evidence.dataset.tasks}


def _of_task(evidence: Evidence, task: Task) -> list[Slice]:
    """The slices of one task; the p-values are corrected over all of them."""
    scores = evidence.scores
    parts = [
        part
        for name, slicing in _of_folds(scores, evidence.plan.seeds, task).items()
        for part in _parts(scores, task, name, slicing)
    ]
    tested = iter(
        CorrectedDifference.table([estimate for part in parts for estimate in part.estimates])
    )
    pooled_differences = _pooled(parts)
    return [
        Slice(
            **part.described,
            minus_plain=next(tested),
            minus_control=next(tested),
            pooled_minus_plain=pooled_difference,
        )
        for part, pooled_difference in zip(parts, pooled_differences, strict=True)
    ]


def _pooled(parts: Sequence["_Part"]) -> list[Difference]:
    """Joint minus plain of each slice, shrunk towards the other slices of its slicing."""
    by_slicing = (
        list(of_slicing) for _, of_slicing in groupby(parts, lambda part: part.described["slicing"])
    )
    return [
        estimate
        for of_slicing in by_slicing
        for estimate in pooled([part.estimates[0] for part in of_slicing])
    ]


def _of_folds(scores: Scores, seeds: int, task: Task) -> dict[str, Slicing]:
    """The slicings of the requests of all seeds, concatenated."""
    folds = scores.folds
    first = slicings(folds.of(0), task)
    if folds.why_fixed[task] is not None:
        return first
    typical = folds.of(0).task(task).requests("test")
    labels = {name: [way.labels] for name, way in first.items()}
    for seed in range(1, seeds):
        dataset = folds.of(seed)
        of_seed = slicings(dataset, task, typical)
        none = [""] * len(dataset.task(task).requests("test").requests)
        for name, of_folds in labels.items():
            of_folds.append(of_seed[name].labels if name in of_seed else none)
    return {name: Slicing(way.names, np.concatenate(labels[name])) for name, way in first.items()}


class _Part(NamedTuple):
    """A slice before the correction of its p-values: its fields, and both contrasts."""

    described: dict[str, Any]
    estimates: tuple[Estimate, Estimate]


def _parts(scores: Scores, task: Task, name: str, slicing: Slicing) -> Iterable[_Part]:
    """The slices of one slicing that have enough users or queries."""
    matrices = dict(
        zip(ROLES, (scores.matrix(arm, task) for arm in verdict_arms(task)), strict=True)
    )
    for label in slicing.names:
        chosen = slicing.labels == label
        clusters = scores.clusters(task)[chosen]
        if len(np.unique(clusters)) < _LEAST:
            continue
        in_slice = {role: matrix[:, chosen] for role, matrix in matrices.items()}
        moments = Moments(list(in_slice.values()), clusters)
        described = {"slicing": name, "slice": label, "requests": int(chosen.sum())}
        means = {role: float(np.nanmean(matrix)) for role, matrix in in_slice.items()}
        estimates = (moments.contrast((1, -1, 0)), moments.contrast((1, 0, -1)))
        yield _Part({**described, **means}, estimates)


def figure(result: Slices, study: "StudyResult") -> "Figure":
    """Joint minus plain on every slice."""
    heights = [max(1, len(parts)) for parts in result.values()]
    figure, axes = plots.panels(len(result), 1, 0.24 * sum(heights) + 1.2, height_ratios=heights)
    for axis, (task, parts) in zip(axes, result.items(), strict=True):
        axis.axvline(0, color=plots.INK, lw=1)
        for row, part in enumerate(reversed(parts)):
            effect, colour = part.minus_plain, plots.COLOURS[task]
            axis.plot(effect.interval, [row, row], color=colour, lw=2)
            axis.plot(effect.difference, row, "o", color=colour, ms=5)
        axis.set_yticks(range(len(parts)), [part.name for part in reversed(parts)])
        axis.tick_params(axis="y", labelsize=8)
        plots.title(axis, task)
    axes[-1].set_xlabel(f"joint − plain in {study.stamp.primary}")
    return figure


def tables(result: Mapping[Task, Sequence[Slice]], study: "StudyResult") -> Iterable[Table]:
    """One table for each task, one row for each slice."""
    columns = ["requests", "plain", "joint", "− plain", "− plain, pooled", "− step-matched"]
    for task, parts in result.items():
        rows: list[Row] = [
            (
                part.name,
                [
                    str(part.requests),
                    Cell(part.plain),
                    Cell(part.joint),
                    Cell.difference(part.minus_plain),
                    Cell.difference(part.pooled_minus_plain),
                    Cell.difference(part.minus_control),
                ],
            )
            for part in parts
        ]
        yield Table(f"Slices, {task}, {study.stamp.primary}", columns, rows)


CHAPTER = """
<h2>Slices of the test requests</h2>
<figure>
{{ figures.slices | safe }}
<figcaption>The difference joint − plain on parts of the test requests, with 95 %
intervals.</figcaption>
</figure>
<ul>
<li><em>Popularity</em> is that of the relevant item in the task's own training data: the head is
the most popular tenth of the catalog, the tail the less popular half.</li>
<li><em>Trained in</em>: the tasks that have the relevant item as a training target.</li>
<li><em>Pair seen in</em>: the tasks whose training data have the last item of the history (or a
word of the query) together with the relevant item. Such a request can be answered by memorisation;
a pair that was seen in neither task needs generalisation.</li>
</ul>
<p class="soft">The slices are exploratory and do not enter the verdict. A dagger (†) marks a
difference that is still significant after the correction over its task (Benjamini and Hochberg,
false discovery rate 5 %); the intervals are not corrected. Pooled: joint − plain, shrunk towards
the other slices of the same kind by a hierarchical model.</p>
<div class="wide">
<table>
<thead><tr><th>slice</th><th>requests</th><th>plain</th><th>joint − plain</th><th>pooled</th>
<th>joint − step-matched</th></tr></thead>
<tbody>
{% for task, parts in result.items() %}
<tr><th class="group" colspan="6">{{ task }}, {{ study.stamp.primary }}</th></tr>
{% for part in parts %}
<tr><td>{{ part.name }}</td><td>{{ part.requests | count }}</td>
<td>{{ part.plain | number }}</td>
<td>{{ part.minus_plain | effect }}</td>
<td>{{ part.pooled_minus_plain | effect }}</td>
<td>{{ part.minus_control | effect }}</td></tr>
{% endfor %}
{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("slices", Slices, slices, CHAPTER, {"slices": figure}, tables)
