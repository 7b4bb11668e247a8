"""Where the effect is: on parts of the test requests, each with an interval of its own.

Every slice is exploratory: there are many of them, and none decides.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pydantic

from twofold.evaluation.significance import Estimate, Moments
from twofold.records import Task, other_task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.analyses.popularity import BANDS, popularity_bands
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.scores import Scores, verdict_arms
from twofold.studies.statistics.task_scores import ROLES
from twofold.studies.values import CorrectedDifference, Value
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

_LEAST = 20
"""The fewest users or queries of a slice; with fewer an interval would promise too much."""


class Slice(Value):
    """The arms on a part of the test requests, in the primary measure."""

    slicing: str
    """What the requests are sliced by."""
    slice: str
    requests: Annotated[int, pydantic.Field(ge=2)]
    joint: float
    plain: float
    control: float
    minus_plain: CorrectedDifference
    """Joint minus the plain arm."""
    minus_control: CorrectedDifference
    """Joint minus the step-matched control."""

    @property
    def name(self) -> str:
        """As the report writes it."""
        return f"{self.slicing}: {self.slice}"


Slices = dict[Task, list[Slice]]
"""By task."""


class Slicing(NamedTuple):
    """One way to slice the requests of a task.

    Attributes:
        names: of the slices, in order.
        labels: the slice of each request, (R,), as text; a request whose label is not among the
            names belongs to none.
    """

    names: Sequence[str]
    labels: Any


def slices(evidence: Evidence) -> Slices:
    """Every slice that is large enough, by task."""
    return {task: _of_task(evidence, task) for task in evidence.dataset.tasks}


def _of_task(evidence: Evidence, task: Task) -> list[Slice]:
    """The slices of one task; their differences are one table of tests."""
    scores = evidence.scores
    parts = [
        part
        for name, slicing in _of_folds(scores, evidence.plan["seeds"], task).items()
        for part in _parts(scores, task, name, slicing)
    ]
    tested = iter(
        CorrectedDifference.table([estimate for part in parts for estimate in part.estimates])
    )
    return [
        Slice(**part.described, minus_plain=next(tested), minus_control=next(tested))
        for part in parts
    ]


def _of_folds(scores: Scores, seeds: int, task: Task) -> dict[str, Slicing]:
    """The slicings of the requests of all seeds, side by side."""
    folds = scores.folds
    first = slicings(folds.of(0), task)
    if folds.why_fixed[task] is not None:
        return first
    typical = folds.of(0).task(task).requests("test")
    labels = {name: [way.labels] for name, way in first.items()}
    for seed in range(1, seeds):
        dataset = folds.of(seed)
        own = slicings(dataset, task, typical)
        none = [""] * len(dataset.task(task).requests("test").requests)
        for name, of_folds in labels.items():
            of_folds.append(own[name].labels if name in own else none)
    return {name: Slicing(way.names, np.concatenate(labels[name])) for name, way in first.items()}


def slicings(
    dataset: PreparedDataset, task: Task, typical: JudgedRequests | None = None
) -> dict[str, Slicing]:
    """Every way to slice the test requests of a task that gives at least two slices.

    Args:
        typical: requests whose histories say which are long; those of the dataset by default.
    """
    judged = dataset.task(task).requests("test")
    ways = {"popularity": _popularity(dataset, judged), "known to": _known_to(dataset, judged)}
    if task == "recommendation":
        ways["history length"] = _history_lengths(judged, typical or judged)
    else:
        ways["right answers"] = _right_answers(judged)
        ways["kind"] = _kinds(dataset, judged)
        ways["query in training"] = _in_training(dataset, judged)
    return {name: way for name, way in ways.items() if len(set(way.labels) & set(way.names)) > 1}


class _Part(NamedTuple):
    """A slice before its tests are corrected: what is said of it, and both contrasts."""

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
        own = {role: matrix[:, chosen] for role, matrix in matrices.items()}
        moments = Moments(list(own.values()), clusters)
        described = {"slicing": name, "slice": label, "requests": int(chosen.sum())}
        means = {role: float(np.nanmean(matrix)) for role, matrix in own.items()}
        estimates = (moments.contrast((1, -1, 0)), moments.contrast((1, 0, -1)))
        yield _Part({**described, **means}, estimates)


def _positions(dataset: PreparedDataset, judged: JudgedRequests) -> list[list[int]]:
    """The right answers of each request."""
    at = dataset.catalog.positions
    return [[at[i] for i in judged.qrels[r.request_id]] for r in judged.requests]


def _popularity(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """By the most popular right answer, in the task's own training data."""
    bands = popularity_bands(dataset.task(judged.task).popularity)
    return _slicing(BANDS, [BANDS[bands[right].min()] for right in _positions(dataset, judged)])


