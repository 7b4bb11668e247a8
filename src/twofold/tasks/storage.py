"""Prepared datasets on disk: any source is loaded, a prepared one is saved as an artifact."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pydantic

from twofold import artifact
from twofold.data.dataset import LEFT_OUT_FILE, Catalog, Note
from twofold.records import InputError
from twofold.tasks.arrays import Columns, Events, Histories, JudgedQueries, Texts
from twofold.tasks.prepared import (
    PreparedDataset,
    SplitProtocol,
    TableName,
    in_parts,
    write_parts,
)
from twofold.training_examples import Examples

KIND = "dataset"

_REPORT = "data_report.json"
_COLUMNS = "columns"
"""The folder of the arrays within a prepared folder."""
_EMPTY = 128
"""The size in bytes of the file of an empty array."""


def load_dataset(
    source: str | Path | Mapping[str, Any],
    split: Literal["last", "temporal"] = "last",
    cutoff: float | str | None = None,
    skip_unknown: bool = False,
) -> PreparedDataset:
    """Load a prepared folder, or read, validate and split any other source.

    Args:
        source: a prepared folder, a folder of tables, a published dataset's folder or name,
            `simulate:NAME`, or the tables themselves: a mapping from items, interactions, queries
            and qrels to frames of pandas, polars or Arrow.
        split: how to split a source that is not prepared yet.
        cutoff: the time from which events are test, for `split="temporal"`, in any form that a
            timestamp may have.
        skip_unknown: leave out rows with an unknown item or query, instead of an error.

    Raises:
        InputError: the source cannot be read; the message has file, line, value and remedy.

    Example:
        import polars as pl
        import twofold

        dataset = twofold.load_dataset("my-folder")

        events = pl.DataFrame({"user_id": ["a", "a", "a"], "item_id": ["x", "y", "z"]})
        dataset = twofold.load_dataset({"interactions": events})
    """
    _require_source(source)
    if split not in ("last", "temporal"):
        raise InputError(f"--split {split!r}: choose last or temporal")
    if (split == "temporal") != (cutoff is not None):
        raise InputError("--split temporal needs --cutoff TIME, and only it takes one")
    if not isinstance(source, Mapping) and str(source).startswith("~"):
        source = artifact.at_home(source)
    folder = None if isinstance(source, Mapping) else Path(source)
    if folder is not None and artifact.is_complete(folder):
        prepared = _load(folder)
        if cutoff is not None:
            _require_same_cutoff(prepared, cutoff, folder)
        return prepared
    if folder is not None and (folder / _REPORT).is_file():
        raise InputError(
            f"{folder}: has a data report but no {artifact.MANIFEST}, so it is an incomplete copy "
            f"of a prepared dataset; copy the whole folder, or prepare its source again"
        )
    # Imported here, since most commands work on a prepared folder.
    from twofold.data.sources import read_source
    from twofold.tasks.split import split_dataset
    from twofold.tasks.streaming.dataset import stream_dataset

    if folder is not None:
        streamed = stream_dataset(folder, split, cutoff, skip_unknown)
        if streamed is not None:
            return streamed
    name = "frames" if folder is None else str(source)
    return split_dataset(read_source(source, skip_unknown), name, split, cutoff)


def _require_source(source: object) -> None:
    """Raise InputError if `source` has another type than `load_dataset` reads, or is empty."""
    if isinstance(source, str | Path | Mapping) and source != "":
        return
    when = " when it is empty" if isinstance(source, str) else ""
    raise InputError(
        f"source: {type(source).__name__} is no source{when}; give a folder, a name that twofold "
        f'sources lists, or tables, such as {{"interactions": frame}}'
    )


def save_dataset(
    dataset: PreparedDataset, out: Path, more: Mapping[str, Any] | None = None
) -> None:
    """Write the tables as Parquet, with the data report and a manifest.

    Args:
        dataset: the dataset.
        out: the folder.
        more: further entries of the data report.
    """
    # Imported here, since a prepared folder that is read has its report already.
    from twofold.tasks.report import data_report
    from twofold.tasks.report_text import report_text

    config = {"source": dataset.source, "protocol": dataclasses.asdict(dataset.protocol)}
    with artifact.write(out, KIND, config) as folder:
        dataset.catalog.items.write_parquet(folder / "items.parquet")
        write_parts(dataset.tables.interaction_parts(), folder / "interactions.parquet")
        for name in get_args(TableName):
            write_parts(in_parts(dataset.tables.scan(name)), folder / f"{name}.parquet")
        _save_columns(dataset.columns, folder / _COLUMNS)
        artifact.write_json(
            folder / "notes.json", [dataclasses.asdict(note) for note in dataset.notes]
        )
        if dataset.left_out.height:
            dataset.left_out.write_ndjson(folder / LEFT_OUT_FILE)
        report = {**data_report(dataset), **(more or {})}
        artifact.write_json(folder / _REPORT, report)
        (folder / "data_report.md").write_text(report_text(report), encoding="utf-8")


def _require_same_cutoff(prepared: PreparedDataset, cutoff: float | str, folder: Path) -> None:
    """Raise InputError if a prepared dataset is split by another cutoff, or by none."""
    from twofold.data.reading.time_values import readable
    from twofold.tasks.cutoff import read_cutoff

    current = prepared.protocol.cutoff
    if current is not None:
        events = pl.concat(part["timestamp"] for part in prepared.tables.interaction_parts())
        if read_cutoff(cutoff, events, prepared.queries["timestamp"]) == current:
            return
    by = "each user's last event" if current is None else f"the cutoff {readable(current)}"
    raise InputError(
        f"--cutoff {cutoff}: {folder} is a prepared dataset that is split by {by}; prepare its "
        f"source with this cutoff, into another folder"
    )


class _Config(pydantic.BaseModel):
    """The part of a prepared folder's manifest that loading reads."""

    source: str
    protocol: SplitProtocol


