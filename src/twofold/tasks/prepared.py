"""A dataset whose interactions and queries have a split; the input of every later stage.

Invariant: the data of a task are created on first use, cached, and shared by all callers, which
must not change them; arrays of counts are read-only.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from twofold.data.dataset import LEFT_OUT, Catalog, Note
from twofold.data.words import query_key
from twofold.records import TASKS, InputError, Ints, Seen, Split, Task
from twofold.tasks.arrays import Columns, Events, Histories, JudgedQueries
from twofold.tasks.requests import (
    JudgedRequests,
    LazyRequests,
    recommendation_requests,
    search_requests,
)
from twofold.tasks.training_data import (
    build_examples,
    columns_of,
    item_text_examples,
    queries_by_item,
)
from twofold.training_examples import Examples, Source

T = TypeVar("T")
TableName = Literal["queries", "qrels"]

_ROWS = 1_000_000
"""The number of rows of a table that are hashed together."""

_NEED: dict[Task, str] = {
    "search": "a training query with a relevant item (queries and qrels)",
    "recommendation": "a user with two or more training events (interactions)",
}
"""The data that a task needs for a training example."""


@dataclass(frozen=True, slots=True)
class SplitProtocol:
    """How a dataset is split and evaluated; part of every stamp.

    Attributes:
        split: `last` (each user's last event is held out) or `temporal` (the first one from
            `cutoff` on).
        cutoff: seconds since 1970, or a position if the timestamps are positions.
        seen: whether items of the history are excluded in recommendation: `exclude` or `keep`.
    """

    split: Literal["last", "temporal"] = "last"
    cutoff: float | None = None
    seen: Seen = "exclude"


def require_dataset(value: object) -> None:
    """Raise InputError if `value` is not a dataset but, for example, its folder."""
    if not isinstance(value, PreparedDataset):
        raise InputError(
            f"{type(value).__name__} is no dataset; give what twofold.load_dataset(FOLDER) returns"
        )


def in_parts(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of a table in pieces, at least one."""
    for start in range(0, max(1, height(table)), _ROWS):
        yield table.slice(start, _ROWS).collect()


def height(table: pl.LazyFrame) -> int:
    """The number of rows of a table, without reading the table."""
    rows: int = table.select(pl.len()).collect().item()
    return rows


def write_parts(parts: Iterator[pl.DataFrame], path: Path) -> None:
    """Write a table in pieces, at least one, to one Parquet file."""
    first, second = next(parts), next(parts, None)
    if second is None:
        first.write_parquet(path)
        return

    def pieces(*_asked_for: object) -> Iterator[pl.DataFrame]:
        yield from chain((first, second), parts)

    register_io_source(pieces, schema=first.schema).sink_parquet(path)


class Tables(Protocol):
    """The tables of a dataset, in memory or in a prepared folder."""

    @property
    def interactions(self) -> pl.DataFrame:
        """user_id, item_id, timestamp, split; in time order within each user."""
        ...

    @property
    def queries(self) -> pl.DataFrame:
        """query_id, text, split, kind, user_id, timestamp, key (the normalised text)."""
        ...

    @property
    def qrels(self) -> pl.DataFrame:
        """query_id, item_id, relevance."""
        ...

    def interaction_parts(self) -> Iterator[pl.DataFrame]:
        """The table interactions in pieces, at least one."""
        ...

    def scan(self, name: TableName) -> pl.LazyFrame:
        """The table queries or qrels, lazily: only the selected rows and columns are read."""
        ...

    @property
    def columns(self) -> Columns | None:
        """The tables as arrays; None if they are not computed yet."""
        ...

    def digest(self, protocol: SplitProtocol) -> str | None:
        """The digest of the dataset with a protocol; None if it is not computed yet."""
        ...


