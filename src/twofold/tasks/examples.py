"""Training examples, and the requests that validation and test ask, with their qrels.

Invariant: no training example of any task holds a user's validation or test event, or anything
later of that user.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from twofold.data.dataset import Catalog
from twofold.records import Example, Floats, InputError, Ints, Qrels, Request, Source, Split, Task
from twofold.tasks.prepared import PreparedDataset

_WORD = re.compile(r"\w{2,}")
_ITEM_TEXT = 20241
"""Seed of what is drawn from items' texts."""


@dataclass(frozen=True, slots=True)
class JudgedRequests:
    """The requests of one task and split, with their right answers."""

    task: Task
    split: Split
    requests: Sequence[Request]
    qrels: Qrels

    def sample(self, size: int, seed: int = 0) -> "JudgedRequests":
        """At most `size` of the requests, drawn once and for all by `seed`; catalog untouched."""
        if len(self.requests) <= size:
            return self
        rows = np.random.default_rng(seed).choice(len(self.requests), size, replace=False)
        return JudgedRequests(
            self.task, self.split, [self.requests[row] for row in sorted(rows)], self.qrels
        )

    def renamed(self, to: Mapping[str, str]) -> "JudgedRequests":
        """The same requests about other items."""
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
        return JudgedRequests(self.task, self.split, requests, qrels)


def training_examples(dataset: PreparedDataset, task: Task) -> list[Example]:
    """The training examples of one task; none where the dataset lacks it."""
    return _queries(dataset) if task == "search" else _histories(dataset)


def training_source(dataset: PreparedDataset, task: Task, item_text: int = 0) -> Source:
    """The training examples of one task.

    Args:
        dataset: what to learn from.
        task: its name is the source's.
        item_text: search examples made from the text of each item, besides its title; 0 for none.

    Raises:
        InputError: there is none.
    """
    made = training_examples(dataset, task)
    if not made:
        need = {
            "search": "a training query with a right answer (queries and qrels)",
            "recommendation": "a user with two or more training events (interactions)",
        }
        raise InputError(
            f"{dataset.source}: no usable training example for {task}; it needs {need[task]}"
        )
    if task == "search" and item_text:
        made += item_text_examples(dataset.catalog, item_text)
    return Source(task, made)


def item_text_examples(catalog: Catalog, snippets: int) -> list[Example]:
    """Item text as extra search examples, so that an item that no query reached is found as well:
    each of `item_text_queries` asks for its item."""
    nothing, none_visible = np.zeros(0, dtype=np.int64), np.zeros(1, np.int64)
    return [
        Example(nothing, query, np.array([item], dtype=np.int64), none_visible)
        for item, asked in enumerate(item_text_queries(catalog, snippets))
        for query in asked
    ]


def item_text_queries(catalog: Catalog, snippets: int) -> list[list[str]]:
    """What each item could be asked for by: its title, and `snippets` times one to four words of
    its text.

    They are drawn once and for all: the same in every arm and seed. Rare words are drawn more
    often, since that is what people search by.
    """
    words = [sorted(set(_WORD.findall(text.lower()))) for text in catalog.texts]
    holders = Counter(word for own in words for word in own)
    made = []
    for item, (title, own) in enumerate(zip(catalog.items["title"], words, strict=True)):
        rng = np.random.default_rng([_ITEM_TEXT, item])
        asked = [title] if title else []
        rarity = np.log(len(words) / np.array([holders[word] for word in own]) + 1.0)
        for _ in range(snippets if own else 0):
            size = min(len(own), int(rng.integers(1, 5)))
            asked.append(" ".join(rng.choice(own, size, replace=False, p=rarity / rarity.sum())))
        made.append(asked)
    return made


def item_documents(dataset: PreparedDataset) -> list[str]:
    """What is written of each item: its text, then the training queries that want it."""
    parts = [[text] for text in dataset.catalog.texts]
    for example in training_examples(dataset, "search"):
        for target in example.targets:
            parts[target].append(example.query or "")
    return [" ".join(part) for part in parts]


def judged_requests(dataset: PreparedDataset, task: Task, split: Split) -> JudgedRequests:
    """What validation or test asks of one task."""
    if task == "search":
        return _judged_queries(dataset, split)
    return _judged_users(dataset, split)


def _histories(dataset: PreparedDataset) -> list[Example]:
    """One example a user: every event but the first is a target, given those before it."""
    return [
        Example(items[:-1], None, items[1:], np.arange(1, len(items), dtype=np.int64))
        for items in dataset.training_histories.values()
        if len(items) > 1
    ]


