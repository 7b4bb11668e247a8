"""Where the help lands: the effect on parts of the test requests, each with its own interval.

Every slice is exploratory: there are many of them, and none decides.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.significance import difference
from twofold.records import Task, other_task
from twofold.studies.analyses.popularity import BANDS, popularity_bands
from twofold.studies.arms import control_name
from twofold.studies.results import Results, describe_difference
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset

_LEAST = 20
"""Users or queries of a slice; with fewer an interval would promise too much."""


class Slicing(NamedTuple):
    """Names of slices in order, and the slice of each request, (R,), as text; that of a request
    that is in none is not among the names."""

    names: Sequence[str]
    labels: Any


def slice_effects(dataset: PreparedDataset, results: Results) -> dict[str, Any]:
    """By task, one entry a slice: requests, the arms' means, joint minus plain and control."""
    return {
        task: [
            {"slicing": name, **found}
            for name, slicing in slicings(dataset, task).items()
            for found in _effects(results, task, slicing)
        ]
        for task in dataset.tasks
    }


def slicings(dataset: PreparedDataset, task: Task) -> dict[str, Slicing]:
    """Every way to slice the test requests of a task that gives at least two slices."""
    judged = dataset.task(task).requests("test")
    found = {"popularity": _popularity(dataset, judged), "known to": _known_to(dataset, judged)}
    if task == "recommendation":
        found["history length"] = _history_lengths(judged)
    else:
        found["right answers"] = _right_answers(judged)
        found["kind"] = _kinds(dataset, judged)
        found["query in training"] = _in_training(dataset, judged)
    return {name: s for name, s in found.items() if len(set(s.labels) & set(s.names)) > 1}


def _effects(results: Results, task: Task, slicing: Slicing) -> list[dict[str, Any]]:
    arms = {"joint": "joint", "plain": task, "control": control_name(task)}
    scores = {name: results.matrix(arm, task, str(PRIMARY)) for name, arm in arms.items()}
    found = []
    for label in slicing.names:
        chosen = slicing.labels == label
        clusters = results.clusters(task)[chosen]
        if len(np.unique(clusters)) < _LEAST:
            continue
        own = {name: matrix[:, chosen] for name, matrix in scores.items()}
        contrasts = {
            f"minus_{name}": describe_difference(difference(own["joint"], own[name], clusters))
            for name in ("plain", "control")
        }
        means = {name: float(matrix.mean()) for name, matrix in own.items()}
        found.append({"slice": label, "requests": int(chosen.sum()), **means, **contrasts})
    return found


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


def _history_lengths(judged: JudgedRequests) -> Slicing:
    """In three parts of about the same size; two, where many histories are alike."""
    lengths = [len(request.history) for request in judged.requests]
    bounds = sorted({int(np.quantile(lengths, share)) for share in (1 / 3, 2 / 3)})
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
    return _slicing(("seen", "unseen"), ["seen" if found else "unseen" for found in seen])


def _slicing(names: Sequence[str], labels: Sequence[str]) -> Slicing:
    return Slicing(names, np.array(labels, dtype=object))
