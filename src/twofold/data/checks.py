"""Checks of a table's columns, each an InputError that names file, line, value and remedy."""

import re
import unicodedata
from collections.abc import Collection
from typing import TYPE_CHECKING

import polars as pl

from twofold.data.dataset import Note
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table


def require_values(table: "Table", *names: str) -> None:
    """Raise InputError if a cell of one of the columns is empty."""
    for name in names:
        if (row := first_true(table.rows[name].fill_null("").str.strip_chars() == "")) is not None:
            raise InputError(f"{table.place(row)}: {name} is empty; fill it or remove the row")


def require_unique(table: "Table", name: str) -> None:
    """Raise InputError if a value occurs twice in the column."""
    column = table.rows[name]
    if (row := first_true(~column.is_first_distinct())) is not None:
        before = first_true(column == column[row])
        assert before is not None
        raise InputError(
            f"{table.place(row)}: {name} '{column[row]}' occurs already on "
            f"{table.place(before).removeprefix(str(table.path)).strip()}; keep one of the rows"
        )


def require_known(table: "Table", name: str, known: pl.Series, where: str) -> None:
    """Raise InputError if a value of the column is not in `known`, the ids of the table `where`."""
    unknown = ~table.rows[name].is_in(known.implode())
    if (row := first_true(unknown)) is not None:
        value = table.rows[name][row]
        rows = "1 such row" if unknown.sum() == 1 else f"{int(unknown.sum())} such rows"
        hint = swapped(table, name, known)
        if hint is None and (alike := same_id_otherwise(value, set(known))):
            hint = f", {alike}"
        raise InputError(
            f"{table.place(row)}: {name} '{value}' is not in the table {where} ({rows})"
            f"{hint or _REMEDY}"
        )


def swapped(table: "Table", name: str, known: pl.Series) -> str | None:
    """A hint if another column has the ids of the table that `name` refers to, and `name` has not.

    Numbers of users and of items may be equal, so some values of a swapped column may be known.
    """
    for other in ("user_id", "item_id", "query_id"):
        if other != name and other in table.rows.columns:
            counts = table.rows.select(pl.col(name, other).is_in(known.implode())).sum()
            here, there = counts.row(0)
            few = _BY_CHANCE * table.rows.height
            if here <= few and there >= table.rows.height - few:
                return (
                    f", but those of {other} are: if the two columns are swapped, exchange their "
                    f"names"
                )
    return None


_BY_CHANCE = 0.1
"""The largest share of the rows of a swapped column whose ids are known by chance."""


def require_same_fractions(table: "Table", name: str, known: pl.Series, where: str) -> None:
    """Raise InputError if `6.0` is not in `known` but `6` is, or the reverse.

    The column may contain unknown ids, such as users without events. But if pandas has written one
    of two columns as floats, no id of the one would match the other.
    """
    column = table.rows[name]
    whole, known_whole = (ids.str.replace(_ZERO_DECIMALS, "") for ids in (column, known))
    meant = ~column.is_in(known.implode()) & whole.is_in(known_whole.implode())
    if (row := first_true(meant.fill_null(False))) is not None:
        raise InputError(
            f"{table.place(row)}: {name} '{column[row]}' is not in the table {where}, "
            f"{same_id_otherwise(column[row], set(known))}"
        )


def same_id_otherwise(value: str, known: set[str]) -> str | None:
    """How an unknown id is written in the other table, and how to make both equal."""
    whole = re.sub(_ZERO_DECIMALS, "", value)
    same_number = min((k for k in known if re.sub(_ZERO_DECIMALS, "", k) == whole), default=value)
    ways = [
        (same_number, _FRACTION),
        (value.strip(), "remove the whitespace around it"),
        (re.sub(INVISIBLE, "", value), "remove the invisible characters in it"),
        (unicodedata.normalize("NFC", value), _UNICODE),
        (unicodedata.normalize("NFD", value), _UNICODE),
    ]
    for written, remedy in ways:
        if written != value and written in known:
            return f"which has '{written}'; {remedy}"
    if value.isdecimal():
        digits = value.lstrip("0")
        same = (k for k in known if k.isdecimal() and k.lstrip("0") == digits)
        if padded := min(same, default=""):
            return f"which has '{padded}'; {_ZEROS}"
    by_case = {k.strip().casefold(): k for k in known}
    alike = by_case.get(value.strip().casefold())
    return f"which has '{alike}'; write it in the same way in both" if alike else None


_ZERO_DECIMALS = r"\.0+$"
INVISIBLE = "[\u200b\u200c\u200d\u200e\u200f\u2060\ufeff]"
"""Invisible characters: joiners, direction marks, and a byte order mark."""

_REMEDY = (
    "; add it there, remove these rows, or leave them out with --skip-unknown (skip_unknown=True)"
)
_FRACTION = (
    "pandas writes integers as floats if a value of the column is missing: write it "
    "with .astype('Int64'), or read it with dtype=str"
)
_ZEROS = "a spreadsheet has removed its leading zeros: read and write the column as text"
_UNICODE = "the two differ in their Unicode form: convert both to NFC"


def unread_columns(table: "Table", used: Collection[str]) -> list[Note]:
    """A note on the columns that are not used.

    Args:
        table: the table.
        used: the columns that are used.
    """
    unread = [name for name in table.rows.columns if name not in used]
    if not unread:
        return []
    named = ", ".join(f"'{name}'" for name in unread)
    problem = f"column {named} is not used" if len(unread) == 1 else f"columns {named} are not used"
    remedies = [
        f"if '{name}' is the {meant}, rename it '{meant}': {until} until then"
        for name in unread
        for meant, (words, until) in _MEANT.items()
        if meant in used
        and meant not in table.rows.columns
        and letters_of(name) in {letters_of(meant), *words}
    ]
    if "relevance" not in used:
        remedies += [_LOW.format(name) for name in unread if letters_of(name) in _RATINGS]
    if not {"relevance", "split"} & set(used) and "split" in unread:
        remedies.append("interactions are split by --split last or temporal, not by 'split'")
    remedy = "; ".join(remedies) or "nothing to do"
    return [Note(len(unread), str(table.path), problem, remedy, "column", "not read")]


_MEANT = {
    "timestamp": (
        {"time", "date", "datetime", "ts", "timestamps", "createdat", "eventtime", "unixtime"},
        "the file order is used",
    ),
    "relevance": (
        {"score", "grade", "label", "rel", "rating", "judgment", "judgement", "relevancescore"},
        "every row is a relevant item",
    ),
    "split": ({"set", "fold", "subset", "partition", "splits"}, "a hash decides"),
    "user_id": ({"user", "users", "uid", "clientid", "customerid"}, "queries have no user"),
}
"""Optional columns by their other names, in lower case, and what is assumed without them."""

_RATINGS = {"rating", "ratings", "score", "stars", "label", "click", "clicked"}
"""Columns that may show that an event is not a positive choice, in lower case."""

_LOW = "every row counts as an event, whatever its {}: remove rows that are not a choice"


def letters_of(name: str) -> str:
    """A column's name in the form that `item_id`, `itemId` and `Item ID` share."""
    return re.sub(r"[\W_]", "", name).lower()


def first_true(mask: pl.Series) -> int | None:
    """Position of the first true value."""
    return mask.arg_max() if mask.any() else None
