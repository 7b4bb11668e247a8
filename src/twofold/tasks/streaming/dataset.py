"""A folder of large tables, prepared piece by piece.

Copies, queries without a history and queries without a relevant item are counted on the way. If any
other problem of a row must be reported, the tables are read whole, since the report has places and
counts that need the whole table.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from twofold.data.dataset import Catalog
from twofold.data.formats import read_table
from twofold.data.layouts import four_tables
from twofold.data.layouts.registry import LAYOUTS
from twofold.data.sources import read_source
from twofold.records import InputError
from twofold.tasks.arrays import Columns, Events, JudgedQueries
from twofold.tasks.prepared import PreparedDataset, SplitProtocol, TableName
from twofold.tasks.split import REPEATS_ALLOWED, split_dataset
from twofold.tasks.streaming import events, files, queries
from twofold.tasks.streaming.events import StreamedEvents
from twofold.tasks.streaming.files import NotStreamableError, TemporaryFolder
from twofold.tasks.streaming.pieces import Pieces, pieces_of
from twofold.tasks.streaming.queries import StreamedQueries
from twofold.tasks.training_data import columns_of

LARGE, LARGE_QUERIES = 2_000_000, 200_000
"""The smallest numbers of interactions, and of queries, that are streamed."""

_log = logging.getLogger(__name__)


def stream_dataset(source: Path, skip_unknown: bool) -> PreparedDataset | None:
    """The dataset of a folder whose interactions are a large table; None for any other source.

    Args:
        source: the folder.
        skip_unknown: see `load_dataset`; a streamed dataset has no unknown ids.

    Raises:
        InputError: the disk has too little space for temporary files.
    """
    large = _large_tables(source)
    if large is None:
        return None
    needed = large["interactions"].rows * events.BYTES
    needed += large["queries"].rows * queries.BYTES if "queries" in large else 0
    folder = TemporaryFolder(needed)
    try:
        return _streamed(source, skip_unknown, folder, large)
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
    source: Path, skip_unknown: bool, folder: TemporaryFolder, large: Mapping[str, Pieces]
) -> PreparedDataset:
    """The dataset of a folder; tables that are not in `large` are read whole.

    Raises:
        NotStreamableError: a table has to be read whole.
        InputError: the data are invalid.
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
    seen = "exclude" if made.repeat_share < REPEATS_ALLOWED else "keep"
    split = split_dataset(read_source(source, skip_unknown, given), str(source))
    protocol = SplitProtocol(seen=seen)  # type: ignore[arg-type]
    catalog = split.catalog
    if searches is None:
        judged = JudgedQueries.of(split.queries, split.qrels, catalog, made.events.users)
        frames: dict[TableName, pl.LazyFrame] = {
            "queries": split.queries.lazy(),
            "qrels": split.qrels.lazy(),
        }
    else:
        judged = searches.judged
        frames = {"queries": searches.queries, "qrels": searches.qrels}
    tables = StreamedTables(catalog, made.events, judged, frames, folder)
    notes = (*split.notes, *(searches.notes if searches else ()))
    return replace(split, tables=tables, protocol=protocol, notes=notes)


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
        users, items = self.events.users, self.catalog.items["item_id"]
        for frame in self.events.frames():
            for start in range(0, frame.height, files.PIECE):
                piece = frame.slice(start, files.PIECE)
                yield piece.with_columns(
                    user_id=users.gather(piece["user_id"]), item_id=items.gather(piece["item_id"])
                )

    @cached_property
    def columns(self) -> Columns:
        """See `Tables`."""
        return columns_of(self.events, self.judged)

    def digest(self, _protocol: SplitProtocol) -> None:
        """See `Tables`."""
