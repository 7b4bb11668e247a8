"""Interactions of a large Parquet table, prepared piece by piece.

A piece of the file becomes numbers as soon as it is checked, and goes to the buckets of its users
on disk; a bucket at a time is then sorted, cleared of copies, and split. So memory grows with the
users and the items, not with the events. What is made of the events is what `twofold.tasks.split`
makes of the whole table.

A table that has anything to report besides copies is read whole, as what is said of it names
places and counts of all rows.
"""

import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.checks import require_known, require_values
from twofold.data.dataset import Catalog, Note
from twofold.data.formats import Table, read_table
from twofold.data.ids import doubtful_ids
from twofold.data.layouts import four_tables
from twofold.data.layouts.registry import LAYOUTS
from twofold.data.reading.columns import table_columns
from twofold.data.reading.parquet import any_time_zone, frame_columns
from twofold.data.sources import read_source
from twofold.data.times import TimesInParts, read_times
from twofold.records import SPLITS, InputError, Ints
from twofold.tasks.examples import Columns, Events, numbers_of
from twofold.tasks.prepared import PreparedDataset, SplitProtocol
from twofold.tasks.split import REPEATS_ALLOWED, split_dataset

T = TypeVar("T")

LARGE = 2_000_000
"""The rows from which on a table is streamed."""
_PIECE = 1_000_000
"""The rows that are read, or written, at once."""
_USERS = 1 << 14
"""The users of a bucket."""
_ROW = np.dtype([("user", "u4"), ("item", "u4"), ("time", "f8"), ("row", "u4")])
_PER_LINE = 10.0
"""The seconds between two lines of progress."""

_log = logging.getLogger(__name__)


class _NotPlainError(Exception):
    """A table of which something has to be said that only the whole of it tells."""


def stream_dataset(source: Path, skip_unknown: bool) -> PreparedDataset | None:
    """The dataset of a folder whose interactions are a large table; None for any other source.

    Args:
        source: the folder.
        skip_unknown: see `load_dataset`; no row is left out where every one is known.

    Raises:
        InputError: another table cannot be read.
    """
    path = _large_table(source)
    if path is None:
        return None
    folder = _Folder()
    try:
        items = read_table(four_tables.present(source)["items"]).rows["item_id"]
        if items.is_duplicated().any():
            raise _NotPlainError
        made = _Streamed(path, items, folder.path).run()
        dataset = read_source(source, skip_unknown, {"interactions": made.table})
        prepared = split_dataset(dataset, str(source))
    except (_NotPlainError, InputError, pl.exceptions.PolarsError):
        # Also where another table is at fault, or the rows that stand for all of them look as if
        # they were: the whole says what is wrong, with the right counts.
        _log.info("%s: not every row is plain, so that the table is read whole", path)
        return None
    tables = StreamedTables(
        dataset.catalog, made.events, prepared.queries, prepared.qrels, folder=folder
    )
    seen = "exclude" if made.repeat_share < REPEATS_ALLOWED else "keep"
    protocol = replace(prepared.protocol, seen=seen)  # type: ignore[arg-type]
    return replace(prepared, tables=tables, protocol=protocol)


