"""How training examples, and the requests of validation and test, are made from the tables.

Invariant: no training example of any task holds a user's validation or test event, or anything
later of that user. Callers read both from `PreparedDataset.task`, which makes them once.

Tables become arrays first, which may be mapped from files: `Events` and `JudgedQueries`. Nothing
here makes a Python object for each user, event or query; an example or a request is made when it is
read.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.dataset import Catalog
from twofold.data.words import words
from twofold.records import (
    SPLITS,
    Example,
    Examples,
    Floats,
    Ints,
    Qrels,
    Request,
    Split,
    Task,
    runs,
)

if TYPE_CHECKING:
    from twofold.tasks.prepared import PreparedDataset

_DRAW_SEED = 20241
"""The random seed of the queries that are drawn from item texts."""

_ROWS = 1 << 22
"""The events that are counted together."""

_EVENTS, _QUERIES = 1 << 20, 1 << 20
"""The events in order, and the queries, that are looked at together."""

_NO_PAIR = np.iinfo(np.int64).max
"""What is no user with an item."""

_TRAIN, _VALIDATION, _TEST = range(3)
"""The numbers of the splits; -1 is none."""

SplitNumbers = npt.NDArray[np.int8]


class Histories(Mapping[str, Ints]):
    """A history of each user, as catalog positions, (H,).

    Args:
        users: who has one, in order.
        positions: the items of all histories, (E,).
        begins, ends: the run of each user's, (users,).
    """

    def __init__(self, users: pl.Series, positions: Ints, begins: Ints, ends: Ints) -> None:
        self.users, self.positions, self.begins, self.ends = users, positions, begins, ends
        self._rows: dict[str, int] | None = None

    @staticmethod
    def of(histories: Mapping[str, Ints]) -> "Histories":
        """The same histories as arrays."""
        if isinstance(histories, Histories):
            return histories
        listed = [np.zeros(0, dtype=np.int64), *histories.values()]
        ends = np.cumsum([len(items) for items in listed])
        users = pl.Series(list(histories), dtype=pl.String)
        return Histories(users, np.concatenate(listed), ends[:-1], ends[1:])

    def frames(self, item_ids: pl.Series) -> Iterator[pl.DataFrame]:
        """The columns user_id and history, a list of item ids, of some users at a time."""
        ends = np.cumsum(self.ends - self.begins)
        events = int(ends[-1]) if len(ends) else 0
        parts = np.searchsorted(ends, np.arange(_ROWS, events, _ROWS), side="right")
        for low, high in pairwise(np.unique([0, *parts, len(self)]).tolist()):
            counts = self.ends[low:high] - self.begins[low:high]
            places = self.positions[runs(self.begins[low:high], counts)]
            items = item_ids.gather(places)
            flat = pl.DataFrame({"row": np.repeat(np.arange(low, high), counts), "history": items})
            lists = flat.group_by("row", maintain_order=True).agg("history")
            users = pl.DataFrame({"user_id": self.users[low:high]}).with_columns(
                row=pl.int_range(low, high, eager=True)
            )
            joined = users.join(lists, on="row", how="left", maintain_order="left")
            yield joined.select("user_id", pl.col("history").fill_null([]))

    def __len__(self) -> int:
        return len(self.begins)

    def __iter__(self) -> Iterator[str]:
        return iter(self.users)

    def __contains__(self, user: object) -> bool:
        return user in self._row_of

    def __getitem__(self, user: str) -> Ints:
        return self.at(self._row_of[user])

    def values(self) -> Any:
        """The histories in the order of the users."""
        return [self.at(row) for row in range(len(self))]

    def at(self, row: int) -> Ints:
        """The history of the user of a row."""
        own = self.positions[int(self.begins[row]) : int(self.ends[row])]
        return np.asarray(own, dtype=np.int64)

    @property
    def _row_of(self) -> dict[str, int]:
        if self._rows is None:
            self._rows = {user: row for row, user in enumerate(self.users)}
        return self._rows


class Texts(Sequence[str]):
    """Texts one after another, in UTF-8, which may be mapped from a file.

    Args:
        letters: the bytes of all texts.
        ends: the end of each text, (n,).
    """

    def __init__(self, letters: npt.NDArray[np.uint8], ends: Ints) -> None:
        self.letters, self.ends = letters, ends
        # A view of memory gives a number or a text several times as fast as an array does.
        self._letters, self._ends = memoryview(letters), memoryview(ends)  # type: ignore[arg-type]

    @staticmethod
    def of(texts: Sequence[str]) -> "Texts":
        """The same texts as bytes."""
        if isinstance(texts, Texts):
            return texts
        parts, ends = [], [np.zeros(0, dtype=np.int64)]
        for start in range(0, len(texts), _ROWS):
            written = [text.encode() for text in texts[start : start + _ROWS]]
            parts.append(b"".join(written))
            ends.append(np.array([len(text) for text in written]))
        letters = np.frombuffer(b"".join(parts), dtype=np.uint8)
        return Texts(letters, np.cumsum(np.concatenate(ends)))

    def __reduce__(self) -> tuple[type["Texts"], tuple[Any, Any]]:
        return Texts, (self.letters, self.ends)  # a view of memory cannot be copied or sent

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[each] for each in range(len(self))[row]]
        row = row if row >= 0 else row + len(self.ends)
        if not 0 <= row < len(self.ends):
            raise IndexError(row)
        begin = self._ends[row - 1] if row > 0 else 0
        return str(self._letters[begin : self._ends[row]], "utf-8")


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """The interactions as arrays, a run of events for each user, in the order of time.

    Attributes:
        users: user ids, in the order of their first event, (U,).
        starts: the first event of each user, and the end of the last, (U + 1,).
        items: catalog positions, (E,).
        times: timestamps, NaN where there is none, (E,).
        splits: the number of each event's split, (E,).
    """

    users: pl.Series
    starts: Ints
    items: Ints
    times: Floats
    splits: SplitNumbers

    @staticmethod
    def of(interactions: pl.DataFrame, catalog: Catalog) -> "Events":
        """The events of a table in time order within each user."""
        users = interactions["user_id"].unique(maintain_order=True)
        user_of = numbers_of(interactions["user_id"], users)
        counts = np.bincount(user_of, minlength=len(users))
        order = np.argsort(user_of, kind="stable") if (np.diff(user_of) < 0).any() else slice(None)
        return Events(
            users=users,
            starts=np.concatenate([[0], np.cumsum(counts)]),
            items=numbers_of(interactions["item_id"], catalog.items["item_id"])[order],
            times=times_of(interactions["timestamp"])[order],
            splits=split_numbers(interactions["split"])[order],
        )

    def frames(self) -> Iterator[pl.DataFrame]:
        """The events of some users at a time, with the columns of the table; ids are numbers."""
        names = pl.Series([*SPLITS, None], dtype=pl.String)
        for low, high in self._user_parts():
            first, last = int(self.starts[low]), int(self.starts[high])
            counts = np.diff(self.starts[low : high + 1])
            yield pl.DataFrame(
                {
                    "user_id": np.repeat(np.arange(low, high), counts),
                    "item_id": self.items[first:last],
                    "timestamp": pl.Series(self.times[first:last]).fill_nan(None),
                    "split": names.gather(self.splits[first:last] % len(names)),
                }
            )

    @property
    def histories(self) -> Histories:
        """Every user's events."""
        return Histories(self.users, self.items, self.starts[:-1], self.starts[1:])

    def users_of(self, splits: Ints) -> int:
        """How many users have an event of one of the splits."""
        chosen = np.zeros(len(self.users), dtype=bool)
        for start in range(0, len(self.items), _ROWS):
            places = np.flatnonzero(np.isin(self.splits[start : start + _ROWS], splits)) + start
            chosen[self._user_of(places)] = True
        return int(chosen.sum())

    def training_counts(self, size: int) -> Ints:
        """How often each of `size` items is a training event, (size,)."""
        counts = np.zeros(size, dtype=np.int64)
        for start in range(0, len(self.items), _ROWS):
            rows = slice(start, start + _ROWS)
            counts += np.bincount(self.items[rows][self.splits[rows] == _TRAIN], minlength=size)
        return counts

    def training_histories(self) -> tuple[Ints, Histories]:
        """The number of every user who has a training event, and these events."""
        train = self.splits == _TRAIN
        counts = self._counts(train)
        # A user's training events come first, unless somebody has made the split.
        items, begins = self.items, self.starts[:-1]
        if not (self._first(~train) - begins == counts).all():
            items, begins = self.items[train], np.cumsum(counts) - counts
        own = np.flatnonzero(counts)
        begins, ends = begins[own], (begins + counts)[own]
        return own, Histories(self.users[own], items, begins, ends)

    def of_split(self, number: int) -> Ints:
        """The last event of each user that has a split, or -1, (U,)."""
        places = np.flatnonzero(self.splits == number)
        last = np.full(len(self.users), -1)
        last[self._user_of(places)] = places
        return last

    def first_held_out(self) -> Floats:
        """The time of each user's first event that is not trained on, else infinite, (U,)."""
        first = self._first(self.splits != _TRAIN)
        times = np.full(len(self.users), np.inf)
        has_one = first < self.starts[1:]
        times[has_one] = self.times[first[has_one]]
        return times

    def before(self, users: Ints, times: Floats) -> Ints:
        """How many events each of some users has strictly before a time, (n,) each.

        A user of -1 has none, and none is before NaN or at a time that is NaN.
        """
        low, high = self.starts[users], self.starts[users + 1].copy()
        high[users < 0] = low[users < 0]
        begins = low.copy()
        while (open_ := low < high).any():
            middle = (low + high) // 2
            earlier = np.zeros(len(users), dtype=bool)
            earlier[open_] = self.times[middle[open_]] < times[open_]
            low = np.where(earlier, middle + 1, low)
            high = np.where(open_ & ~earlier, middle, high)
        return low - begins

    def held_out_pairs(self) -> Ints:
        """The number of the user times 2^32, plus the item, of each event that is held out."""
        places = np.flatnonzero(self.splits != _TRAIN)
        return (self._user_of(places) << 32) + self.items[places]

    def _user_parts(self) -> Iterator[tuple[int, int]]:
        """Users with about `_EVENTS` events together: the first, and the one after the last."""
        parts = np.arange(_EVENTS, len(self.items), _EVENTS)
        borders = np.unique(np.searchsorted(self.starts, [0, *parts, len(self.items)]))
        yield from pairwise(borders.tolist())

    def _user_of(self, places: Ints) -> Ints:
        """The number of the user of some events, which are in order."""
        return np.asarray(np.searchsorted(self.starts, places, side="right") - 1)

    def _counts(self, chosen: npt.NDArray[np.bool_]) -> Ints:
        """How many of the chosen events each user has, (U,)."""
        counts = np.zeros(len(self.users), dtype=np.int64)
        for low, high in self._user_parts():
            starts = self.starts[low : high + 1]
            summed = np.concatenate([[0], np.cumsum(chosen[starts[0] : starts[-1]])])
            counts[low:high] = np.diff(summed[starts - starts[0]])
        return counts

    def _first(self, chosen: npt.NDArray[np.bool_]) -> Ints:
        """The first of the chosen events of each user, or the end of all of the user's, (U,)."""
        places = np.flatnonzero(chosen)
        first = np.append(places, len(chosen))[np.searchsorted(places, self.starts[:-1])]
        found: Ints = np.minimum(first, self.starts[1:])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class JudgedQueries:
    """Queries and their relevant items as arrays.

    Attributes:
        texts: the different texts, in the order of their first query.
        text_of: the index of each query's text, (Q,).
        users: the number of each query's user among those of the events; -1 for none, (Q,).
        times: timestamps, NaN where there is none, (Q,).
        splits: the number of each query's split, (Q,).
        starts: the first answer of each query, and the end of the last, (Q + 1,).
        items: the answers' catalog positions, (A,).
        relevances: (A,).
    """

    texts: Sequence[str]
    text_of: Ints
    users: Ints
    times: Floats
    splits: SplitNumbers
    starts: Ints
    items: Ints
    relevances: Ints

    @staticmethod
    def of(
        queries: pl.DataFrame, qrels: pl.DataFrame, catalog: Catalog, users: pl.Series
    ) -> "JudgedQueries":
        """The queries of a table with the judgments of another one."""
        texts = queries["text"].unique(maintain_order=True)
        query_of = numbers_of(qrels["query_id"], queries["query_id"])
        known = np.flatnonzero(query_of >= 0)
        order = known[np.argsort(query_of[known], kind="stable")]
        counts = np.bincount(query_of[known], minlength=queries.height)
        return JudgedQueries(
            texts=Texts.of(texts.to_list()),
            text_of=numbers_of(queries["text"], texts),
            users=numbers_of(queries["user_id"], users),
            times=times_of(queries["timestamp"]),
            splits=split_numbers(queries["split"]),
            starts=np.concatenate([[0], np.cumsum(counts)]),
            items=numbers_of(qrels["item_id"], catalog.items["item_id"])[order],
            relevances=qrels["relevance"].to_numpy()[order],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The tables of a dataset as arrays, with what is learned from them.

    Attributes:
        events: the interactions.
        trained: the training events of each user who has one.
        trained_users: the numbers of these users among those of the events, (users,).
        queries: the queries and their relevant items.
        searches: the training examples of search.
    """

    events: Events
    trained: Histories
    trained_users: Ints
    queries: JudgedQueries
    searches: Examples

    @property
    def trained_times(self) -> Floats:
        """When each event of `trained.positions` was, (E,)."""
        events = self.events
        all_in_order = self.trained.positions is events.items
        return events.times if all_in_order else events.times[events.splits == _TRAIN]

    @staticmethod
    def of(events: Events, asked: JudgedQueries) -> "Columns":
        """The columns of the tables of a dataset."""
        users, trained = events.training_histories()
        return Columns(events, trained, users, asked, _query_examples(events, asked))


def numbers_of(values: pl.Series, known: pl.Series) -> Ints:
    """The place of each value among the different ones of `known`, or -1, (n,)."""
    places = pl.DataFrame({"value": known}).with_row_index("place")
    frame = pl.DataFrame({"value": values}, schema={"value": pl.String})
    joined = frame.join(places, on="value", how="left", maintain_order="left")
    return joined["place"].cast(pl.Int64).fill_null(-1).to_numpy()


def times_of(timestamps: pl.Series) -> Floats:
    """Timestamps as an array, NaN where there is none, (n,)."""
    return timestamps.cast(pl.Float64).fill_null(np.nan).to_numpy()


def split_numbers(splits: pl.Series) -> SplitNumbers:
    """The numbers of splits, (n,)."""
    numbers = {split: number for number, split in enumerate(SPLITS)}
    found = splits.cast(pl.String).replace_strict(numbers, default=-1, return_dtype=pl.Int8)
    return found.to_numpy()


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
        if isinstance(self.requests, _Requests):
            taken = self.requests.some(np.sort(rows))
            return dataclasses.replace(self, requests=list(taken), qrels=_Right(taken))
        return dataclasses.replace(self, requests=[self.requests[row] for row in sorted(rows)])

    def right_counts(self, size: int) -> Ints:
        """How often each of `size` items is a relevant item, (size,)."""
        assert isinstance(self.requests, _Requests)
        columns = self.requests.columns
        places = runs(columns.target_starts, columns.target_ends - columns.target_starts)
        return np.bincount(columns.right[places], minlength=size)

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


def build_examples(dataset: "PreparedDataset", task: Task) -> Examples:
    """The training examples of one task; none where the dataset lacks it."""
    columns = dataset.columns
    return columns.searches if task == "search" else _history_examples(columns.trained)


def build_requests(
    dataset: "PreparedDataset", task: Task, split: Split, timed: bool = False
) -> JudgedRequests:
    """The requests of one task and split, with their relevant items.

    Args:
        dataset: the dataset.
        task: the task.
        split: the split.
        timed: whether requests for recommendations say when the event of the relevant item was.
    """
    number = SPLITS.index(split)
    requests = _queries(dataset, number) if task == "search" else _users(dataset, number, timed)
    return JudgedRequests(task, split, requests, _Right(requests))


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


def _history_examples(histories: Histories) -> Examples:
    """One example for each user: every event but the first is a target, given those before it."""
    several = np.flatnonzero(histories.ends - histories.begins > 1)
    begins, ends = histories.begins[several], histories.ends[several]
    return Examples.of_histories(histories.positions, begins, ends)


def _query_examples(events: Events, asked: JudgedQueries) -> Examples:
    """One example for each query: all its relevant items, given its text and its user's history.

    A query that its user typed at or after the first held-out event is left out, and so are the
    user's held-out items as answers: a click on a result is often logged as an interaction too.
    """
    held_out = np.sort(events.held_out_pairs())
    first = np.append(events.first_held_out(), np.inf)
    rows = np.flatnonzero(asked.splits == _TRAIN)
    parts = [
        _QueryRows.of(events, asked, rows[start : start + _QUERIES], first, held_out)
        for start in range(0, max(1, len(rows)), _QUERIES)
    ]
    rows, counts, targets, begins, before = map(np.concatenate, zip(*parts, strict=True))
    target_ends = np.cumsum(counts)
    return Examples(
        items=events.items,
        begins=begins,
        ends=begins + before,
        order="end",
        targets=targets,
        target_starts=target_ends - counts,
        target_ends=target_ends,
        query_of=asked.text_of[rows],
        queries=asked.texts,
    ).with_targets()


class _QueryRows(NamedTuple):
    """Training queries: their number, answers (how many, and which), and run of earlier events."""

    rows: Ints
    counts: Ints
    targets: Ints
    begins: Ints
    before: Ints

    @staticmethod
    def of(
        events: Events, asked: JudgedQueries, rows: Ints, first: Floats, held_out: Ints
    ) -> "_QueryRows":
        """Some queries.

        Args:
            events, asked: all events and queries.
            rows: the numbers of these queries, (n,).
            first: the time of each user's first event that is held out; infinite for no user.
            held_out: the numbers of users times 2^32, plus the items that are held out, sorted.
        """
        times = asked.times[rows]
        # Without times on the events (NaN) nothing shows that the query came first.
        rows = rows[np.isnan(times) | (times < first[asked.users[rows]])]
        users, counts = np.asarray(asked.users[rows], np.int64), np.diff(asked.starts)[rows]
        places = runs(asked.starts[rows], counts)
        pairs = (np.repeat(users, counts) << 32) + asked.items[places]
        # Sorted lookups are several times as fast, since they read memory in order.
        order = np.argsort(pairs)
        kept = np.ones(len(pairs), dtype=bool)
        known = np.searchsorted(held_out, pairs[order])
        kept[order] = np.append(held_out, _NO_PAIR)[known] != pairs[order]
        return _QueryRows(
            rows=rows,
            counts=np.bincount(np.repeat(np.arange(len(rows)), counts)[kept], minlength=len(rows)),
            targets=asked.items[places[kept]],
            begins=events.starts[users] * (users >= 0),
            before=events.before(users, asked.times[rows]),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class RequestColumns:
    """The requests of one task and split, and their relevant items, as arrays.

    Attributes:
        names: a table with the ids of requests and their users, by their number.
        rows: the numbers of the requests in it, ascending, (R,).
        item_ids: those of the catalog.
        items: catalog positions, (E,); a history is a run of them.
        begins, ends: the run of each request's history, (R,).
        extra_item: the position of one more item of the history, or -1, (R,).
        excluding: whether the items of the history may not come back.
        texts: the texts of queries; None where requests have none.
        text_of: the index of each request's text, (R,).
        times, last_event_times: as in `Request`, NaN for not known, (R,); None to tell no time.
        right: catalog positions, (A,); the relevant items are a run of them.
        target_starts, target_ends: the run of each request's relevant items, (R,).
        grades: the relevance of the relevant items, (A,); None where all have 1.
    """

    names: pl.LazyFrame
    rows: Ints
    item_ids: Sequence[str]
    items: Ints
    begins: Ints
    ends: Ints
    extra_item: Ints
    excluding: bool
    right: Ints
    target_starts: Ints
    target_ends: Ints
    grades: Ints | None = None
    texts: Sequence[str] | None = None
    text_of: Ints | None = None
    times: Floats | None = None
    last_event_times: Floats | None = None

    @cached_property
    def ids(self) -> list[tuple[str, str | None]]:
        """The ids of each request and of its user."""
        wanted = pl.Series(self.rows).cast(pl.UInt32).implode()
        chosen = self.names.with_row_index("row").filter(pl.col("row").is_in(wanted))
        return chosen.drop("row").collect(engine="streaming").rows()

    def request(self, row: int) -> Request:
        """One of the requests."""
        places = self.items[int(self.begins[row]) : int(self.ends[row])].tolist()
        places += [int(self.extra_item[row])] if self.extra_item[row] >= 0 else []
        history = tuple(map(self.item_ids.__getitem__, places))
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

    def right_answers(self, row: int) -> dict[str, int]:
        """The relevance of the relevant items of a request, by item id."""
        own = slice(int(self.target_starts[row]), int(self.target_ends[row]))
        items = [self.item_ids[place] for place in self.right[own].tolist()]
        grades = [1] * len(items) if self.grades is None else self.grades[own].tolist()
        return dict(zip(items, grades, strict=True))


def _time(times: Floats | None, row: int) -> float | None:
    return None if times is None or np.isnan(times[row]) else float(times[row])


class _Requests(Sequence[Request]):
    """Requests that are made when they are read, and their arrays when the first one is.

    Args:
        rows: the numbers of the requests in a table, ascending, (R,).
        make: the arrays of some of them.
    """

    def __init__(self, rows: Ints, make: Callable[[Ints], RequestColumns]) -> None:
        self._rows, self._make = rows, make

    @cached_property
    def columns(self) -> RequestColumns:
        """The requests as arrays."""
        return self._make(self._rows)

    def some(self, chosen: Ints) -> "_Requests":
        """Some of the requests; `chosen` are ascending."""
        return _Requests(self._rows[chosen], self._make)

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


class _Right(Mapping[str, Mapping[str, int]]):
    """The relevant items of requests, which are made when they are read."""

    def __init__(self, requests: _Requests) -> None:
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
        return columns.right_answers(self._rows[request_id])


def _users(dataset: "PreparedDataset", split: int, timed: bool) -> _Requests:
    """A request for each user with a training event and an event of the split."""
    places = dataset.columns.events.of_split(split)[dataset.columns.trained_users]
    return _Requests(np.flatnonzero(places >= 0), partial(_user_columns, dataset, split, timed))


def _user_columns(
    dataset: "PreparedDataset", split: int, timed: bool, rows: Ints
) -> RequestColumns:
    """The arrays of some requests of `_users`."""
    events, trained = dataset.columns.events, dataset.columns.trained
    users = dataset.columns.trained_users[rows]
    places, extra_item = events.of_split(split)[users], np.full(len(rows), -1)
    last = dataset.columns.trained_times[trained.ends[rows] - 1] if timed else None
    if split == _TEST:
        validation = events.of_split(_VALIDATION)[users]
        extra_item = np.where(validation >= 0, events.items[validation], -1)
        if last is not None:
            last = np.where(validation >= 0, events.times[validation], last)
    return RequestColumns(
        names=pl.LazyFrame({"request_id": trained.users, "user_id": trained.users}),
        rows=rows,
        item_ids=dataset.catalog.item_ids,
        items=trained.positions,
        begins=trained.begins[rows],
        ends=trained.ends[rows],
        extra_item=extra_item,
        excluding=dataset.protocol.seen == "exclude",
        right=events.items,
        target_starts=places,
        target_ends=places + 1,
        times=events.times[places] if timed else None,
        last_event_times=last,
    )


def _queries(dataset: "PreparedDataset", split: int) -> _Requests:
    """A request for each query of the split, with its user's events strictly before it."""
    splits = dataset.columns.queries.splits
    return _Requests(np.flatnonzero(splits == split), partial(_query_columns, dataset, split))


def _query_columns(dataset: "PreparedDataset", split: int, rows: Ints) -> RequestColumns:
    """The arrays of some requests of `_queries`."""
    events, asked = dataset.columns.events, dataset.columns.queries
    users, times = asked.users[rows], asked.times[rows]
    if split == _VALIDATION:
        # A validation request must not hold the user's test event.
        test = np.append(events.of_split(_TEST), -1)[users]
        until = np.full(len(rows), np.inf)
        until[test >= 0] = events.times[test[test >= 0]]
        times = np.where(np.isnan(times), np.nan, np.fmin(times, until))
    begins = events.starts[users] * (users >= 0)
    return RequestColumns(
        names=dataset.tables.scan("queries").select("query_id", "user_id"),
        rows=rows,
        item_ids=dataset.catalog.item_ids,
        items=events.items,
        begins=begins,
        ends=begins + events.before(users, times),
        extra_item=np.full(len(rows), -1),
        excluding=False,
        right=asked.items,
        target_starts=asked.starts[rows],
        target_ends=asked.starts[rows + 1],
        grades=asked.relevances,
        texts=asked.texts,
        text_of=asked.text_of[rows],
    )