@dataclass(frozen=True)
class TablesInMemory:
    """Tables as frames; see `Tables`."""

    interactions: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    columns: None = None

    def interaction_parts(self) -> Iterator[pl.DataFrame]:
        """See `Tables`."""
        return in_parts(self.interactions.lazy())

    def scan(self, name: TableName) -> pl.LazyFrame:
        """See `Tables`."""
        return (self.queries if name == "queries" else self.qrels).lazy()

    def digest(self, _protocol: SplitProtocol) -> None:
        """See `Tables`."""


@dataclass(frozen=True, repr=False)
class PreparedDataset:
    """A dataset whose interactions and queries have a split.

    Attributes:
        catalog: the items.
        tables: the interactions, queries and qrels.
        protocol: how it was split and is evaluated.
        source: the source that it was read from, as the user gave it.
        notes: rows that were left out, and other differences from the files.
        left_out: the rows with an unknown id, if they were left out; on disk they are a separate
            list.
    """

    catalog: Catalog
    tables: Tables
    protocol: SplitProtocol
    source: str
    notes: tuple[Note, ...] = ()
    left_out: pl.DataFrame = field(default_factory=LEFT_OUT.to_frame, compare=False)

    def __repr__(self) -> str:
        """A line for a notebook or a log; the tables may be large."""
        return (
            f"PreparedDataset(source={self.source!r}, items={len(self.catalog)}, "
            f"tasks={self.tasks}, split={self.protocol.split!r})"
        )

    @property
    def interactions(self) -> pl.DataFrame:
        """The table interactions; see `Tables`."""
        return self.tables.interactions

    @property
    def queries(self) -> pl.DataFrame:
        """The table queries; see `Tables`."""
        return self.tables.queries

    @property
    def qrels(self) -> pl.DataFrame:
        """The table qrels; see `Tables`."""
        return self.tables.qrels

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks for which there are data."""
        columns = self.columns
        sizes = {"search": len(columns.queries.splits), "recommendation": len(columns.events.items)}
        return tuple(task for task in TASKS if sizes[task])

    def task(self, task: Task) -> "TaskData":
        """The training data and requests of one task, created once."""
        return self._task_data[task]

    @cached_property
    def _task_data(self) -> dict[Task, "TaskData"]:
        return {task: TaskData(self, task) for task in TASKS}

    def cached(self, key: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
        """The result of `compute`, which is called once for each key; the result is shared.

        Args:
            key: everything that the result depends on, in addition to this dataset.
            compute: computes the result.
        """
        if key not in self._cache:
            self._cache[key] = compute()
        value: T = self._cache[key]
        return value

    def clear_cached(self, *names: str) -> None:
        """Remove the results of `cached` whose key begins with one of these names."""
        for key in [key for key in self._cache if key[0] in names]:
            del self._cache[key]

    @cached_property
    def _cache(self) -> dict[tuple[Hashable, ...], Any]:
        return {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every row of the four tables and of the protocol, in hex."""
        if known := self.tables.digest(self.protocol):
            return known
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.protocol)).encode())
        items = in_parts(self.catalog.items.lazy())
        queries, qrels = in_parts(self.tables.scan("queries")), in_parts(self.tables.scan("qrels"))
        for parts in (items, self.tables.interaction_parts(), queries, qrels):
            for number, rows in enumerate(parts):
                digest.update(rows.write_csv(include_header=number == 0).encode())
        return digest.hexdigest()

    @cached_property
    def columns(self) -> Columns:
        """The tables as arrays, with the training data."""
        if self.tables.columns is not None:
            return self.tables.columns
        events = Events.of(self.interactions, self.catalog)
        queries = JudgedQueries.of(self.queries, self.qrels, self.catalog, events.users)
        return columns_of(events, queries)

    def with_tables(self, **changed: pl.DataFrame) -> "PreparedDataset":
        """The same dataset with other interactions, queries or qrels."""
        tables = {name: getattr(self, name) for name in ("interactions", "queries", "qrels")}
        return dataclasses.replace(self, tables=TablesInMemory(**(tables | changed)))

    @property
    def histories(self) -> Histories:
        """Every user's events in time order, as catalog positions."""
        return self.columns.events.histories

    @property
    def training_histories(self) -> Histories:
        """Every user's training events in time order, as catalog positions."""
        return self.columns.trained


