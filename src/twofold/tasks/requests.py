"""The requests of validation and test, with their relevant items.

Callers read requests from `PreparedDataset.task`, which creates them once. The requests of a split
are stored as arrays; a `Request` object is created when it is read.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import overload

import numpy as np
import polars as pl

from twofold.records import SPLITS, Floats, Ints, Qrels, Request, Split, Task, slice_indices
from twofold.tasks.arrays import TEST, VALIDATION, Columns


@dataclass(frozen=True, slots=True)
class JudgedRequests:
    """The requests of one task and split, with their relevant items."""

    task: Task
    split: Split
    requests: Sequence[Request]
    qrels: Qrels

    def sample(self, size: int) -> "JudgedRequests":
        """At most `size` of the requests, always the same; the catalog stays full."""
        if len(self.requests) <= size:
            return self
        rows = np.random.default_rng(0).choice(len(self.requests), size, replace=False)
        if isinstance(self.requests, LazyRequests):
            taken = self.requests.some(np.sort(rows))
            return dataclasses.replace(self, requests=list(taken), qrels=taken.qrels)
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
            request_id: {to[item_id]: relevance for item_id, relevance in relevant.items()}
            for request_id, relevant in self.qrels.items()
        }
        return dataclasses.replace(self, requests=requests, qrels=qrels)


@dataclass(frozen=True, eq=False, kw_only=True)
class RequestColumns:
    """The requests of one task and split, and their relevant items, as arrays.

    Attributes:
        names: a table with the ids of requests and of their users.
        rows: the row of each request in `names`, ascending, (R,).
        item_ids: the item ids of the catalog.
        items: catalog positions, (E,); a history is a slice of them.
        begins, ends: the slice of each request's history, (R,).
        extra_item: the position of one more item of the history, or -1, (R,).
        excluding: whether the items of the history are excluded.
        texts: the texts of the queries; None if requests have no query.
        text_of: the index of each request's text, (R,).
        times, last_event_times: as in `Request`, NaN if not known, (R,); None if requests have no
            time.
        targets: catalog positions of relevant items, (A,).
        target_starts, target_ends: the slice of each request's relevant items, (R,).
        grades: the relevance grades of the relevant items, (A,); None if all are 1.
    """

    names: pl.LazyFrame
    rows: Ints
    item_ids: Sequence[str]
    items: Ints
    begins: Ints
    ends: Ints
    extra_item: Ints
    excluding: bool
    targets: Ints
    target_starts: Ints
    target_ends: Ints
    grades: Ints | None = None
    texts: Sequence[str] | None = None
    text_of: Ints | None = None
    times: Floats | None = None
    last_event_times: Floats | None = None

    @cached_property
    def ids(self) -> list[tuple[str, str | None]]:
        """The id of each request, and the id of its user."""
        wanted = pl.Series(self.rows).cast(pl.UInt32).implode()
        chosen = self.names.with_row_index("row").filter(pl.col("row").is_in(wanted))
        return chosen.drop("row").collect(engine="streaming").rows()

    def request(self, row: int) -> Request:
        """One of the requests."""
        positions = self.items[int(self.begins[row]) : int(self.ends[row])].tolist()
        positions += [int(self.extra_item[row])] if self.extra_item[row] >= 0 else []
        history = tuple(map(self.item_ids.__getitem__, positions))
        return Request(
            self.ids[row][0],
            query=None
            if self.texts is None or self.text_of is None
            else self.texts[int(self.text_of[row])],
            history=history,
            exclude=frozenset(history) if self.excluding else frozenset(),
            user_id=self.ids[row][1],
            time=_time(self.times, row),
            last_event_time=_time(self.last_event_times, row),
        )

    def relevance_of(self, row: int) -> dict[str, int]:
        """The relevance grades of a request's relevant items, by item id."""
        of_row = slice(int(self.target_starts[row]), int(self.target_ends[row]))
        items = [self.item_ids[position] for position in self.targets[of_row].tolist()]
        grades = [1] * len(items) if self.grades is None else self.grades[of_row].tolist()
        return dict(zip(items, grades, strict=True))


def _time(times: Floats | None, row: int) -> float | None:
    return None if times is None or np.isnan(times[row]) else float(times[row])


