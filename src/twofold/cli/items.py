"""`twofold items add` and `twofold items remove`."""

import sys
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from twofold.cli.options import Model
from twofold.records import InputError

items = typer.Typer(
    help="Change a model's catalog without training; the model folder stays as it is.",
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(help="A table of items: CSV, TSV, JSON Lines or Parquet.")]
State = Annotated[
    Path, typer.Option("--state", help="Folder for catalog changes; `serve` reads it too.")
]


@items.command()
def add(model: Model, file: File, state: State) -> None:
    """Make new items retrievable, placed by their texts, and restore removed ones."""
    from twofold.additions.fields import nonempty_fields

    fields = [nonempty_fields(row) for row in _rows(file).iter_rows(named=True)]
    _change(model, state, "added", fields)


@items.command()
def remove(model: Model, file: File, state: State) -> None:
    """Remove items from all answers; only the column item_id of FILE is read."""
    _change(model, state, "removed", [{"item_id": i} for i in _rows(file)["item_id"]])


def _rows(file: Path) -> pl.DataFrame:
    from twofold.data.formats import read_table

    table = read_table(file)
    table.require_columns("item_id")
    for note in table.notes:
        print(note, file=sys.stderr)
    rows = table.rows.cast(pl.String)
    without_id = rows["item_id"].fill_null("").str.strip_chars() == ""
    if without_id.any():
        raise InputError(f"{table.place(without_id.arg_true()[0])}: no item_id; give one")
    return rows


def _change(model: Path, state: Path, done: str, fields: list[dict[str, str]]) -> None:
    from twofold.serving.engines.catalog_engine import load_engine

    engine = load_engine(model, model.name, state)
    try:
        ids = [item["item_id"] for item in fields]
        count = engine.add(fields) if done == "added" else engine.remove(ids)
    finally:
        engine.close()
    print(
        f"{done} {count} of {len(fields)}; {engine.items} items, version {engine.catalog_version}"
    )
