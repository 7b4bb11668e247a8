"""Prepared datasets on disk: any source is loaded, a prepared one is saved as an artifact."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl

from twofold import artifact
from twofold.data.dataset import LEFT_OUT_FILE, Catalog, Note
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset, SplitProtocol

KIND = "dataset"


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
        skip_unknown: leave out rows that name an unknown item or query, in place of an error.

    Raises:
        InputError: the source cannot be read; names file, line, value and remedy.
    """
    if not isinstance(source, str | Path | Mapping) or source == "":
        raise InputError(
            f"source: {type(source).__name__} is no source{' when it is empty' * (source == '')}; "
            f"give a folder, a name that twofold sources lists, or tables, such as "
            f'{{"interactions": frame}}'
        )
    folder = None if isinstance(source, Mapping) else Path(source)
    if folder is not None and artifact.is_complete(folder):
        prepared = _load(folder)
        if cutoff is not None:
            _require_cutoff(prepared, cutoff, folder)
        return prepared
    # Imported here, as most commands work on a prepared folder.
    from twofold.data.sources import read_source
    from twofold.tasks.split import split_dataset

    name = "frames" if folder is None else str(source)
    return split_dataset(read_source(source, skip_unknown), name, split, cutoff)


def save_dataset(
    dataset: PreparedDataset, out: Path, more: Mapping[str, Any] | None = None
) -> None:
    """Write the tables as Parquet, with the data report and a manifest.

    Args:
        dataset: the dataset.
        out: the folder.
        more: entries of the data report that others have made.
    """
    # Imported here, as a prepared folder that is read has its report already.
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
        if dataset.left_out.height:
            dataset.left_out.write_ndjson(folder / LEFT_OUT_FILE)
        report = {**data_report(dataset), **(more or {})}
        artifact.write_json(folder / "data_report.json", report)
        (folder / "data_report.md").write_text(report_text(report), encoding="utf-8")


def _require_cutoff(prepared: PreparedDataset, cutoff: float | str, folder: Path) -> None:
    """Raise InputError where a prepared dataset is split by another cutoff, or by none."""
    from twofold.tasks.cutoff import read_cutoff

    timed = (prepared.interactions["timestamp"], prepared.queries["timestamp"])
    if read_cutoff(cutoff, *timed) != prepared.protocol.cutoff:
        raise InputError(f"{folder}: is split already, and otherwise; prepare its source again")


def _load(folder: Path) -> PreparedDataset:
    config = artifact.load(folder, KIND)["config"]
    return PreparedDataset(
        catalog=Catalog.of(pl.read_parquet(folder / "items.parquet")),
        interactions=pl.read_parquet(folder / "interactions.parquet"),
        queries=pl.read_parquet(folder / "queries.parquet"),
        qrels=pl.read_parquet(folder / "qrels.parquet"),
        protocol=SplitProtocol(**config["protocol"]),
        source=config["source"],
        notes=tuple(Note(**note) for note in artifact.read_json(folder / "notes.json")),
    )
