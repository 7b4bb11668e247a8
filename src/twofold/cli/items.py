"""`twofold items add` and `twofold items remove`."""

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
    Path, typer.Option("--state", help="The folder that keeps the changes; `serve` reads it too.")
]


@items.command()
def add(model: Model, file: File, state: State) -> None:
    """Make new items retrievable, placed by their texts; removed ones come back."""
    rows = _rows(file)
    given = [
        {name: value for name, value in row.items() if value not in (None, "")}
        for row in rows.iter_rows(named=True)
    ]
    _change(model, state, "added", given)


@items.command()
def remove(model: Model, file: File, state: State) -> None:
    """Let items never come back; of FILE only the column item_id is read."""
    _change(model, state, "removed", [{"item_id": i} for i in _rows(file)["item_id"]])


def _rows(file: Path) -> pl.DataFrame:
    from twofold.data.formats import read_table

    table = read_table(file)
    table.require_columns("item_id")
    rows = table.rows.cast(pl.String)
    nameless = rows["item_id"].fill_null("").str.strip_chars() == ""
    if nameless.any():
        raise InputError(f"{table.place(nameless.arg_true()[0])}: no item_id; give one")
    return rows


def _change(model: Path, state: Path, done: str, rows: list[dict[str, str]]) -> None:
    from twofold.serving.engines.catalog_engine import load_engine

    engine = load_engine(model, model.name, state)
    try:
        ids = [row["item_id"] for row in rows]
        count = engine.add(rows) if done == "added" else engine.remove(ids)
    finally:
        engine.close()
    print(f"{done} {count} of {len(rows)}; {engine.items} items, version {engine.catalog_version}")
