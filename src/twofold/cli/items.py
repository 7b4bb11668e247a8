"""`twofold items add` and `twofold items remove`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from twofold.cli.options import Model
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table

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

    table = _read(file)
    _require_one_row_each(table)
    fields = [nonempty_fields(row) for row in table.rows.iter_rows(named=True)]
    _change(model, state, "added", fields)


@items.command()
def remove(model: Model, file: File, state: State) -> None:
    """Remove items from all answers; only the column item_id of FILE is read."""
    _change(model, state, "removed", [{"item_id": i} for i in _read(file).rows["item_id"]])


def _read(file: Path) -> "Table":
    """The table of a file, as text; every row has an item_id."""
    from twofold.data.formats import read_table

    table = read_table(file)
    table.require_columns("item_id")
    for note in table.notes:
        print(note, file=sys.stderr)
    table = table.with_rows(table.rows.cast(pl.String))
    without_id = table.rows["item_id"].fill_null("").str.strip_chars() == ""
    if without_id.any():
        raise InputError(f"{table.place(without_id.arg_true()[0])}: no item_id; give one")
    return table


def _require_one_row_each(table: "Table") -> None:
    """Raise InputError if two rows with one item_id differ."""
    rows = table.rows.with_row_index("row").unique(table.rows.columns, maintain_order=True)
    again = rows.filter(~rows["item_id"].is_first_distinct())
    if len(again):
        row, item_id = again["row"][0], again["item_id"][0]
        before = rows.filter(pl.col("item_id") == item_id)["row"][0]
        raise InputError(
            f"{table.place(row)}: item_id '{item_id}' has another row at {table.place(before)}; "
            f"keep one of them"
        )


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
