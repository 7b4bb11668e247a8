"""How much each start of the items knows by itself: nDCG@10 on validation, before any training.

A history is answered with the items nearest its last one, a query with those nearest it, as an
untrained model would.
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from twofold.encoders.item_vectors import MOST_TARGETS, ItemStart, item_start
from twofold.encoders.text_encoder import resolve_encoder
from twofold.encoders.vectors import TextEncoder, Vectors
from twofold.evaluation.measures import Measure, tie_order
from twofold.records import Task
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests
from twofold.tasks.streaming.files import with_progress
from twofold.training_examples import Examples, Source

MOST_ITEMS = 50_000
"""Catalogs of more items have no such report: it would take minutes."""

_MOST_REQUESTS = 1000
_WIDTH = 128
_MEASURE = Measure("nDCG", 10)
_STARTS = ("text", "factors", "text+factors")


def report_starts(dataset: PreparedDataset) -> dict[str, Any] | None:
    """By start and task, the mean of nDCG@10 on at most 1,000 validation requests.

    A start learns from at most `MOST_TARGETS` of the training targets of a task, which are drawn.

    A task without training examples or validation requests is left out, and so is a start that can
    be evaluated in no task. None for a catalog of more than `MOST_ITEMS`.
    """
    if len(dataset.catalog) > MOST_ITEMS:
        return None
    values: dict[str, dict[str, float]] = {start: {} for start in _STARTS}
    learned: dict[Task, _Learned | None] = {}
    both = list(product(dataset.tasks, _STARTS))
    for task, start in with_progress(both, "initial item embeddings", len(both), "measured"):
        if task not in learned:
            learned = {task: _learned(dataset, task)}
        value = _measured(dataset, learned[task], start)
        if value is not None:
            values[start][task] = value
    return {start: by_task for start, by_task in values.items() if by_task}


class _Learned(NamedTuple):
    """The training examples and validation requests of a task, and its text encoder."""

    task: Task
    examples: Examples
    judged: JudgedRequests
    encoder: TextEncoder | None


def _learned(dataset: PreparedDataset, task: Task) -> _Learned | None:
    """What the starts of a task learn from; None without training examples or requests."""
    judged = dataset.task(task).requests("validation").sample(_MOST_REQUESTS)
    if not judged.requests or not dataset.task(task).examples:
        return None
    examples = dataset.task(task).examples.sample(MOST_TARGETS[task])
    return _Learned(task, examples, judged, _encoder(dataset, examples))


def _measured(dataset: PreparedDataset, learned: _Learned | None, start: str) -> float | None:
    """The value of a start; None if it cannot be evaluated."""
    if learned is None:
        return None
    task, examples, judged, encoder = learned
    sources, texts = {task: Source(task, examples)}, dataset.catalog.texts
    known = item_start(sources, texts, encoder, start.split("+"), _WIDTH)
    if known is None or (task == "search" and known.query_map is None):
        return None
    return _value(dataset, known, encoder, judged)


def _encoder(dataset: PreparedDataset, examples: Examples) -> TextEncoder | None:
    """The default text encoder of the arm that learns from some examples of one task."""
    queries = examples.texts() if len(examples.queries) else []
    return resolve_encoder("auto", dataset.catalog.texts, queries)


def _value(
    dataset: PreparedDataset, known: ItemStart, encoder: TextEncoder | None, judged: JudgedRequests
) -> float:
    """The mean of the measure over the requests."""
    positions, ties = dataset.catalog.positions, tie_order(dataset.catalog.item_ids)
    values = []
    for request, state in zip(
        judged.requests, _states(dataset, known, encoder, judged), strict=True
    ):
        scores = known.items @ state
        scores[[positions[item_id] for item_id in request.exclude]] = -np.inf
        qrels = judged.qrels[request.request_id]
        relevant = {positions[item_id]: grade for item_id, grade in qrels.items()}
        values.append(_MEASURE.of_scores(scores, relevant, ties))
    return float(np.mean(values))


def _states(
    dataset: PreparedDataset, known: ItemStart, encoder: TextEncoder | None, judged: JudgedRequests
) -> Vectors:
    """What the items are compared with, for each request, (R, D)."""
    if judged.task == "recommendation":
        positions = dataset.catalog.positions
        return known.items[[positions[request.history[-1]] for request in judged.requests]]
    assert encoder is not None
    assert known.query_map is not None
    queries = encoder.encode([request.query or "" for request in judged.requests])
    return np.asarray(queries @ known.query_map.T, dtype=np.float32)