class LazyRequests(Sequence[Request]):
    """Requests that are created when they are read; the arrays are created with the first one.

    Args:
        rows: the rows of the requests in a table, ascending, (R,).
        make: creates the arrays of some rows.
    """

    def __init__(self, rows: Ints, make: Callable[[Ints], RequestColumns]) -> None:
        self._rows, self._make = rows, make

    @cached_property
    def columns(self) -> RequestColumns:
        """The requests as arrays."""
        return self._make(self._rows)

    @cached_property
    def qrels(self) -> Qrels:
        """The relevant items of the requests."""
        return _Qrels(self)

    def some(self, chosen: Ints) -> "LazyRequests":
        """Some of the requests; `chosen` has ascending indices."""
        return LazyRequests(self._rows[chosen], self._make)

    def relevant_counts(self, size: int) -> Ints:
        """The number of requests for which each of `size` items is relevant, (size,)."""
        columns = self.columns
        indices = slice_indices(columns.target_starts, columns.target_ends - columns.target_starts)
        return np.bincount(columns.targets[indices], minlength=size)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Request: ...
    @overload
    def __getitem__(self, row: slice) -> list[Request]: ...
    def __getitem__(self, row: int | slice) -> Request | list[Request]:
        rows = range(len(self))[row]
        if isinstance(rows, range):
            return [self.columns.request(each) for each in rows]
        return self.columns.request(rows)


class _Qrels(Mapping[str, Mapping[str, int]]):
    """The relevant items of requests, which are created when they are read."""

    def __init__(self, requests: LazyRequests) -> None:
        self._requests = requests
        self._rows: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[str]:
        return (request_id for request_id, _ in self._requests.columns.ids)

    def __getitem__(self, request_id: str) -> dict[str, int]:
        columns = self._requests.columns
        if self._rows is None:
            self._rows = {known: row for row, (known, _) in enumerate(columns.ids)}
        return columns.relevance_of(self._rows[request_id])


def recommendation_requests(
    split: Split, columns: Columns, item_ids: Sequence[str], exclude_seen: bool, timed: bool
) -> LazyRequests:
    """A request for each user with a training event and an event of the split.

    Args:
        split: the split of the relevant item, which is the user's event.
        columns: the tables as arrays.
        item_ids: the item ids of the catalog.
        exclude_seen: whether the items of the history are excluded.
        timed: whether requests have the time of the relevant item's event.
    """
    number = SPLITS.index(split)
    held_out = columns.events.last_of_split(number)[columns.trained_users]
    make = partial(_of_users, number, columns, item_ids, exclude_seen, timed)
    return LazyRequests(np.flatnonzero(held_out >= 0), make)


def _of_users(
    split: int,
    columns: Columns,
    item_ids: Sequence[str],
    exclude_seen: bool,
    timed: bool,
    rows: Ints,
) -> RequestColumns:
    """Some of the requests of `recommendation_requests` as arrays."""
    events, trained = columns.events, columns.trained
    users = columns.trained_users[rows]
    indices, extra_item = events.last_of_split(split)[users], np.full(len(rows), -1)
    last = columns.trained_times[trained.ends[rows] - 1] if timed else None
    if split == TEST:
        validation = events.last_of_split(VALIDATION)[users]
        extra_item = np.where(validation >= 0, events.items[validation], -1)
        if last is not None:
            last = np.where(validation >= 0, events.times[validation], last)
    return RequestColumns(
        names=pl.LazyFrame({"request_id": trained.users, "user_id": trained.users}),
        rows=rows,
        item_ids=item_ids,
        items=trained.positions,
        begins=trained.begins[rows],
        ends=trained.ends[rows],
        extra_item=extra_item,
        excluding=exclude_seen,
        targets=events.items,
        target_starts=indices,
        target_ends=indices + 1,
        times=events.times[indices] if timed else None,
        last_event_times=last,
    )


def search_requests(
    split: Split, columns: Columns, item_ids: Sequence[str], names: pl.LazyFrame
) -> LazyRequests:
    """A request for each query of the split, with its user's events strictly before it.

    Args:
        split: the split of the queries.
        columns: the tables as arrays.
        item_ids: the item ids of the catalog.
        names: a table with the ids of all queries and of their users.
    """
    number = SPLITS.index(split)
    make = partial(_of_queries, number, columns, item_ids, names)
    return LazyRequests(np.flatnonzero(columns.queries.splits == number), make)


def _of_queries(
    split: int, columns: Columns, item_ids: Sequence[str], names: pl.LazyFrame, rows: Ints
) -> RequestColumns:
    """Some of the requests of `search_requests` as arrays."""
    events, queries = columns.events, columns.queries
    users, times = queries.users[rows], queries.times[rows]
    if split == VALIDATION:
        # A validation request must not contain the user's test event.
        test = np.append(events.last_of_split(TEST), -1)[users]
        until = np.full(len(rows), np.inf)
        until[test >= 0] = events.times[test[test >= 0]]
        times = np.where(np.isnan(times), np.nan, np.fmin(times, until))
    begins = events.starts[users] * (users >= 0)
    return RequestColumns(
        names=names,
        rows=rows,
        item_ids=item_ids,
        items=events.items,
        begins=begins,
        ends=begins + events.before(users, times),
        extra_item=np.full(len(rows), -1),
        excluding=False,
        targets=queries.items,
        target_starts=queries.starts[rows],
        target_ends=queries.starts[rows + 1],
        grades=queries.relevances,
        texts=queries.texts,
        text_of=queries.text_of[rows],
    )
