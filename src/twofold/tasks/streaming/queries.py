"""The queries and judgments of large tables, converted to numbers, with texts in pieces on disk.

Memory has no text, but 16 bytes of hashes for each id and each text, which assign judgments to
queries and find equal texts. The judgments of consecutive queries are written to one bucket on disk
before they are sorted. The result equals that of `twofold.tasks.split` for the whole tables.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.checks import require_same_fractions
from twofold.data.dataset import Note
from twofold.data.formats import Table
from twofold.data.qrels import read_judgments
from twofold.data.times import TimesInParts, read_times
from twofold.data.validation import (
    EARLY,
    STRANGER,
    UNTIMED,
    history_note,
    read_queries,
    unjudged_note,
)
from twofold.data.words import query_key
from twofold.records import Ints
from twofold.tasks.arrays import TRAIN, JudgedQueries, Texts, split_numbers, times_of
from twofold.tasks.cutoff import untimed_note
from twofold.tasks.split import hash_split, split_by_cutoff
from twofold.tasks.streaming import files
from twofold.tasks.streaming.events import StreamedEvents
from twofold.tasks.streaming.files import (
    ArrayFile,
    NotStreamableError,
    append_by,
    with_progress,
)
from twofold.tasks.streaming.numbering import DifferentTexts, Digests
from twofold.tasks.streaming.pieces import Pieces

BYTES = 300
"""The bytes of temporary files for each query with its judgments."""
_QUERY_BITS = 20
"""A bucket has the judgments of 2 to the power of this many queries."""
Bools = npt.NDArray[np.bool_]

_JUDGMENT = np.dtype([("query", "u4"), ("item", "u4"), ("relevance", "i4")])


class StreamedQueries:
    """The queries and judgments of two tables.

    Args:
        queries, qrels: the tables.
        items: all item ids, which are unique.
        events: the interactions, with the numbers of the users.
        folder: the folder of the pieces and arrays.

    Attributes:
        judged: the queries with a relevant item, mapped from files.
        queries, qrels: the tables, with the columns of a prepared dataset.
        notes: notes on queries without a history, and on queries without a relevant item.

    Raises:
        NotStreamableError: a row needs another note.
        InputError: a column is missing, or a value is wrong.
    """

    def __init__(
        self,
        queries: Pieces,
        qrels: Pieces,
        items: pl.Series,
        events: StreamedEvents,
        folder: Path,
    ) -> None:
        self._pieces, self._judgments, self._folder = queries, qrels, folder
        self._items, self._events = pl.Enum(items), events
        self.times, self._histories = TimesInParts(), _Histories(events)
        self._given: set[bool] = set()
        self._users = ArrayFile(folder, "query_users", "<i4")
        self._seconds = ArrayFile(folder, "query_times", "<f8")
        self._splits = ArrayFile(folder, "query_splits", "|i1")
        texts = self._read_queries()
        counts = self._read_judgments()
        self.judged = self._arrays(texts, counts)
        self.notes = [*self._histories.notes(self._pieces), *self._unjudged(counts)]
        self.queries, self.qrels = (
            pl.scan_parquet(sorted(folder.glob(f"{name}-*.parquet")), glob=False)
            for name in ("queries", "qrels")
        )

    def tables(self) -> tuple[Table, Table]:
        """Some rows of both tables as text, which show the columns and the form of the times."""
        ends = [0] if self.times.first is None else [0, self.times.low[1], self.times.high[1]]
        queries = self._pieces.at(np.unique(ends))
        if "user_id" in queries.rows.columns:  # `notes` has the notes on the users of all rows
            rows = queries.rows.with_columns(user_id=pl.lit(None, pl.String))
            queries = queries.with_rows(rows)
        judgment = self._judgments.at(np.array([0]))
        rows = judgment.rows.drop("query_id").join(queries.rows.select("query_id"), how="cross")
        return queries, Table(judgment.path, rows.select(judgment.rows.columns))

    def split(self, cutoff: float | None) -> list[Note]:
        """Split the queries by time, unless their splits are given; return all notes on them.

        Raises:
            NotStreamableError: a training query lies after the cutoff.
        """
        if cutoff is None:
            return self.notes
        times = self.judged.times
        if True in self._given:
            if (times[self.judged.splits == TRAIN] >= cutoff).any():
                raise NotStreamableError("queries: one with the split train is after the cutoff")
            return self.notes
        if self.times.first is None:
            first = self.queries.select("query_id").head(1).collect().item()
            return [*self.notes, untimed_note(len(times), first, every=True)]
        split = split_by_cutoff(pl.Series(times), cutoff)
        parts = pl.DataFrame({"timestamp": times}).iter_slices(files.PIECE)
        splits = [split_numbers(part.select(split).to_series()) for part in parts]
        self.judged = replace(self.judged, splits=np.concatenate(splits))
        self.queries = self.queries.with_columns(split=split)
        return self.notes

    def _read_queries(self) -> Digests:
        """Write the queries in pieces, and their users, times and splits; return text hashes."""
        ids, texts, keys = [], [], []
        for start, table in self._pieces.each("queries"):
            rows = self._checked(table, start)
            keys_of = [query_key(text) for text in rows["text"]]
            rows = rows.with_columns(key=pl.Series(keys_of, dtype=pl.String))
            if rows["split"].null_count():
                split = pl.Series(map(hash_split, keys_of), dtype=pl.String)
                rows = rows.with_columns(split=split)
            users = self._histories.add(rows, start)
            self._users.write(users)
            self._seconds.write(times_of(rows["timestamp"]))
            self._splits.write(split_numbers(rows["split"]))
            ids.append(Digests.of(rows["query_id"]))
            texts.append(Digests.of(rows["text"]))
            if True in self._given:
                keys.append(Digests.of(rows["key"]))
            rows.write_parquet(self._piece("queries", start))
        self._ids = DifferentTexts(Digests.joined(ids))
        if keys:
            self._require_one_split(Digests.joined(keys))
        return Digests.joined(texts)

    def _checked(self, table: Table, start: int) -> pl.DataFrame:
        """The rows of a piece, with the columns of `QUERIES`."""
        times = read_times(table)
        if "timestamp" in table.rows.columns and not self.times.add(times, start):
            raise NotStreamableError("queries: a timestamp needs a note, or has another form")
        rows, notes = read_queries(table, times)
        without_split = rows["split"].null_count()
        self._given |= {without_split < rows.height, without_split == 0}
        if len(self._given) > 1:
            raise NotStreamableError("queries: some name a split, and others do not")
        # A note on a column that is not read does not depend on the rows.
        if rows.height < table.rows.height or any(note.unit != "column" for note in notes):
            raise NotStreamableError("queries: a row needs a note")
        return rows

    def _require_one_split(self, keys: Digests) -> None:
        """Raise NotStreamableError if queries with one normalised text have different splits."""
        splits = self._splits.mapped()
        if (splits != splits[keys.first_equal()]).any():
            raise NotStreamableError("queries: equal texts name several splits")

    def _read_judgments(self) -> Ints:
        """Write the judgments by query; return the number of each query's judgments."""
        for start, table in self._judgments.each("judgments"):
            rows = read_judgments(table)
            items = rows["item_id"].cast(self._items, strict=False).to_physical()
            if items.null_count() or (rows["relevance"] <= 0).any():
                raise NotStreamableError("qrels: an item is not in items, or is not relevant")
            judged = np.empty(rows.height, dtype=_JUDGMENT)
            judged["query"] = self._ids.find(rows["query_id"])
            judged["item"], judged["relevance"] = items.to_numpy(), rows["relevance"].to_numpy()
            rows.drop("row").write_parquet(self._piece("qrels", start))
            append_by(judged, judged["query"] >> _QUERY_BITS, self._bucket)
        del self._ids
        self._relevant = ArrayFile(self._folder, "answer_items", "<i4")
        self._grades = ArrayFile(self._folder, "answer_grades", "<i4")
        starts = range(0, self._pieces.rows, 1 << _QUERY_BITS)
        counts = [
            self._sorted(start)
            for start in with_progress(starts, "relevant items by query", len(starts))
        ]
        return np.concatenate(counts)[: self._pieces.rows]

    def _sorted(self, start: int) -> Ints:
        """Write the relevant items of a bucket's queries; return their number for each query."""
        bucket = self._bucket(start >> _QUERY_BITS)
        rows = np.fromfile(bucket, dtype=_JUDGMENT) if bucket.exists() else np.zeros(0, _JUDGMENT)
        bucket.unlink(missing_ok=True)
        rows = rows[np.argsort(rows["query"], kind="stable")]
        pairs = np.sort(rows["query"].astype(np.int64) << 32 | rows["item"])
        if (pairs[1:] == pairs[:-1]).any():
            raise NotStreamableError("qrels: an item is judged twice for a query")
        self._relevant.write(rows["item"])
        self._grades.write(rows["relevance"])
        return np.bincount(rows["query"] - np.uint32(start), minlength=1 << _QUERY_BITS)

    def _arrays(self, texts: Digests, counts: Ints) -> JudgedQueries:
        """The queries with a relevant item, and these items; other queries are left out."""
        judged = counts > 0
        users, times, splits = (
            file.mapped() for file in (self._users, self._seconds, self._splits)
        )
        if not judged.any():
            raise NotStreamableError("queries: none has a relevant item")
        if not judged.all():
            users, times, splits = users[judged], times[judged], splits[judged]
            texts = Digests(texts.hashes[judged], texts.others[judged])
        first = texts.first_equal()
        is_first = first == np.arange(len(first))
        text_of = ArrayFile(self._folder, "query_texts", "<i4")
        text_of.write((np.cumsum(is_first) - 1)[first])
        return JudgedQueries(
            texts=self._texts(judged, is_first),
            text_of=text_of.mapped(),
            users=users,
            times=times,
            splits=splits,
            starts=np.concatenate([[0], np.cumsum(counts[judged])]),
            items=self._relevant.mapped(),
            relevances=self._grades.mapped(),
        )

    def _texts(self, judged: Bools, is_first: Bools) -> Texts:
        """The unique texts; queries without a relevant item are also removed from the pieces."""
        letters = ArrayFile(self._folder, "text_letters", "|u1")
        sizes = ArrayFile(self._folder, "text_sizes", "<i4")
        done = 0
        starts = self._pieces.starts
        for start, end in with_progress(pairwise(starts), "texts of queries", len(starts) - 1):
            path, kept = self._piece("queries", start), judged[start:end]
            if not kept.all():
                pl.read_parquet(path, glob=False).filter(pl.Series(kept)).write_parquet(path)
            rows = pl.read_parquet(path, columns=["text"], glob=False)["text"]
            new = rows.filter(pl.Series(is_first[done : done + len(rows)]))
            done += len(rows)
            letters.write(np.frombuffer("".join(new).encode(), dtype=np.uint8))
            sizes.write(new.str.len_bytes().to_numpy())
        return Texts(letters.mapped(), np.cumsum(sizes.mapped(), dtype=np.int64))

    def _unjudged(self, counts: Ints) -> list[Note]:
        """The note on queries without a relevant item."""
        rows = np.flatnonzero(counts == 0)
        if not len(rows):
            return []
        query_id = self._pieces.at(rows[:1]).rows["query_id"][0]
        return [unjudged_note(len(rows), self._pieces.place(int(rows[0])), query_id)]

    def _piece(self, name: str, start: int) -> Path:
        return self._folder / f"{name}-{start:010}.parquet"

    def _bucket(self, number: int) -> Path:
        return self._folder / f"judgments-{number}"


