"""The interactions of a large table, converted to numbers, then sorted and split user by user.

Each piece of the file is checked, converted to numbers, and written to the buckets of its users on
disk. The buckets are then sorted, cleared of copies and split, one at a time. So memory grows with
the users and the items, not with the events. The result equals that of `twofold.tasks.split` for
the whole table.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.checks import require_values
from twofold.data.dataset import Note
from twofold.data.formats import Table
from twofold.data.ids import doubtful_ids
from twofold.data.times import TimesInParts, read_times
from twofold.records import Floats, Ints
from twofold.tasks.arrays import Events
from twofold.tasks.split import split_events
from twofold.tasks.streaming.files import ArrayFile, NotStreamableError, append_by, with_progress
from twofold.tasks.streaming.numbering import Numbering
from twofold.tasks.streaming.pieces import Pieces

BYTES = 40
"""The bytes of temporary files for each event."""
_USER_BITS = 14
"""A bucket has 2 to the power of this many users."""
_SHOWN = 100
"""The number of users from whom one event is validated."""
_ROW = np.dtype([("user", "u4"), ("item", "u4"), ("time", "f8"), ("row", "u4")])


class StreamedEvents:
    """The events of one table.

    Args:
        pieces: the table.
        items: all item ids, which are unique.
        folder: the folder of the buckets and arrays.

    Attributes:
        users: the users, numbered.
        times: the range and form of the timestamps.
        begins: the time of each user's first event, (U,).
        repeat_share: the share of events whose (user, item) occurred before.

    Raises:
        NotStreamableError: a row needs a note.
        InputError: a column is missing, or a value is wrong.
    """

    def __init__(self, pieces: Pieces, items: pl.Series, folder: Path) -> None:
        self._pieces, self._folder = pieces, folder
        self._items = pl.Enum(items)
        self.users, self.times = Numbering("user_id"), TimesInParts()
        buckets = self._fill_buckets()
        if doubtful_ids(Table(pieces.path, self.users.texts.to_frame()), "user_id", "user"):
            raise NotStreamableError("interactions: a user_id may be missing, rounded or a variant")
        self._copies = _Copies()
        self._first_rows: list[Ints] = []
        self._counts: list[Ints] = []
        self.repeat_share = self._sort(buckets)

    def split(self, cutoff: float | None) -> Events:
        """The events, mapped from files, with their splits; see `twofold.tasks.split`."""
        splits = ArrayFile(self._folder, "event_splits", "|i1")
        times, start = self._event_times.mapped(), 0
        for counts in self._counts:
            end = start + int(counts.sum())
            splits.write(split_events(counts, times[start:end], cutoff))
            start = end
        starts = np.concatenate([[0], np.cumsum(np.concatenate(self._counts))])
        return Events(self.users.texts, starts, self._event_items.mapped(), times, splits.mapped())

    def table(self, *, every_user: bool) -> Table:
        """Some rows as text, with a note on the duplicates that were left out.

        They are the rows with the first, the smallest and the largest timestamp, and the earliest
        row of each user or, unless `every_user`, of some users.
        """
        earliest = self._first_rows if every_user else [self._first_rows[0][:_SHOWN]]
        ends = [0, self.times.low[1], self.times.high[1]]
        table = self._pieces.at(np.unique(np.concatenate([*earliest, ends]).astype(np.int64)))
        if not self._copies.count:
            return table
        copy = self._pieces.at(np.array([self._copies.row]))
        user, item = copy.rows.select("user_id", "item_id").row(0)
        problem = f"user '{user}' has item '{item}' at the same time in an earlier row: one event"
        remedy = "remove the duplicate rows"
        return replace(table, notes=(Note(self._copies.count, copy.place(0), problem, remedy),))

    def _fill_buckets(self) -> list[Path]:
        """Write the rows to the buckets of their users, in the order of the file."""
        for start, table in self._pieces.each("interactions"):
            rows = self._numbers(table, start)
            append_by(rows, rows["user"] >> _USER_BITS, self._bucket)
        return [self._bucket(number) for number in range(-(-len(self.users.texts) >> _USER_BITS))]

    def _bucket(self, number: int) -> Path:
        return self._folder / f"bucket-{number}"

    def _numbers(self, table: Table, start: int) -> npt.NDArray[np.void]:
        """Checked rows as numbers of users and items, and seconds."""
        table.require_columns("user_id", "item_id", "timestamp")
        require_values(table, "user_id", "item_id")
        items = table.rows["item_id"].cast(self._items, strict=False).to_physical()
        times = read_times(table)
        if items.null_count():
            raise NotStreamableError("interactions: an item_id is not in items")
        if not self.times.add(times, start):
            raise NotStreamableError("interactions: a timestamp needs a note, or has another form")
        rows = np.empty(table.rows.height, dtype=_ROW)
        rows["user"] = self.users.add(table.rows["user_id"])
        rows["item"] = items.to_numpy()
        rows["time"] = times.seconds.to_numpy()
        rows["row"] = np.arange(start, start + len(rows))
        return rows

    def _sort(self, buckets: list[Path]) -> float:
        """Write the events in time order within each user; return the share of repeats."""
        self._event_items = ArrayFile(self._folder, "event_items", "<i4")
        self._event_times = ArrayFile(self._folder, "event_times", "<f8")
        begins, distinct, size = [], 0, 0
        for bucket in with_progress(buckets, "events by user", len(buckets)):
            rows = self._copies.removed(np.fromfile(bucket, dtype=_ROW))
            bucket.unlink()
            first = np.flatnonzero(np.diff(rows["user"], prepend=np.uint32(2**32 - 1)))
            pairs = np.sort(rows["user"].astype(np.int64) << 32 | rows["item"])
            distinct += 1 + int(np.count_nonzero(pairs[1:] != pairs[:-1]))
            size += len(rows)
            self._event_items.write(rows["item"])
            self._event_times.write(rows["time"])
            self._counts.append(np.diff(first, append=len(rows)))
            begins.append(rows["time"][first])
            self._first_rows.append(rows["row"][first])
        self.begins: Floats = np.concatenate(begins)
        return 1.0 - distinct / size


@dataclass(slots=True)
class _Copies:
    """Rows with the same user, item and time as an earlier row.

    Attributes:
        count: the number of such rows.
        row: the number of the first one.
    """

    count: int = 0
    row: int = 2**32

    def removed(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The rows of a bucket without copies, by user and time, then in the order of the file."""
        rows = rows[np.argsort(rows["time"], kind="stable")]
        # The users of a bucket have small numbers, which are sorted by counting.
        of_bucket = (rows["user"] & ((1 << _USER_BITS) - 1)).astype(np.uint16)
        rows = rows[np.argsort(of_bucket, kind="stable")]
        user, times = rows["user"], rows["time"]
        if not ((user[1:] == user[:-1]) & (times[1:] == times[:-1])).any():
            return rows
        order = np.lexsort((rows["item"], times, user))
        sorted_ = rows[order]
        same = np.ones(len(rows) - 1, dtype=bool)
        for name in ("user", "time", "item"):
            same &= sorted_[name][1:] == sorted_[name][:-1]
        copies = order[1:][same]
        if len(copies):
            self.count += len(copies)
            self.row = min(self.row, int(rows["row"][copies].min()))
        return np.delete(rows, copies)
