"""RecBole's atomic files: `NAME.inter`, `NAME.item`, with a type after each column's name.

A header is `user_id:token`, `timestamp:float`, `title:token_seq`; fields are separated by tabs, and
the values of a sequence by spaces. The users of `NAME.user` are not read.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from twofold.data.dataset import Note
from twofold.data.formats import Table, read_table
from twofold.data.layouts.layout import Layout, Tables, has
from twofold.data.reading.decode import read_text
from twofold.records import InputError

_USERS = ("user_id", "session_id")
_PROSE = ("title", "name", "text", "description", "abstract", "body", "review")
"""The endings of names of sequences whose tokens are words and not values."""


def tables(folder: Path) -> Tables:
    """The items and interactions of a folder.

    Raises:
        InputError: there are several datasets in the folder, or a column is missing.
    """
    events, types = _read(_only(folder, "inter"))
    user = next((name for name in _USERS if name in types), None)
    events = events.with_rows(events.rows.rename({user: "user_id"} if user else {}))
    items, kinds = _items(folder)
    key = _item_key(events, items)
    events = events.with_rows(events.rows.rename({key: "item_id"}))
    events.require_columns("user_id", "item_id")
    if f"{key}_list" in types:
        raise InputError(
            f"{events.path}: column '{key}_list' has the items before each event, so these are "
            f"prepared training sequences; give the original file of single interactions"
        )
    wanted = [c for c in ("user_id", "item_id", "timestamp") if c in events.rows.columns]
    events = events.with_rows(events.rows.select(wanted))
    if items is None:
        return {"interactions": [events]}
    return {"items": [_with_title(items, key, kinds)], "interactions": [events]}


def _only(folder: Path, suffix: str) -> Path:
    paths = sorted({*folder.glob(f"*.{suffix}"), *folder.glob(f"*.{suffix}.gz")})
    if len(paths) > 1:
        raise InputError(
            f"{folder}: {' and '.join(path.name for path in paths)} are several RecBole "
            f"datasets; keep one, or concatenate the parts of one dataset under one header"
        )
    return paths[0]


def _items(folder: Path) -> tuple[Table | None, dict[str, str]]:
    if not has(folder, "*.item|*.item.gz"):
        return None, {}
    return _read(_only(folder, "item"))


def _read(path: Path) -> tuple[Table, dict[str, str]]:
    """A table with the types of its columns, taken from their names."""
    header = read_text(path).partition("\n")[0]
    if "\t" not in header and "," in header:
        raise InputError(
            f"{path} line 1: the header is separated by ','; RecBole's files are separated by "
            f"tabs: write it with sep='\\t'"
        )
    table = read_table(path, ".tsv")
    types = {}
    for given in table.rows.columns:
        name, _, kind = given.rpartition(":")
        if not name or kind not in ("token", "token_seq", "float", "float_seq"):
            raise InputError(
                f"{path} line 1: column '{given}' has no type; in a RecBole header a column "
                f"is such as user_id:token, with the type token, token_seq, float or float_seq"
            )
        types[name] = kind
    rows = table.rows.rename(dict(zip(table.rows.columns, types, strict=True)))
    return replace(table, rows=rows, lines=_lines(table)), types


def _lines(table: Table) -> pl.Series:
    if table.lines is not None:
        return table.lines
    return pl.int_range(2, 2 + table.rows.height, dtype=pl.UInt32, eager=True)


def _item_key(events: Table, items: Table | None) -> str:
    """The column of the items' ids: `item_id`, or the first column of the items."""
    key = "item_id"
    if key not in events.rows.columns and items is not None:
        key = items.rows.columns[0]
    events.require_columns(key)
    return key


def _with_title(items: Table, key: str, types: dict[str, str]) -> Table:
    """The items with a title; the values of sequences are separated like those of attributes."""
    if key not in items.rows.columns:
        items.require_columns("item_id")
        key = "item_id"
    title = _title(types)
    vectors = [name for name, kind in types.items() if kind == "float_seq"]
    values = [n for n, kind in types.items() if kind == "token_seq" and not n.endswith(_PROSE)]
    rows = items.rows.with_columns(
        pl.col(values).str.strip_chars().str.replace_all(r"\s+", "|")
    ).drop(vectors)
    rows = rows.rename({key: "item_id", **({title: "title"} if title else {})})
    if not title:
        rows = rows.with_columns(title=pl.lit(None, pl.String))
    notes = [
        Note(1, str(items.path), f"column '{name}' holds numbers", "nothing to do", unit="column")
        for name in vectors
    ]
    return replace(items, rows=rows, notes=(*items.notes, *notes))


def _title(types: dict[str, str]) -> str | None:
    """The column with the items' titles: `title`, `name`, or one with this ending, such as
    movie_title.
    """
    for ending in ("title", "name"):
        ends = [name for name in types if name == ending or name.endswith(f"_{ending}")]
        if ends:
            return ending if ending in ends else ends[0]
    return None


LAYOUT = Layout(
    name="RecBole",
    needs=("*.inter|*.inter.gz",),
    gives="items of NAME.item and interactions: recommendation",
    tables=tables,
)