def _known_to(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """By the tasks that train on a right answer."""
    own = dataset.task(judged.task).popularity > 0
    other = dataset.task(other_task(judged.task)).popularity > 0
    names = ("both tasks", "this task only", "the other task only", "neither task")
    right = _positions(dataset, judged)
    return _slicing(names, [names[3 - 2 * own[r].any() - other[r].any()] for r in right])


def _history_lengths(judged: JudgedRequests, typical: JudgedRequests) -> Slicing:
    """In three parts of about the same size; two, where many histories are alike."""
    usual, lengths = ([len(r.history) for r in own.requests] for own in (typical, judged))
    bounds = sorted({int(np.quantile(usual, share)) for share in (1 / 3, 2 / 3)})
    names = [*(f"up to {bound}" for bound in bounds), f"over {bounds[-1]}"]
    return _slicing(names, [names[bisect_left(bounds, n)] for n in lengths])


def _right_answers(judged: JudgedRequests) -> Slicing:
    names = ("1", "2 to 5", "over 5")
    sizes = [len(judged.qrels[request.request_id]) for request in judged.requests]
    return _slicing(names, [names[(n > 1) + (n > 5)] for n in sizes])


def _kinds(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    kind = dict(dataset.queries.select("query_id", "kind").iter_rows())
    labels = [kind[request.request_id] or "" for request in judged.requests]
    return _slicing(sorted(set(labels) - {""}), labels)


def _in_training(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """By whether a training query has the same text: in logs that are split by time."""
    trained = set(dataset.task("search").answers_by_query)
    key = dict(dataset.queries.select("query_id", "key").iter_rows())
    seen = [key[request.request_id] in trained for request in judged.requests]
    return _slicing(("seen", "unseen"), ["seen" if known else "unseen" for known in seen])


def _slicing(names: Sequence[str], labels: Sequence[str]) -> Slicing:
    return Slicing(names, np.array(labels, dtype=object))


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
    columns = ["requests", "plain", "joint", "− plain", "− step-matched"]
    for task, parts in result.items():
        rows: list[Row] = [
            (
                part.name,
                [
                    str(part.requests),
                    Cell(part.plain),
                    Cell(part.joint),
                    Cell.difference(part.minus_plain),
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
<figcaption>Joint − plain on parts of the test requests. Head: the most popular tenth of the
catalog in the task's own training data; tail: the less popular half.</figcaption>
</figure>
{% for task, parts in result.items() %}
<div class="wide">
<table>
<caption>{{ task | capitalize }}: differences with 95 % intervals, uncorrected. A mark (†): it
differs from 0 after correction over this table (Benjamini and Hochberg, false discovery rate 5 %).
Exploratory: none of these decides.</caption>
<thead><tr><th>{{ task }}</th><th>requests</th><th>plain</th><th>joint</th><th>joint − plain</th>
<th>joint − step-matched</th></tr></thead>
<tbody>
{% for part in parts %}
<tr><td>{{ part.name }}</td><td>{{ part.requests | count }}</td>
<td>{{ part.plain | number }}</td><td>{{ part.joint | number }}</td>
<td>{{ part.minus_plain | effect }}{{ " †" if part.minus_plain.stands_out }}</td>
<td>{{ part.minus_control | effect }}{{ " †" if part.minus_control.stands_out }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
"""

ANALYSIS = Analysis("slices", Slices, slices, CHAPTER, {"slices": figure}, tables)