def _large_table(source: Path) -> Path | None:
    """The table interactions of a folder of four tables, where it is Parquet and large."""
    if not source.is_dir() or any(layout.recognises(source) for layout in LAYOUTS):
        return None
    try:
        present = four_tables.present(source)
        path = present.get("interactions")
        if path is None or path.suffix.lower() != ".parquet" or "items" not in present:
            return None
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    except (InputError, pl.exceptions.PolarsError):
        return None
    return path if LARGE <= rows < 2**32 else None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What became of a table.

    Attributes:
        events: the events, mapped from files.
        table: the earliest row of each user, with all columns, and a note on the rows left out.
        repeat_share: the share of events whose (user, item) occurred before.
    """

    events: Events
    table: Table
    repeat_share: float


class _Streamed:
    """Streams one table.

    Args:
        path: the file.
        items: all item ids.
        folder: where buckets and arrays are written.
    """

    def __init__(self, path: Path, items: pl.Series, folder: Path) -> None:
        self._path, self._items, self._folder = path, items, folder
        self._rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        self._users = pl.Series("user_id", [], dtype=pl.String)
        self._times = TimesInParts()

    def run(self) -> _Prepared:
        """Read, sort, split and write."""
        buckets = self._fill_buckets()
        if doubtful_ids(Table(self._path, self._users.to_frame()), "user_id", "user"):
            raise _NotPlainError
        with (
            _Writer(self._folder, "items", "<i4") as items,
            _Writer(self._folder, "times", "<f8") as times,
            _Writer(self._folder, "splits", "|i1") as splits,
        ):
            counts, earliest, distinct, copies = [], [], 0, _Copies()
            for bucket in _with_progress(buckets, "events by user", len(buckets)):
                rows = copies.removed(np.fromfile(bucket, dtype=_ROW))
                bucket.unlink()
                _, first, own = np.unique(rows["user"], return_index=True, return_counts=True)
                pairs = rows["user"].astype(np.int64) << 32 | rows["item"]
                distinct += len(np.unique(pairs))
                items.write(rows["item"])
                times.write(rows["time"])
                splits.write(_last_event(own))
                counts.append(own)
                earliest.append(rows["row"][first])
        starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        events = Events(self._users, starts, items.mapped(), times.mapped(), splits.mapped())
        chosen = np.concatenate([*earliest, [0, self._times.low[1], self._times.high[1]]])
        table = self._table(np.unique(chosen.astype(np.int64)), copies)
        return _Prepared(events, table, 1.0 - distinct / len(events.items))

    def _fill_buckets(self) -> list[Path]:
        """Write the rows to the buckets of their users, in the order of the file."""
        pieces = range(0, self._rows, _PIECE)
        for start in _with_progress(pieces, "interactions", len(pieces)):
            rows = self._numbers(self._piece(start), start)
            rows = rows[np.argsort(rows["user"] // _USERS, kind="stable")]
            numbers, first = np.unique(rows["user"] // _USERS, return_index=True)
            for number, own in zip(numbers.tolist(), np.split(rows, first[1:]), strict=True):
                # One open file at a time: a process may not have thousands.
                with self._bucket(number).open("ab") as file:
                    own.tofile(file)
        return [self._bucket(number) for number in range(-(-len(self._users) // _USERS))]

    def _bucket(self, number: int) -> Path:
        return self._folder / f"bucket-{number}"

    def _piece(self, start: int) -> Table:
        """Some rows as text.

        Raises:
            _NotPlainError: something is to be said of them.
        """
        with any_time_zone():
            frame = pl.scan_parquet(self._path).slice(start, _PIECE).collect()
        raw = frame_columns(self._path, frame)
        rows, lines, notes = table_columns(self._path, raw)
        if notes or rows.height < frame.height:
            raise _NotPlainError
        return Table(self._path, rows, lines=lines + start)

    def _numbers(self, table: Table, start: int) -> npt.NDArray[np.void]:
        """Checked rows as numbers of users and items, and seconds."""
        table.require_columns("user_id", "item_id", "timestamp")
        require_values(table, "user_id", "item_id")
        require_known(table, "item_id", self._items, "items")
        times = read_times(table)
        if not self._times.add(times, start):
            raise _NotPlainError
        rows = np.empty(table.rows.height, dtype=_ROW)
        rows["user"] = self._numbered(table.rows["user_id"])
        rows["item"] = numbers_of(table.rows["item_id"], self._items)
        rows["time"] = times.seconds.to_numpy()
        rows["row"] = np.arange(start, start + len(rows))
        return rows

    def _numbered(self, users: pl.Series) -> Ints:
        """The number of each user, in the order in which they first come."""
        numbers = numbers_of(users, self._users)
        missing = numbers < 0
        if missing.any():
            others = users.filter(pl.Series(missing))
            new = others.unique(maintain_order=True)
            numbers = np.where(missing, 0, numbers)
            numbers[missing] = numbers_of(others, new) + len(self._users)
            self._users = pl.concat([self._users, new.rename("user_id")])
        return numbers

    def _table(self, chosen: Ints, copies: "_Copies") -> Table:
        """Some rows of the file as text, with a note on the copies that were left out."""
        parts, lines = [], chosen + 1
        for start in range(0, self._rows, _PIECE):
            own = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + _PIECE)]
            if len(own):
                parts.append(self._piece(start).rows[own - start])
        rows = pl.concat(parts)
        notes: tuple[Note, ...] = ()
        if copies.count:
            user, item = self._piece(copies.row).rows.select("user_id", "item_id").row(0)
            place = Table(self._path, rows).place(0).rsplit(" ", 1)[0]
            problem = f"user '{user}' has item '{item}' at the same time in a row above: one event"
            remedy = "remove the rows that stand twice"
            notes = (Note(copies.count, f"{place} {copies.row + 1}", problem, remedy),)
        return Table(self._path, rows, lines=pl.Series(lines, dtype=pl.UInt32), notes=notes)


@dataclass(slots=True)
class _Copies:
    """Rows that say of a user, an item and a time what a row above says.

    Attributes:
        count: how many.
        row: the number of the first.
    """

    count: int = 0
    row: int = 2**32

    def removed(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The rows of a bucket without copies, by user and time, then in the order of the file."""
        rows = rows[np.lexsort((rows["time"], rows["user"]))]
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


