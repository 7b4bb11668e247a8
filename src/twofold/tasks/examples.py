"""Training examples, and the requests that validation and test ask, with their qrels.

Invariant: no training example of any task holds a user's validation or test event, or anything
later of that user.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from twofold.records import Example, Floats, InputError, Ints, Qrels, Request, Source, Split, Task
from twofold.tasks.prepare import PreparedDataset


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


def training_source(dataset: PreparedDataset, task: Task) -> Source:
    """The training examples of one task.

    Raises:
        InputError: there is none.
    """
    made = _queries(dataset) if task == "search" else _histories(dataset)
    if not made:
        need = {
            "search": "a training query with a right answer (queries and qrels)",
            "recommendation": "a user with two or more training events (interactions)",
        }
        raise InputError(
            f"{dataset.source}: no usable training example for {task}; it needs {need[task]}"
        )
    return Source(task, made)


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
        requests.append(
            Request(user_id, history=tuple(before), exclude=exclude, user_id=user_id)
        )
        qrels[user_id] = {event[split]: 1}
    return JudgedRequests("recommendation", split, requests, qrels)


def _held_out(dataset: PreparedDataset) -> dict[str, dict[str, str]]:
    rows = dataset.interactions.filter(pl.col("split").is_in(["validation", "test"]))
    found: dict[str, dict[str, str]] = {}
    for user_id, item_id, split in rows.select("user_id", "item_id", "split").iter_rows():
        found.setdefault(user_id, {})[split] = item_id
    return found


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
        user_id, time = query["user_id"], query["timestamp"]
        if timeline.is_held_out(user_id, time):
            continue
        history = timeline.history(user_id, time)
        targets = [positions[i] for i in answers[query["query_id"]]]
        targets = [t for t in targets if t not in timeline.held_out_items(user_id)]
        if targets:
            visible = np.full(len(targets), len(history), dtype=np.int64)
            made.append(
                Example(history, query["text"], np.asarray(targets, dtype=np.int64), visible)
            )
    return made


def _judged_queries(dataset: PreparedDataset, split: Split) -> JudgedRequests:
    timeline = _Timeline(dataset)
    item_ids = np.asarray(dataset.catalog.item_ids, dtype=object)
    answers = _answers(dataset)
    requests, qrels = [], {}
    for query in _rows(dataset, split):
        query_id, user_id, time = query["query_id"], query["user_id"], query["timestamp"]
        if split == "validation":
            # What model selection sees must not hold the user's test event.
            time = timeline.before_test(user_id, time)
        history = item_ids[timeline.history(user_id, time)].tolist()
        requests.append(
            Request(query_id, query=query["text"], history=tuple(history), user_id=user_id)
        )
        qrels[query_id] = answers[query_id]
    return JudgedRequests("search", split, requests, qrels)


def _rows(dataset: PreparedDataset, split: Split) -> list[Mapping[str, object]]:
    return dataset.queries.filter(pl.col("split") == split).to_dicts()


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

    def history(self, user_id: object, time: object) -> Ints:
        """Events strictly before `time`; none where the query has no user or no time."""
        if not isinstance(user_id, str) or not isinstance(time, float):
            return np.zeros(0, dtype=np.int64)
        if user_id not in self._events:
            return np.zeros(0, dtype=np.int64)
        items, times = self._events[user_id]
        return items[times < time]

    def is_held_out(self, user_id: object, time: object) -> bool:
        """Whether a query stands at or after its user's first held-out event."""
        if not isinstance(user_id, str) or not isinstance(time, float):
            return False
        # Without times on the events nothing shows that the query came first.
        return not time < self._first_held_out.get(user_id, np.inf)

    def held_out_items(self, user_id: object) -> set[int]:
        return self._held_out_items.get(user_id, set()) if isinstance(user_id, str) else set()

    def before_test(self, user_id: object, time: object) -> object:
        """`time`, but no later than the user's test event."""
        if isinstance(user_id, str) and isinstance(time, float) and user_id in self._test:
            return min(time, self._test[user_id])
        return time
