"""The tables of a dataset as arrays, which may be mapped from files.

This module does not create a Python object for each user, event or query.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.dataset import Catalog
from twofold.records import SPLITS, Floats, Ints, slice_indices

if TYPE_CHECKING:
    from twofold.training_examples import Examples

_ROWS = 1 << 22
"""The number of events that are counted together."""

_EVENTS = 1 << 20
"""The number of consecutive events that are processed together."""

TRAIN, VALIDATION, TEST = range(3)
"""The numbers of the splits; -1 means no split."""

SplitNumbers = npt.NDArray[np.int8]


class Histories(Mapping[str, Ints]):
    """The history of each user, as catalog positions, (H,).

    Args:
        users: the ids of the users with a history, in order.
        positions: the items of all histories, (E,).
        begins, ends: the slice of each user's history in `positions`, (users,).
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
        """Tables of some users at a time: columns user_id and history, a list of item ids."""
        ends = np.cumsum(self.ends - self.begins)
        events = int(ends[-1]) if len(ends) else 0
        parts = np.searchsorted(ends, np.arange(_ROWS, events, _ROWS), side="right")
        for low, high in pairwise(np.unique([0, *parts, len(self)]).tolist()):
            counts = self.ends[low:high] - self.begins[low:high]
            positions = self.positions[slice_indices(self.begins[low:high], counts)]
            items = item_ids.gather(positions)
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

    def values(self) -> list[Ints]:  # type: ignore[override]
        """The histories in the order of the users."""
        return [self.at(row) for row in range(len(self))]

    def at(self, row: int) -> Ints:
        """The history of the user in a row, (H,)."""
        history = self.positions[int(self.begins[row]) : int(self.ends[row])]
        return np.asarray(history, dtype=np.int64)

    @property
    def _row_of(self) -> dict[str, int]:
        if self._rows is None:
            self._rows = {user: row for row, user in enumerate(self.users)}
        return self._rows