def _last_event(counts: Ints) -> npt.NDArray[np.int8]:
    """The numbers of the splits of users' events; see `twofold.tasks.split`.

    Args:
        counts: the events of each user.
    """
    ends = np.cumsum(counts)
    splits = np.zeros(int(ends[-1]), dtype=np.int8)
    tested = ends[counts >= 3]
    splits[tested - 1], splits[tested - 2] = SPLITS.index("test"), SPLITS.index("validation")
    return splits


class _Writer:
    """Writes one array of numbers piece by piece, as a file of NumPy.

    Args:
        folder: where.
        name: the name of the file.
        dtype: the type of the numbers.
    """

    def __init__(self, folder: Path, name: str, dtype: str) -> None:
        self._path, self._dtype, self._count = folder / f"{name}.npy", np.dtype(dtype), 0

    def __enter__(self) -> "_Writer":
        self._file = self._path.open("wb")
        self._header()
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(self._file, described)

    def write(self, numbers: npt.NDArray[np.generic]) -> None:
        """Append numbers."""
        numbers.astype(self._dtype).tofile(self._file)
        self._count += len(numbers)

    def mapped(self) -> Any:
        """The array, mapped into memory."""
        return np.load(self._path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


class _Folder:
    """A temporary folder, which is removed with what uses it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="twofold-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class StreamedTables:
    """Tables of which the interactions are arrays in a folder of their own; see `Tables`."""

    catalog: Catalog
    events: Events
    queries: pl.DataFrame
    qrels: pl.DataFrame
    folder: "_Folder"

    @cached_property
    def interactions(self) -> pl.DataFrame:
        """See `Tables`."""
        return pl.concat(self.interaction_parts())

    def interaction_parts(self) -> Iterator[pl.DataFrame]:
        """See `Tables`."""
        users, items = self.events.users, self.catalog.items["item_id"]
        for frame in self.events.frames():
            for start in range(0, frame.height, _PIECE):
                piece = frame.slice(start, _PIECE)
                yield piece.with_columns(
                    user_id=users.gather(piece["user_id"]), item_id=items.gather(piece["item_id"])
                )

    @property
    def query_names(self) -> pl.LazyFrame:
        """See `Tables`."""
        return self.queries.lazy().select("query_id", "user_id")

    @cached_property
    def columns(self) -> Columns:
        """See `Tables`."""
        return Columns.of(self.events, self.queries, self.qrels, self.catalog)

    def digest(self, _protocol: SplitProtocol) -> None:
        """See `Tables`."""


def _with_progress(steps: Iterable[T], what: str, size: int) -> Iterator[T]:
    """The steps; now and then a line of the log says how far they are, and the time left."""
    start = last = time.monotonic()
    for done, step in enumerate(steps):
        now = time.monotonic()
        if done and now - last > _PER_LINE:
            last = now
            left = (now - start) / done * (size - done)
            _log.info("%s: %d of %d pieces, %.0f s left", what, done, size, left)
        yield step
