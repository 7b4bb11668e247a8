"""A folder of large tables, prepared piece by piece.

Copies, events that a cutoff leaves unused, and queries without a history, a relevant item or a time
are counted on the way. If any other problem of a row must be reported, the tables are read whole,
since the report has places and counts that need the whole table.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import polars as pl

from twofold.data.dataset import Catalog, Dataset, Note
from twofold.data.formats import read_table
from twofold.data.layouts import four_tables
from twofold.data.layouts.registry import LAYOUTS
from twofold.data.sources import read_source
from twofold.records import InputError
from twofold.tasks.arrays import Columns, Events, JudgedQueries
from twofold.tasks.cutoff import CutoffError, unused_events
from twofold.tasks.prepared import PreparedDataset, SplitProtocol, TableName
from twofold.tasks.split import resolve_protocol, split_queries
from twofold.tasks.streaming import events, files, queries
from twofold.tasks.streaming.events import StreamedEvents
from twofold.tasks.streaming.files import NotStreamableError, TemporaryFolder
from twofold.tasks.streaming.pieces import Pieces, pieces_of
from twofold.tasks.streaming.queries import StreamedQueries
from twofold.tasks.training_data import columns_of

LARGE, LARGE_QUERIES = 2_000_000, 200_000
"""The smallest numbers of interactions, and of queries, that are streamed."""

_log = logging.getLogger(__name__)


def stream_dataset(
    source: Path,
    split: Literal["last", "temporal"],
    cutoff: float | str | None,
    skip_unknown: bool,
) -> PreparedDataset | None:
    """The dataset of a folder whose interactions are a large table; None for any other source.

    Args:
        source: the folder.
        split, cutoff: see `load_dataset`.
        skip_unknown: see `load_dataset`; a streamed dataset has no unknown ids.

    Raises:
        InputError: the disk has too little space for temporary files.
        CutoffError: see `twofold.tasks.split.resolve_protocol`.
    """
    large = _large_tables(source)
    if large is None:
        return None
    needed = large["interactions"].rows * events.BYTES
    needed += large["queries"].rows * queries.BYTES if "queries" in large else 0
    folder = TemporaryFolder(needed)
    try:
        return _streamed(source, large, folder, split, cutoff, skip_unknown)
    except CutoffError:
        raise  # all rows have been checked, so reading them whole ends with the same error
    except (NotStreamableError, InputError, OSError, pl.exceptions.PolarsError) as error:
        # Reading the whole tables reports any problem with the right counts. There may be none: the
        # few rows that were validated may look wrong without the others.
        _log.info("%s: the tables are read whole (%s)", source, error)
        return None


def _large_tables(source: Path) -> dict[str, Pieces] | None:
    """The interactions, if they are many and in a format that is read in pieces, and the queries
    and judgments, if they are too; None without such interactions."""
    if not source.is_dir() or any(layout.recognises(source) for layout in LAYOUTS):
        return None
    try:
        present = four_tables.present(source)
        if "items" not in present or "interactions" not in present:
            return None
        paths = {name: path for name, path in present.items() if name != "items"}
        large = {name: made for name, path in paths.items() if (made := pieces_of(path))}
    except (InputError, OSError, pl.exceptions.PolarsError):
        return None
    rows = {name: pieces.rows for name, pieces in large.items()}
    if not LARGE <= rows.get("interactions", -1) < 2**32:
        return None
    if not LARGE_QUERIES <= rows.get("queries", -1) < 2**31 or not rows.get("qrels"):
        large.pop("queries", None)
    return large


def _streamed(
    source: Path,
    large: Mapping[str, Pieces],
    folder: TemporaryFolder,
    split: Literal["last", "temporal"],
    cutoff: float | str | None,
    skip_unknown: bool,
) -> PreparedDataset:
    """The dataset of a folder; tables that are not in `large` are read whole.

    Raises:
        NotStreamableError: a table has to be read whole.
        InputError: the data are invalid.
        CutoffError: the data are valid, but the cutoff cannot split them.
    """
    paths = four_tables.present(source)
    items = read_table(paths["items"]).rows["item_id"]
    if items.null_count() or items.is_duplicated().any():
        raise NotStreamableError("items: an item_id is missing, or occurs twice")
    made = StreamedEvents(large["interactions"], items, folder.path)
    given = {"interactions": made.table(every_user="queries" not in large)}
    searches: StreamedQueries | None = None
    if "queries" in large:
        searches = StreamedQueries(large["queries"], large["qrels"], items, made, folder.path)
        if not made.times.alike(searches.times):
            raise NotStreamableError("the timestamps of interactions and queries differ in form")
        given["queries"], given["qrels"] = searches.tables()
    dataset = read_source(source, skip_unknown, given)
    begins = pl.Series(made.begins)
    protocol = resolve_protocol(dataset, split, cutoff, begins, made.repeat_share)
    notes, judged, frames = _split_queries(dataset, protocol, made, searches)
    cut = made.split(protocol.cutoff)
    tables = StreamedTables(dataset.catalog, cut, judged, frames, folder)
    if protocol.cutoff is not None:
        notes = [*unused_events(tables.user_parts(), protocol.cutoff), *notes]
    notes = [*dataset.notes, *notes]
    return PreparedDataset(
        dataset.catalog, tables, protocol, str(source), tuple(notes), dataset.left_out
    )


def _split_queries(
    dataset: Dataset,
    protocol: SplitProtocol,
    interactions: StreamedEvents,
    searches: StreamedQueries | None,
) -> tuple[list[Note], JudgedQueries, Mapping[TableName, pl.LazyFrame]]:
    """Split the queries. Return the notes on them, their arrays, and the tables queries and qrels.

    Args:
        dataset: the dataset; without `searches`, with all its queries.
        protocol: how it is split.
        interactions: the interactions, with the numbers of the users.
        searches: the queries, if their tables are large.
    """
    if searches is not None:
        notes = searches.split(protocol.cutoff)
        return notes, searches.judged, {"queries": searches.queries, "qrels": searches.qrels}
    queries, notes = split_queries(dataset, protocol)
    users = interactions.users.texts
    judged = JudgedQueries.of(queries, dataset.qrels, dataset.catalog, users)
    return notes, judged, {"queries": queries.lazy(), "qrels": dataset.qrels.lazy()}


@dataclass(frozen=True)
class StreamedTables:
    """Tables, the large ones of which are in a temporary folder; see `Tables`."""

    catalog: Catalog
    events: Events
    judged: JudgedQueries
    frames: Mapping[TableName, pl.LazyFrame]
    folder: TemporaryFolder

    @cached_property
    def interactions(self) -> pl.DataFrame:
        """See `Tables`."""
        return pl.concat(self.interaction_parts())

    @cached_property
    def queries(self) -> pl.DataFrame:
        """See `Tables`."""
        return self.frames["queries"].collect()

    @cached_property
    def qrels(self) -> pl.DataFrame:
        """See `Tables`."""
        return self.frames["qrels"].collect()

    def scan(self, name: TableName) -> pl.LazyFrame:
        """See `Tables`."""
        return self.frames[name]

    def interaction_parts(self) -> Iterator[pl.DataFrame]:
        """See `Tables`."""
        for frame in self.user_parts():
            yield from frame.iter_slices(files.PIECE)

    def user_parts(self) -> Iterator[pl.DataFrame]:
        """The table interactions in pieces, each with all events of some users."""
        users, items = self.events.users, self.catalog.items["item_id"]
        for frame in self.events.frames():
            yield frame.with_columns(
                user_id=users.gather(frame["user_id"]), item_id=items.gather(frame["item_id"])
            )

    @cached_property
    def columns(self) -> Columns:
        """See `Tables`."""
        return columns_of(self.events, self.judged)

    def digest(self, _protocol: SplitProtocol) -> None:
        """See `Tables`."""
