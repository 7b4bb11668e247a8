"""How training examples, and the requests of validation and test, are made from the tables.

Invariant: no training example of any task holds a user's validation or test event, or anything
later of that user. Callers read both from `PreparedDataset.task`, which makes them once.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from twofold.data.dataset import Catalog
from twofold.data.words import words
from twofold.records import Example, Floats, Ints, Qrels, Request, Split, Task

if TYPE_CHECKING:
    from twofold.tasks.prepared import PreparedDataset

_DRAW_SEED = 20241
"""The random seed of the queries that are drawn from item texts."""


@dataclass(frozen=True, slots=True)
class JudgedRequests:
    """The requests of one task and split, with their right answers."""

    task: Task
    split: Split
    requests: Sequence[Request]
    qrels: Qrels

    def sample(self, size: int) -> "JudgedRequests":
        """At most `size` of the requests, always the same; the catalog stays full."""
        if len(self.requests) <= size:
            return self
        rows = np.random.default_rng(0).choice(len(self.requests), size, replace=False)
        return dataclasses.replace(self, requests=[self.requests[row] for row in sorted(rows)])

    def renamed(self, to: Mapping[str, str]) -> "JudgedRequests":
        """The same requests with every item id replaced by another one."""
        requests = [
            dataclasses.replace(
                request,
                history=tuple(to[item_id] for item_id in request.history),
                exclude=frozenset(to[item_id] for item_id in request.exclude),
            )
            for request in self.requests
        ]
        qrels = {
            request_id: {to[item_id]: relevance for item_id, relevance in right.items()}
            for request_id, right in self.qrels.items()
        }
        return dataclasses.replace(self, requests=requests, qrels=qrels)


def build_examples(dataset: "PreparedDataset", task: Task) -> list[Example]:
    """The training examples of one task; none where the dataset lacks it."""
    return _query_examples(dataset) if task == "search" else _history_examples(dataset)


def build_requests(dataset: "PreparedDataset", task: Task, split: Split) -> JudgedRequests:
    """The requests of one task and split, with their right answers."""
    if task == "search":
        return _judged_queries(dataset, split)
    return _judged_users(dataset, split)


def item_text_examples(catalog: Catalog, snippets: int) -> list[Example]:
    """One search example for each of an item's `item_text_queries`, the item as its target.

    They teach search items that no training query wants.
    """
    empty_history, visible = np.zeros(0, dtype=np.int64), np.zeros(1, np.int64)
    return [
        Example(
            history=empty_history,
            query=query,
            targets=np.array([item], dtype=np.int64),
            visible=visible,
        )
        for item, queries in enumerate(item_text_queries(catalog, snippets))
        for query in queries
    ]


def item_text_queries(catalog: Catalog, snippets: int) -> list[list[str]]:
    """Made-up queries for each item: its title, and `snippets` draws of one to four of its words.

    The draws are the same in every arm and seed. Rare words are drawn more often, since people
    search with them.
    """
    by_text = [sorted(set(words(text))) for text in catalog.texts]
    frequency = Counter(word for own in by_text for word in own)
    by_item = []
    for item, (title, own) in enumerate(zip(catalog.items["title"], by_text, strict=True)):
        rng = np.random.default_rng([_DRAW_SEED, item])
        queries = [title] if title else []
        rarity = np.log(len(by_text) / np.array([frequency[word] for word in own]) + 1.0)
        for _ in range(snippets if own else 0):
            size = min(len(own), int(rng.integers(1, 5)))
            queries.append(" ".join(rng.choice(own, size, replace=False, p=rarity / rarity.sum())))
        by_item.append(queries)
    return by_item


def _history_examples(dataset: "PreparedDataset") -> list[Example]:
    """One example for each user: every event but the first is a target, given those before it."""
    return [
        Example(
            history=items[:-1],
            query=None,
            targets=items[1:],
            visible=np.arange(1, len(items), dtype=np.int64),
        )
        for items in dataset.training_histories.values()
        if len(items) > 1
    ]


def _judged_users(dataset: "PreparedDataset", split: Split) -> JudgedRequests:
    item_ids = np.asarray(dataset.catalog.item_ids, dtype=object)
    held_out = _held_out(dataset)
    requests, qrels = [], {}
    for user_id, history in dataset.training_histories.items():
        events = held_out.get(user_id, {})
        if split not in events:
            continue
        before = item_ids[history].tolist()
        if split == "test" and "validation" in events:
            before.append(events["validation"])
        exclude = frozenset(before) if dataset.protocol.seen == "exclude" else frozenset()
        requests.append(Request(user_id, history=tuple(before), exclude=exclude, user_id=user_id))
        qrels[user_id] = {events[split]: 1}
    return JudgedRequests(task="recommendation", split=split, requests=requests, qrels=qrels)


def _held_out(dataset: "PreparedDataset") -> dict[str, dict[str, str]]:
    """The item of each user's validation and test event."""
    rows = dataset.interactions.filter(pl.col("split").is_in(["validation", "test"]))
    held_out: dict[str, dict[str, str]] = {}
    for user_id, item_id, split in rows.select("user_id", "item_id", "split").iter_rows():
        held_out.setdefault(user_id, {})[split] = item_id
    return held_out