def _load(folder: Path) -> PreparedDataset:
    config = artifact.load_config(folder, KIND, _Config)
    return PreparedDataset(
        catalog=Catalog.of(pl.read_parquet(folder / "items.parquet", glob=False)),
        tables=StoredTables(folder.absolute()),
        protocol=config.protocol,
        source=config.source,
        notes=tuple(Note(**note) for note in artifact.read_json(folder / "notes.json")),
    )


@dataclass(frozen=True)
class StoredTables:
    """The tables of a prepared folder, read on first use; see `Tables`."""

    folder: Path

    @cached_property
    def interactions(self) -> pl.DataFrame:
        """See `Tables`."""
        return pl.read_parquet(self.folder / "interactions.parquet", glob=False)

    @cached_property
    def queries(self) -> pl.DataFrame:
        """See `Tables`."""
        return pl.read_parquet(self.folder / "queries.parquet", glob=False)

    @cached_property
    def qrels(self) -> pl.DataFrame:
        """See `Tables`."""
        return pl.read_parquet(self.folder / "qrels.parquet", glob=False)

    def interaction_parts(self) -> Iterator[pl.DataFrame]:
        """See `Tables`."""
        return in_parts(self.interactions.lazy())

    def scan(self, name: TableName) -> pl.LazyFrame:
        """See `Tables`."""
        return pl.scan_parquet(self.folder / f"{name}.parquet", glob=False)

    @cached_property
    def columns(self) -> Columns:
        """The arrays, mapped into memory."""
        return _load_columns(self.folder / _COLUMNS)

    def digest(self, protocol: SplitProtocol) -> str | None:
        """The digest in the data report; None if the protocol has changed since."""
        saved = artifact.read_json(self.folder / artifact.MANIFEST)["config"]["protocol"]
        if SplitProtocol(**saved) != protocol:
            return None
        digest: str = artifact.read_json(self.folder / _REPORT)["digest"]
        return digest

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the tables that were read."""
        return {"folder": self.folder}


def _save_columns(columns: Columns, folder: Path) -> None:
    """Write the arrays as NumPy files, which can be memory-mapped."""
    folder.mkdir()
    pl.DataFrame({"user_id": columns.events.users}).write_parquet(folder / "users.parquet")
    for name, array in _arrays(columns).items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _arrays(columns: Columns) -> dict[str, npt.NDArray[Any]]:
    """Every array by the name of its file; positions and numbers take four bytes."""
    events, trained, queries = columns.events, columns.trained, columns.queries
    searches, texts = columns.searches, Texts.of(queries.texts)
    own_items = {} if trained.positions is events.items else {"trained_items": trained.positions}
    small = {
        "event_items": events.items,
        **own_items,
        "trained_users": columns.trained_users,
        "query_texts": queries.text_of,
        "query_users": queries.users,
        "answer_items": queries.items,
        "answer_grades": queries.relevances,
        "search_targets": searches.targets,
        "search_queries": searches.query_of,
    }
    return {name: np.asarray(array, dtype=np.int32) for name, array in small.items()} | {
        "text_letters": texts.letters,
        "text_ends": texts.ends,
        "user_starts": events.starts,
        "event_times": events.times,
        "event_splits": events.splits,
        "trained_begins": trained.begins,
        "trained_ends": trained.ends,
        "query_times": queries.times,
        "query_splits": queries.splits,
        "answer_starts": queries.starts,
        "search_begins": searches.begins,
        "search_ends": searches.ends,
        "search_firsts": searches.target_starts,
        "search_lasts": searches.target_ends,
    }


def _load_columns(folder: Path) -> Columns:
    """The arrays of a folder, memory-mapped: parts that are not read use no memory."""

    def mapped(name: str) -> Any:
        path = folder / f"{name}.npy"
        # The file of an empty array cannot be mapped.
        mode: Literal["r"] | None = "r" if path.stat().st_size > _EMPTY else None
        return np.load(path, mmap_mode=mode, allow_pickle=False).view(np.ndarray)

    users = pl.read_parquet(folder / "users.parquet", glob=False).to_series()
    events = Events(
        users=users,
        starts=mapped("user_starts"),
        items=mapped("event_items"),
        times=mapped("event_times"),
        splits=mapped("event_splits"),
    )
    queries = JudgedQueries(
        texts=Texts(mapped("text_letters"), mapped("text_ends")),
        text_of=mapped("query_texts"),
        users=mapped("query_users"),
        times=mapped("query_times"),
        splits=mapped("query_splits"),
        starts=mapped("answer_starts"),
        items=mapped("answer_items"),
        relevances=mapped("answer_grades"),
    )
    has_own_items = (folder / "trained_items.npy").exists()
    trained_users = mapped("trained_users")
    trained = Histories(
        users=users[trained_users],
        positions=mapped("trained_items") if has_own_items else events.items,
        begins=mapped("trained_begins"),
        ends=mapped("trained_ends"),
    )
    searches = Examples(
        items=events.items,
        begins=mapped("search_begins"),
        ends=mapped("search_ends"),
        order="end",
        targets=mapped("search_targets"),
        target_starts=mapped("search_firsts"),
        target_ends=mapped("search_lasts"),
        query_of=mapped("search_queries"),
        queries=queries.texts,
    )
    return Columns(events, trained, trained_users, queries, searches)
