"""Rows of items that come after training, as they are given, and the columns of a catalog."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from twofold.data.dataset import Catalog
from twofold.records import InputError

Row = Mapping[str, str]
"""Column -> value, with an `item_id`; what is empty was not given."""

_SHOWN = 100
"""Characters of a value in a message, at most."""


def given(row: Row) -> dict[str, str]:
    """The fields that a row has a value for."""
    return {name: value for name, value in row.items() if value not in (None, "")}


def lacking(catalog: Catalog, row: Row) -> list[str]:
    """The fields that the catalog has no column for."""
    return [name for name in row if name not in catalog.items.schema]


def require_columns(catalog: Catalog, rows: Iterable[Row]) -> None:
    """Raise InputError for a field that the catalog has no column for."""
    for row in rows:
        if names := lacking(catalog, row):
            raise InputError(
                f"attribute '{names[0]}' is not in the catalog, which has "
                f"{', '.join(catalog.items.columns)}; leave it out, or train with it"
            )


def require_held(catalog: Catalog, rows: Iterable[Row]) -> None:
    """Raise InputError where an item is given otherwise than the catalog holds it, or than it was
    given before: its row was learned from the one, and would not say the other."""
    before: dict[str, dict[str, str]] = {}
    for row in rows:
        item_id, fields = row["item_id"], given(row)
        position = catalog.positions.get(item_id)
        if position is None:
            held: Mapping[str, str] = before.setdefault(item_id, fields)
        else:
            held = catalog.items.row(position, named=True)
        for name, value in fields.items():
            found = str(held.get(name) or "")
            if found != value:
                raise InputError(
                    f"item '{item_id}': its {name} is {_shown(found)}, and {_shown(value)} was "
                    f"given; give it a new item_id, or train anew with what changed"
                )


def _shown(value: str) -> str:
    return f"'{textwrap.shorten(value, _SHOWN, placeholder=' ...')}'" if value else "empty"


def table_of(catalog: Catalog, rows: Iterable[Row]) -> pl.DataFrame:
    """The rows in the columns of the catalog; a field that it lacks is dropped."""
    columns = catalog.items.schema
    held = [{name: row.get(name) for name in columns} for row in rows]
    return pl.DataFrame(held, schema=dict.fromkeys(columns, pl.String)).cast(dict(columns))  # type: ignore[arg-type]


def like_catalog(catalog: Catalog, rows: Sequence[Row]) -> pl.DataFrame:
    """Those of the rows that the catalog does not hold yet, the last of each id, in its columns.

    Raises:
        InputError: a column that the catalog lacks.
    """
    require_columns(catalog, rows)
    fresh = {row["item_id"]: row for row in rows if row["item_id"] not in catalog.positions}
    return table_of(catalog, fresh.values())
