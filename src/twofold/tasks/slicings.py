"""Slicings of the test requests of a task, by properties of the training data."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from twofold.data.words import words
from twofold.records import Ints, Task, other_task
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests

BANDS = ("head", "torso", "tail")
_HEAD, _TAIL = 0.1, 0.5
"""Shares of the catalog: the most popular tenth, the less popular half."""
PAIR_SEEN_IN = ("this task", "the other task only", "neither task")

Neighbours = Mapping[Any, Set[int]]


class Slicing(NamedTuple):
    """One way to slice the requests of a task.

    Attributes:
        names: the names of the slices, in order.
        labels: the slice of each request, (R,), as text; a request whose label is not in `names`
            is in no slice.
    """

    names: Sequence[str]
    labels: Any


def slicings(
    dataset: PreparedDataset, task: Task, typical: JudgedRequests | None = None
) -> dict[str, Slicing]:
    """Every slicing of the test requests of a task with at least two slices.

    Args:
        dataset: the dataset.
        task: the task.
        typical: requests whose history lengths define the slices; by default the test requests.
    """
    judged = dataset.task(task).requests("test")
    ways = {"popularity": _popularity(dataset, judged), "trained in": _trained_in(dataset, judged)}
    ways["pair seen in"] = _pairs(dataset, judged)
    if task == "recommendation":
        ways["history length"] = _history_lengths(judged, typical or judged)
    else:
        ways["relevant items"] = _relevant_items(judged)
        ways["kind"] = _kinds(dataset, judged)
        ways["query length"] = _query_lengths(judged)
        ways["query in training"] = _in_training(dataset, judged)
    return {name: way for name, way in ways.items() if len(set(way.labels) & set(way.names)) > 1}


def popularity_bands(counts: Ints) -> Ints:
    """The index of each item's band in `BANDS`, (N,), by its training count.

    Items with the same count are in the same band, that of their mean rank.
    """
    above = (stats.rankdata(-counts, method="average") - 0.5) / len(counts)
    band = np.full(len(counts), BANDS.index("torso"))
    band[above < _HEAD] = BANDS.index("head")
    band[above >= 1 - _TAIL] = BANDS.index("tail")
    return band


def _positions(dataset: PreparedDataset, judged: JudgedRequests) -> list[list[int]]:
    """The catalog positions of the relevant items of each request."""
    at = dataset.catalog.positions
    return [[at[i] for i in judged.qrels[r.request_id]] for r in judged.requests]


def _popularity(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """By the most popular relevant item, in the task's own training data."""
    bands = popularity_bands(dataset.task(judged.task).popularity)
    return _slicing(BANDS, [BANDS[bands[r].min()] for r in _positions(dataset, judged)])


def _trained_in(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """By the tasks that train on a relevant item."""
    this = dataset.task(judged.task).popularity > 0
    other = dataset.task(other_task(judged.task)).popularity > 0
    names = ("both tasks", "this task only", "the other task only", "neither task")
    relevant = _positions(dataset, judged)
    return _slicing(names, [names[3 - 2 * this[r].any() - other[r].any()] for r in relevant])


def _pairs(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """Memorisation or generalisation: by the training data that contain a request's pair.

    In recommendation the pair is the last item of the history and the relevant item, in search a
    word of the query and the relevant item. Recommendation data have a pair of items that are
    neighbours in a history; search data have two items that are relevant to one training query, or
    a word and an item that is relevant to a training query with that word. Recommendation data have
    a word and an item if an item that is relevant to a training query with that word is a neighbour
    of the item.
    """
    near, by_word = _near_in_histories(dataset), _items_by_word(dataset)
    together = _together(dataset)
    labels = []
    for request, relevant in zip(judged.requests, _positions(dataset, judged), strict=True):
        if judged.task == "search":
            trained = _union(by_word, set(words(request.query or "")))
            other = bool(trained & _union(near, relevant))
            this = not trained.isdisjoint(relevant)
        else:
            last = dataset.catalog.positions[request.history[-1]] if request.history else -1
            this = not near.get(last, set()).isdisjoint(relevant)
            other = not together.get(last, set()).isdisjoint(relevant)
        labels.append(PAIR_SEEN_IN[0 if this else 1 if other else 2])
    return _slicing(PAIR_SEEN_IN, labels)


def _near_in_histories(dataset: PreparedDataset) -> Neighbours:
    """The items next to each item in training histories."""
    near: dict[int, set[int]] = defaultdict(set)
    for history in dataset.training_histories.values():
        for before, after in zip(history[:-1].tolist(), history[1:].tolist(), strict=True):
            near[before].add(after)
            near[after].add(before)
    return near


def _together(dataset: PreparedDataset) -> Neighbours:
    """For each item, the items that are relevant to a training query to which it is relevant."""
    joined: dict[int, set[int]] = defaultdict(set)
    for items in dataset.task("search").items_by_query.values():
        relevant = set(items.tolist())
        for item in relevant:
            joined[item] |= relevant
    return joined


def _items_by_word(dataset: PreparedDataset) -> Neighbours:
    """The items that are relevant to training queries with each word."""
    by_word: dict[str, set[int]] = defaultdict(set)
    for example in dataset.task("search").examples:
        for word in set(words(example.query or "")):
            by_word[word].update(example.targets.tolist())
    return by_word


def _union(of: Neighbours, keys: Iterable[Any]) -> set[int]:
    return set().union(*(of[key] for key in keys if key in of))


def _query_lengths(judged: JudgedRequests) -> Slicing:
    names = ("1 word", "2 words", "3 words and more")
    lengths = [len((request.query or "").split()) for request in judged.requests]
    return _slicing(names, [names[min(max(n, 1), 3) - 1] for n in lengths])


def _history_lengths(judged: JudgedRequests, typical: JudgedRequests) -> Slicing:
    """In three slices of about the same size, or two if many histories have the same length."""
    usual, lengths = ([len(r.history) for r in each.requests] for each in (typical, judged))
    bounds = sorted({int(np.quantile(usual, share)) for share in (1 / 3, 2 / 3)})
    names = [*(f"up to {bound}" for bound in bounds), f"over {bounds[-1]}"]
    return _slicing(names, [names[bisect_left(bounds, n)] for n in lengths])


def _relevant_items(judged: JudgedRequests) -> Slicing:
    names = ("1", "2 to 5", "over 5")
    sizes = [len(judged.qrels[request.request_id]) for request in judged.requests]
    return _slicing(names, [names[(n > 1) + (n > 5)] for n in sizes])


def _kinds(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    kind = dict(dataset.queries.select("query_id", "kind").iter_rows())
    labels = [kind[request.request_id] or "" for request in judged.requests]
    return _slicing(sorted(set(labels) - {""}), labels)


def _in_training(dataset: PreparedDataset, judged: JudgedRequests) -> Slicing:
    """By whether a training query has the same text, as in logs that are split by time."""
    trained = set(dataset.task("search").items_by_query)
    key = dict(dataset.queries.select("query_id", "key").iter_rows())
    seen = [key[request.request_id] in trained for request in judged.requests]
    return _slicing(("seen", "unseen"), ["seen" if is_seen else "unseen" for is_seen in seen])


def _slicing(names: Sequence[str], labels: Sequence[str]) -> Slicing:
    return Slicing(names, np.array(labels, dtype=object))