def _judged_users(dataset: PreparedDataset, split: Split) -> JudgedRequests:
    item_ids = np.asarray(dataset.catalog.item_ids, dtype=object)
    held_out = _held_out(dataset)
    requests, qrels = [], {}
    for user_id, history in dataset.training_histories.items():
        event = held_out.get(user_id, {})
        if split not in event:
            continue
        before = item_ids[history].tolist()
        if split == "test" and "validation" in event:
            before.append(event["validation"])
        exclude = frozenset(before) if dataset.protocol.seen == "exclude" else frozenset()
        requests.append(Request(user_id, history=tuple(before), exclude=exclude, user_id=user_id))
        qrels[user_id] = {event[split]: 1}
    return JudgedRequests("recommendation", split, requests, qrels)


def _held_out(dataset: PreparedDataset) -> dict[str, dict[str, str]]:
    rows = dataset.interactions.filter(pl.col("split").is_in(["validation", "test"]))
    found: dict[str, dict[str, str]] = {}
    for user_id, item_id, split in rows.select("user_id", "item_id", "split").iter_rows():
        found.setdefault(user_id, {})[split] = item_id
    return found


class _Query(NamedTuple):
    query_id: str
    text: str
    user_id: str | None
    time: float | None


def _queries(dataset: PreparedDataset) -> list[Example]:
    """One example a query: all its right answers, given its text and its user's history.

    A query that its user typed at or after his first held-out event is left out, and so are
    his held-out items as answers: a click on a result is often logged as an interaction too.
    """
    timeline = _Timeline(dataset)
    positions = dataset.catalog.positions
    answers = _answers(dataset)
    made = []
    for query in _rows(dataset, "train"):
        if timeline.is_held_out(query):
            continue
        held_out = timeline.held_out_items(query.user_id)
        found = (positions[item_id] for item_id in answers[query.query_id])
        targets = np.array([t for t in found if t not in held_out], dtype=np.int64)
        if len(targets):
            history = timeline.history(query)
            visible = np.full(len(targets), len(history), dtype=np.int64)
            made.append(Example(history, query.text, targets, visible))
    return made


def _judged_queries(dataset: PreparedDataset, split: Split) -> JudgedRequests:
    timeline = _Timeline(dataset)
    item_ids = np.asarray(dataset.catalog.item_ids, dtype=object)
    answers = _answers(dataset)
    requests, qrels = [], {}
    for query in _rows(dataset, split):
        # What model selection sees must not hold the user's test event.
        seen = timeline.cut_before_test(query) if split == "validation" else query
        history = tuple(item_ids[timeline.history(seen)].tolist())
        requests.append(
            Request(query.query_id, query=query.text, history=history, user_id=query.user_id)
        )
        qrels[query.query_id] = answers[query.query_id]
    return JudgedRequests("search", split, requests, qrels)


def _rows(dataset: PreparedDataset, split: Split) -> list[_Query]:
    rows = dataset.queries.filter(pl.col("split") == split)
    columns = rows.select("query_id", "text", "user_id", "timestamp")
    return [_Query(*row) for row in columns.iter_rows()]


def _answers(dataset: PreparedDataset) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for query_id, item_id, relevance in dataset.qrels.iter_rows():
        found.setdefault(query_id, {})[item_id] = relevance
    return found


class _Timeline:
    """What each user did when: the history of a query, and where held-out events begin."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._events: dict[str, tuple[Ints, Floats]] = {}
        self._first_held_out: dict[str, float] = {}
        self._test: dict[str, float] = {}
        self._held_out_items: dict[str, set[int]] = {}
        if dataset.queries["user_id"].is_null().all():
            return
        asked = dataset.interactions.join(
            dataset.queries.select("user_id").drop_nulls(), on="user_id", how="semi"
        )
        times = asked.group_by("user_id", maintain_order=True).agg("timestamp", "split")
        for user_id, when, splits in times.iter_rows():
            time = np.asarray(when, dtype=np.float64)
            side = np.asarray(splits, dtype=object)
            self._events[user_id] = dataset.histories[user_id], time
            later = side != "train"
            if later.any():
                self._first_held_out[user_id] = float(time[later][0])
                self._held_out_items[user_id] = set(dataset.histories[user_id][later].tolist())
            if (side == "test").any():
                self._test[user_id] = float(time[side == "test"][0])

    def history(self, query: _Query) -> Ints:
        """Events strictly before the query; none where it has no user or no time."""
        if query.user_id not in self._events or query.time is None:
            return np.zeros(0, dtype=np.int64)
        items, times = self._events[query.user_id]
        return items[times < query.time]

    def is_held_out(self, query: _Query) -> bool:
        """Whether a query stands at or after its user's first held-out event."""
        if query.user_id is None or query.time is None:
            return False
        # Without times on the events (NaN) nothing shows that the query came first.
        return not query.time < self._first_held_out.get(query.user_id, np.inf)

    def held_out_items(self, user_id: str | None) -> set[int]:
        """Items of the user's held-out events."""
        return self._held_out_items.get(user_id, set()) if user_id else set()

    def cut_before_test(self, query: _Query) -> _Query:
        """The query as if typed no later than its user's test event."""
        if query.user_id not in self._test or query.time is None:
            return query
        return query._replace(time=min(query.time, self._test[query.user_id]))