class _Query(NamedTuple):
    query_id: str
    text: str
    user_id: str | None
    time: float | None


def _query_examples(dataset: "PreparedDataset") -> list[Example]:
    """One example for each query: all its right answers, given its text and its user's history.

    A query that its user typed at or after the first held-out event is left out, and so are the
    user's held-out items as answers: a click on a result is often logged as an interaction too.
    """
    timeline = _Timeline(dataset)
    positions = dataset.catalog.positions
    answers = _answers(dataset)
    examples = []
    for query in _queries(dataset, "train"):
        if timeline.is_held_out(query):
            continue
        held_out = timeline.held_out_items(query.user_id)
        right = (positions[item_id] for item_id in answers[query.query_id])
        targets = np.array([item for item in right if item not in held_out], dtype=np.int64)
        if len(targets):
            history = timeline.history(query)
            visible = np.full(len(targets), len(history), dtype=np.int64)
            examples.append(
                Example(history=history, query=query.text, targets=targets, visible=visible)
            )
    return examples


def _judged_queries(dataset: "PreparedDataset", split: Split) -> JudgedRequests:
    timeline = _Timeline(dataset)
    item_ids = np.asarray(dataset.catalog.item_ids, dtype=object)
    answers = _answers(dataset)
    requests, qrels = [], {}
    for query in _queries(dataset, split):
        # A validation request must not hold the user's test event.
        typed = timeline.cut_before_test(query) if split == "validation" else query
        history = tuple(item_ids[timeline.history(typed)].tolist())
        requests.append(
            Request(query.query_id, query=query.text, history=history, user_id=query.user_id)
        )
        qrels[query.query_id] = answers[query.query_id]
    return JudgedRequests(task="search", split=split, requests=requests, qrels=qrels)


def _queries(dataset: "PreparedDataset", split: Split) -> list[_Query]:
    rows = dataset.queries.filter(pl.col("split") == split)
    columns = rows.select("query_id", "text", "user_id", "timestamp")
    return [_Query(*row) for row in columns.iter_rows()]


def _answers(dataset: "PreparedDataset") -> dict[str, dict[str, int]]:
    """The relevance of each query's right answers."""
    answers: dict[str, dict[str, int]] = {}
    for query_id, item_id, relevance in dataset.qrels.iter_rows():
        answers.setdefault(query_id, {})[item_id] = relevance
    return answers


class _Timeline:
    """When each user did what: the history of a query, and where held-out events begin."""

    def __init__(self, dataset: "PreparedDataset") -> None:
        self._events: dict[str, tuple[Ints, Floats]] = {}
        self._first_held_out: dict[str, float] = {}
        self._test: dict[str, float] = {}
        self._held_out_items: dict[str, set[int]] = {}
        if dataset.queries["user_id"].is_null().all():
            return
        events = dataset.interactions.join(
            dataset.queries.select("user_id").drop_nulls(), on="user_id", how="semi"
        )
        by_user = events.group_by("user_id", maintain_order=True).agg("timestamp", "split")
        for user_id, timestamps, splits in by_user.iter_rows():
            times = np.asarray(timestamps, dtype=np.float64)
            split = np.asarray(splits, dtype=object)
            self._events[user_id] = dataset.histories[user_id], times
            held_out = split != "train"
            if held_out.any():
                self._first_held_out[user_id] = float(times[held_out][0])
                self._held_out_items[user_id] = set(dataset.histories[user_id][held_out].tolist())
            if (split == "test").any():
                self._test[user_id] = float(times[split == "test"][0])

    def history(self, query: _Query) -> Ints:
        """Events strictly before the query; none where it has no user or no time."""
        if query.user_id not in self._events or query.time is None:
            return np.zeros(0, dtype=np.int64)
        items, times = self._events[query.user_id]
        return items[times < query.time]

    def is_held_out(self, query: _Query) -> bool:
        """Whether a query was typed at or after its user's first held-out event."""
        if query.user_id is None or query.time is None:
            return False
        # Without times on the events (NaN) nothing shows that the query came first.
        return not query.time < self._first_held_out.get(query.user_id, np.inf)

    def held_out_items(self, user_id: str | None) -> set[int]:
        """The items of the user's held-out events."""
        return self._held_out_items.get(user_id, set()) if user_id else set()

    def cut_before_test(self, query: _Query) -> _Query:
        """The query as if typed no later than its user's test event."""
        if query.user_id not in self._test or query.time is None:
            return query
        return query._replace(time=min(query.time, self._test[query.user_id]))