class TaskData:
    """The data of one task of a dataset; see `PreparedDataset.task`.

    Args:
        dataset: the dataset that the task belongs to.
        task: search or recommendation; a task that the dataset lacks has no example and no request.
    """

    def __init__(self, dataset: PreparedDataset, task: Task) -> None:
        self.task = task
        self._dataset = dataset
        self._requests: dict[tuple[Split, bool], LazyRequests] = {}

    @cached_property
    def examples(self) -> Examples:
        """The training examples."""
        return build_examples(self._dataset.columns, self.task)

    def require_examples(self) -> None:
        """Raise InputError if the task has no training example."""
        if not self.examples:
            raise InputError(
                f"{self._dataset.source}: no usable training example for {self.task}; it needs "
                f"{_NEED[self.task]}"
            )

    def source(self, item_text_queries: int = 0, timed: bool = False) -> Source:
        """The training examples as a source named after the task.

        Args:
            item_text_queries: in search, the number of examples added for each item from its text,
                in addition to one from its title; 0 adds none.
            timed: in recommendation, whether each target has the time since the event before it.

        Raises:
            InputError: there is no training example.
        """
        self.require_examples()
        if self.task == "recommendation" and timed:
            since = np.diff(self._dataset.columns.trained_times, prepend=np.nan)
            return Source(self.task, dataclasses.replace(self.examples, since=since))
        if self.task == "recommendation" or not item_text_queries:
            return Source(self.task, self.examples)
        of_texts = item_text_examples(self._dataset.catalog, item_text_queries)
        return Source(self.task, self.examples.concat(Examples.of(of_texts)))

    def requests(self, split: Split, timed: bool = False) -> JudgedRequests:
        """The requests of a split with their relevant items.

        Args:
            split: the split.
            timed: whether requests for recommendations have the time of the relevant item's event.
        """
        requests = self._lazy_requests(split, timed)
        return JudgedRequests(self.task, split, requests, requests.qrels)

    def _lazy_requests(self, split: Split, timed: bool = False) -> LazyRequests:
        """The requests of a split, prepared once."""
        if (split, timed) not in self._requests:
            dataset = self._dataset
            columns, item_ids = dataset.columns, dataset.catalog.item_ids
            if self.task == "search":
                names = dataset.tables.scan("queries").select("query_id", "user_id")
                made = search_requests(split, columns, item_ids, names)
            else:
                exclude_seen = dataset.protocol.seen == "exclude"
                made = recommendation_requests(split, columns, item_ids, exclude_seen, timed)
            self._requests[split, timed] = made
        return self._requests[split, timed]

    @cached_property
    def popularity(self) -> Ints:
        """How often each item occurs in the training data, (N,).

        Every training event counts in recommendation, every (query, relevant item) in search.
        """
        dataset, size = self._dataset, len(self._dataset.catalog)
        if self.task == "recommendation":
            counts = dataset.columns.events.training_counts(size)
        else:
            counts = self.examples.target_counts(size)
        counts.flags.writeable = False
        return counts

    @cached_property
    def test_popularity(self) -> Ints:
        """How often each item is a target of the test requests, (N,)."""
        counts = self._lazy_requests("test").relevant_counts(len(self._dataset.catalog))
        counts.flags.writeable = False
        return counts

    @cached_property
    def items_by_query(self) -> Mapping[str, Ints]:
        """The relevant items of each training query, by its normalised text: positions, (A,)."""
        targets: dict[str, list[Ints]] = {}
        for example in self.examples:
            targets.setdefault(query_key(example.query or ""), []).append(example.targets)
        return {query: np.unique(np.concatenate(items)) for query, items in targets.items()}

    @cached_property
    def queries_by_item(self) -> Sequence[Sequence[str]]:
        """The training queries for which each item is relevant, in order, with equal texts."""
        return queries_by_item(self.examples, len(self._dataset.catalog))