class Texts(Sequence[str]):
    """Concatenated texts in UTF-8, which may be mapped from a file.

    Args:
        letters: the bytes of all texts.
        ends: the end of each text, (n,).
    """

    def __init__(self, letters: npt.NDArray[np.uint8], ends: Ints) -> None:
        self.letters, self.ends = letters, ends
        # Reading a number or a text from a memoryview is several times as fast as from an array.
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
        return Texts, (self.letters, self.ends)  # a memoryview cannot be copied or pickled

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
    """The interactions as arrays: the events of each user are consecutive, in the order of time.

    Attributes:
        users: user ids, in the order of their first event, (U,).
        starts: the index of each user's first event, and the number of events, (U + 1,).
        items: catalog positions, (E,).
        times: timestamps, NaN if there is none, (E,).
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
        """Tables of the events of some users at a time, with numbers instead of ids."""
        for low, high in self._user_parts():
            first, last = int(self.starts[low]), int(self.starts[high])
            counts = np.diff(self.starts[low : high + 1])
            yield pl.DataFrame(
                {
                    "user_id": np.repeat(np.arange(low, high), counts),
                    "item_id": self.items[first:last],
                    "timestamp": pl.Series(self.times[first:last]).fill_nan(None),
                    "split": split_names(self.splits[first:last]),
                }
            )

    @property
    def histories(self) -> Histories:
        """Every user's events."""
        return Histories(self.users, self.items, self.starts[:-1], self.starts[1:])

    def users_of(self, splits: Ints) -> int:
        """The number of users with an event of one of the splits."""
        chosen = np.zeros(len(self.users), dtype=bool)
        for start in range(0, len(self.items), _ROWS):
            indices = np.flatnonzero(np.isin(self.splits[start : start + _ROWS], splits)) + start
            chosen[self._user_of(indices)] = True
        return int(chosen.sum())

    def training_counts(self, size: int) -> Ints:
        """How often each of `size` items is a training event, (size,)."""
        counts = np.zeros(size, dtype=np.int64)
        for start in range(0, len(self.items), _ROWS):
            rows = slice(start, start + _ROWS)
            counts += np.bincount(self.items[rows][self.splits[rows] == TRAIN], minlength=size)
        return counts

    def training_histories(self) -> tuple[Ints, Histories]:
        """The number of every user who has a training event, (n,), and these events."""
        train = self.splits == TRAIN
        counts = self._counts(train)
        # A user's training events come first, unless the split was given.
        items, begins = self.items, self.starts[:-1]
        if not (self._first(~train) - begins == counts).all():
            items, begins = self.items[train], np.cumsum(counts) - counts
        users = np.flatnonzero(counts)
        begins, ends = begins[users], (begins + counts)[users]
        return users, Histories(self.users[users], items, begins, ends)

    def last_of_split(self, number: int) -> Ints:
        """The index of each user's last event of a split, or -1, (U,)."""
        indices = np.flatnonzero(self.splits == number)
        last = np.full(len(self.users), -1)
        last[self._user_of(indices)] = indices
        return last

    def first_held_out(self) -> Floats:
        """The time of each user's first event outside of training, or infinity, (U,)."""
        first = self._first(self.splits != TRAIN)
        times = np.full(len(self.users), np.inf)
        has_one = first < self.starts[1:]
        times[has_one] = self.times[first[has_one]]
        return times

    def before(self, users: Ints, times: Floats) -> Ints:
        """The number of events of some users strictly before a time, (n,).

        It is 0 for the user -1 and for the time NaN; an event whose time is NaN is not counted.
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
        """For each held-out event, the number of the user times 2^32 plus the item, (held out,)."""
        indices = np.flatnonzero(self.splits != TRAIN)
        return (self._user_of(indices) << 32) + self.items[indices]

    def _user_parts(self) -> Iterator[tuple[int, int]]:
        """Ranges of users with about `_EVENTS` events: the first user, and the end."""
        parts = np.arange(_EVENTS, len(self.items), _EVENTS)
        borders = np.unique(np.searchsorted(self.starts, [0, *parts, len(self.items)]))
        yield from pairwise(borders.tolist())

    def _user_of(self, indices: Ints) -> Ints:
        """The user numbers of some events, which are in ascending order."""
        return np.asarray(np.searchsorted(self.starts, indices, side="right") - 1)

    def _counts(self, chosen: npt.NDArray[np.bool_]) -> Ints:
        """The number of chosen events of each user, (U,)."""
        counts = np.zeros(len(self.users), dtype=np.int64)
        for low, high in self._user_parts():
            starts = self.starts[low : high + 1]
            summed = np.concatenate([[0], np.cumsum(chosen[starts[0] : starts[-1]])])
            counts[low:high] = np.diff(summed[starts - starts[0]])
        return counts

    def _first(self, chosen: npt.NDArray[np.bool_]) -> Ints:
        """The index of each user's first chosen event, or the end of the user's events, (U,)."""
        indices = np.flatnonzero(chosen)
        first = np.append(indices, len(chosen))[np.searchsorted(indices, self.starts[:-1])]
        within: Ints = np.minimum(first, self.starts[1:])
        return within


@dataclass(frozen=True, slots=True, eq=False)
class JudgedQueries:
    """Queries and their relevant items as arrays.

    Attributes:
        texts: the different texts, in the order of their first query.
        text_of: the index of each query's text, (Q,).
        users: the number of each query's user in the events, or -1 without one, (Q,).
        times: timestamps, NaN if there is none, (Q,).
        splits: the number of each query's split, (Q,).
        starts: the index of each query's first relevant item, and the number of all, (Q + 1,).
        items: the relevant items' catalog positions, (A,).
        relevances: the relevance grade of each, (A,).
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
        """The queries of one table with the judgments of another."""
        texts = queries["text"].unique(maintain_order=True)
        query_of = numbers_of(qrels["query_id"], queries["query_id"])
        judged = np.flatnonzero(query_of >= 0)
        order = judged[np.argsort(query_of[judged], kind="stable")]
        counts = np.bincount(query_of[judged], minlength=queries.height)
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
    """The tables of a dataset as arrays, with the training data.

    Attributes:
        events: the interactions.
        trained: the training events of each user who has any.
        trained_users: the numbers of these users in `events`, (users,).
        queries: the queries and their relevant items.
        searches: the training examples of search.
    """

    events: Events
    trained: Histories
    trained_users: Ints
    queries: JudgedQueries
    searches: "Examples"

    @property
    def trained_times(self) -> Floats:
        """The time of each event of `trained.positions`, (E,)."""
        events = self.events
        all_in_order = self.trained.positions is events.items
        return events.times if all_in_order else events.times[events.splits == TRAIN]


def numbers_of(values: pl.Series, known: pl.Series) -> Ints:
    """The index of each value in `known`, whose values are unique, or -1, (n,)."""
    numbered = pl.DataFrame({"value": known}).with_row_index("number")
    frame = pl.DataFrame({"value": values}, schema={"value": pl.String})
    joined = frame.join(numbered, on="value", how="left", maintain_order="left")
    return joined["number"].cast(pl.Int64).fill_null(-1).to_numpy()


def times_of(timestamps: pl.Series) -> Floats:
    """Timestamps as an array, NaN if there is none, (n,)."""
    return timestamps.cast(pl.Float64).fill_null(np.nan).to_numpy()


def split_numbers(splits: pl.Series) -> SplitNumbers:
    """The numbers of splits, (n,)."""
    numbers = {split: number for number, split in enumerate(SPLITS)}
    numbered = splits.cast(pl.String).replace_strict(numbers, default=-1, return_dtype=pl.Int8)
    return numbered.to_numpy()


def split_names(splits: SplitNumbers) -> pl.Series:
    """The splits of some numbers, null for -1, (n,)."""
    names = pl.Series([*SPLITS, None], dtype=pl.String)
    return names.gather(splits % len(names))
