"""From a source to a prepared dataset: validated, split, kept as an artifact."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from twofold import artifact
from twofold.data.dataset import Catalog, Dataset, Note
from twofold.data.sources import read_source
from twofold.records import InputError, Ints, Task
from twofold.tasks.split import (
    REPEATS_ALLOWED,
    Protocol,
    repeat_share,
    require_real_times,
    split_interactions,
    split_queries,
)

KIND = "dataset"


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset whose interactions and queries each have a split.

    Attributes:
        catalog: the items.
        interactions: user_id, item_id, timestamp, split; in time order within each user.
        queries: query_id, text, split, kind, user_id, timestamp, key (the normalised text).
        qrels: query_id, item_id, relevance.
        protocol: how it was split and is judged.
        source: what it was read from, as the user named it.
        digest: SHA-256 over the four tables and the protocol, in hex.
        notes: rows that were left out.
    """

    catalog: Catalog
    interactions: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    protocol: Protocol
    source: str
    notes: tuple[Note, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the data make possible."""
        found: list[Task] = []
        if self.queries.height:
            found.append("search")
        if self.interactions.height:
            found.append("recommendation")
        return tuple(found)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what numbers rest on: every row, and the protocol."""
        import hashlib

        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.protocol)).encode())
        for table in (self.catalog.items, self.interactions, self.queries, self.qrels):
            digest.update(table.write_csv().encode())
        return digest.hexdigest()

    @cached_property
    def histories(self) -> dict[str, Ints]:
        """Every user's events in time order, as catalog positions."""
        return self._histories(self.interactions)

    @cached_property
    def training_histories(self) -> dict[str, Ints]:
        """Every user's training events in time order, as catalog positions."""
        return self._histories(self.interactions.filter(pl.col("split") == "train"))

    def _histories(self, interactions: pl.DataFrame) -> dict[str, Ints]:
        positions = pl.col("item_id").replace_strict(
            dict(self.catalog.positions), return_dtype=pl.Int64
        )
        grouped = interactions.group_by("user_id", maintain_order=True).agg(positions)
        return {user: np.asarray(items, dtype=np.int64) for user, items in grouped.iter_rows()}


def split_dataset(
    dataset: Dataset,
    source: str,
    split: Literal["last", "temporal"] = "last",
    cutoff: float | None = None,
) -> PreparedDataset:
    """Assign the splits.

    Raises:
        InputError: a temporal split without a cutoff, or where times are only positions.
    """
    if (split == "temporal") != (cutoff is not None):
        raise InputError("--split temporal needs --cutoff TIME, and only it takes one")
    if split == "temporal":
        require_real_times(dataset)
    seen = "exclude" if repeat_share(dataset.interactions) < REPEATS_ALLOWED else "keep"
    protocol = Protocol(split, cutoff, seen)  # type: ignore[arg-type]
    queries, notes = split_queries(dataset, protocol)
    if not queries.height and not dataset.interactions.height:
        raise InputError(f"{source}: no interaction, and no query with a right answer, is left")
    return PreparedDataset(
        catalog=dataset.catalog,
        interactions=split_interactions(dataset, protocol),
        queries=queries,
        qrels=dataset.qrels,
        protocol=protocol,
        source=source,
        notes=(*dataset.notes, *notes),
    )


def load_dataset(
    source: str | Path,
    split: Literal["last", "temporal"] = "last",
    cutoff: float | None = None,
) -> PreparedDataset:
    """Load a prepared folder, or read, validate and split any other source.

    Args:
        source: a prepared folder, a folder of tables, a raw MovieLens folder, a known dataset's
            name, or `simulate:NAME`.
        split: for a source that is not prepared yet.
        cutoff: the time from which on events are test, for `split="temporal"`.

    Raises:
        InputError: the source cannot be read; names file, line, value and remedy.
    """
    folder = Path(source)
    if artifact.is_complete(folder):
        prepared = _load(folder)
        if cutoff is not None and cutoff != prepared.protocol.cutoff:
            raise InputError(f"{folder}: is split already, and otherwise; prepare its source again")
        return prepared
    return split_dataset(read_source(source), str(source), split, cutoff)


def save_dataset(dataset: PreparedDataset, out: Path) -> None:
    """Write the tables as Parquet, with the data report and a manifest."""
    from twofold.tasks.report import data_report, report_text

    config = {"source": dataset.source, "protocol": dataclasses.asdict(dataset.protocol)}
    with artifact.write(out, KIND, config) as folder:
        dataset.catalog.items.write_parquet(folder / "items.parquet")
        dataset.interactions.write_parquet(folder / "interactions.parquet")
        dataset.queries.write_parquet(folder / "queries.parquet")
        dataset.qrels.write_parquet(folder / "qrels.parquet")
        artifact.write_json(
            folder / "notes.json", [dataclasses.asdict(note) for note in dataset.notes]
        )
        report = data_report(dataset)
        artifact.write_json(folder / "data_report.json", report)
        (folder / "data_report.md").write_text(report_text(report), encoding="utf-8")


def _load(folder: Path) -> PreparedDataset:
    config = artifact.load(folder, KIND)["config"]
    return PreparedDataset(
        catalog=Catalog.of(pl.read_parquet(folder / "items.parquet")),
        interactions=pl.read_parquet(folder / "interactions.parquet"),
        queries=pl.read_parquet(folder / "queries.parquet"),
        qrels=pl.read_parquet(folder / "qrels.parquet"),
        protocol=Protocol(**config["protocol"]),
        source=config["source"],
        notes=tuple(Note(**note) for note in artifact.read_json(folder / "notes.json")),
    )