class _Histories:
    """The users of queries, and the queries without a history.

    Args:
        events: the interactions.
    """

    def __init__(self, events: StreamedEvents) -> None:
        self._events = events
        self._all_early = True
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, queries: pl.DataFrame, start: int) -> Ints:
        """The number of each query's user, or -1; `start` is the number of the first row."""
        users = self._events.users.find(queries["user_id"])
        named = queries["user_id"].is_not_null().to_numpy()
        stranger = named & (users < 0)
        if stranger.any():
            table = Table(Path(), queries)
            user_ids = self._events.users.texts
            require_same_fractions(table, "user_id", user_ids, "interactions")
        times = times_of(queries["timestamp"])
        untimed = (users >= 0) & np.isnan(times)
        timed = (users >= 0) & ~untimed
        self._all_early &= bool((times[timed] <= self._events.begins[users[timed]]).all())
        for reason, chosen in ((STRANGER, stranger), (UNTIMED, untimed), (EARLY, timed)):
            if chosen.any():
                count, first = self._counted.get(reason, (0, start + int(chosen.argmax())))
                self._counted[reason] = count + int(chosen.sum()), first
        return users

    def notes(self, pieces: Pieces) -> list[Note]:
        """The notes on queries without a history."""
        notes = []
        for reason in (STRANGER, UNTIMED, EARLY):
            if reason in self._counted and (reason != EARLY or self._all_early):
                count, row = self._counted[reason]
                query, user = pieces.at(np.array([row])).rows.select("query_id", "user_id").row(0)
                notes.append(history_note(reason, count, pieces.place(row), query, user))
        return notes
