"""Rows with an unknown item or query, which are left out with `--skip-unknown`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import first_true, swapped
from twofold.data.dataset import LEFT_OUT, LEFT_OUT_FILE, Note
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table

_REFERENCES = {
    "interactions": (("item_id", "items"),),
    "qrels": (("query_id", "queries"), ("item_id", "items")),
}
"""The columns of a table that refer to another table, and that table."""


def leave_out_unknown(
    tables: "Mapping[str, Sequence[Table]]",
) -> "tuple[dict[str, Sequence[Table]], pl.DataFrame]":
    """The tables without the rows that have an unknown id, and these rows, as `LEFT_OUT`.

    Raises:
        InputError: no row of a table is left.
    """
    known = {
        name: pl.concat(table.rows.get_column(key) for table in tables[name])
        for name, key in (("items", "item_id"), ("queries", "query_id"))
        if all(key in table.rows.columns for table in tables.get(name) or ()) and tables.get(name)
    }
    left, listed = dict(tables), [pl.DataFrame(schema=LEFT_OUT)]
    for name, references in _REFERENCES.items():
        parts = list(tables.get(name, ()))
        for column, of in references:
            if of in known:
                for part in parts:
                    _require_in_place(part, column, known[of], of)
                filtered = [_known_only(part, column, known[of], of) for part in parts]
                parts = [part for part, _ in filtered]
                listed += [rows for _, rows in filtered]
        _require_rows(tables.get(name, ()), parts)
        left[name] = parts
    return left, pl.concat(listed)


def _require_in_place(table: "Table", column: str, known: pl.Series, where: str) -> None:
    """Raise InputError if no id of the column is known, but those of another column are."""
    if column not in table.rows.columns or table.rows[column].is_in(known.implode()).any():
        return
    if hint := swapped(table, column, known):
        raise InputError(f"{table.path}: the ids of {column} are not in the table {where}{hint}")


def _known_only(
    table: "Table", column: str, known: pl.Series, where: str
) -> "tuple[Table, pl.DataFrame]":
    """The rows whose id is known, or empty, and a list of the others."""
    nothing = pl.DataFrame(schema=LEFT_OUT)
    if column not in table.rows.columns:
        return table, nothing
    ids = table.rows[column]
    unknown = ~(ids.is_in(known.implode()).fill_null(True) | (ids == "").fill_null(True))
    if (row := first_true(unknown)) is None:
        return table, nothing
    problem = f"{column} '{ids[row]}' is not in the table {where}"
    remedy = f"add it there; {LEFT_OUT_FILE} of the prepared folder lists the rows"
    note = Note(int(unknown.sum()), table.place(row), problem, remedy)
    lines = table.line_numbers()
    # Not pl.format, which panics where the first chunk of a column is empty (polars 2.1).
    reason = pl.concat_str(
        pl.lit(f"{column} '"), ids.filter(unknown), pl.lit(f"' is not in the table {where}")
    )
    listed = pl.select(
        file=pl.lit(str(table.path)),
        line=pl.lit(None, pl.UInt32) if lines is None else lines.filter(unknown).cast(pl.UInt32),
        reason=reason,
    )
    return table.filter(~unknown, note), listed


def _require_rows(given: "Sequence[Table]", left: "Sequence[Table]") -> None:
    """Raise InputError if no row of a table is left."""
    if given and not any(table.rows.height for table in left):
        note = left[0].notes[-1]
        raise InputError(
            f"{note.place}: {note.problem}, and no other row can be used either; "
            f"write the ids in the same way in both tables"
        )


def items_of_events(table: "Table") -> "Table":
    """The items of the interactions, in the order of their first event, without a title."""
    table.require_columns("user_id", "item_id")
    ids = table.rows["item_id"].drop_nulls().unique(maintain_order=True)
    rows = pl.DataFrame({"item_id": ids.filter(ids.str.strip_chars() != "")})
    note = Note(
        rows.height,
        str(table.path),
        "there is no table items",
        "add items.csv with item_id and title",
        unit="item",
        effect="taken from the interactions, without a title",
    )
    return type(table)(table.path, rows.with_columns(title=pl.lit("")), derived=True, notes=(note,))
