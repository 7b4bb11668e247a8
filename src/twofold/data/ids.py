"""Notes on suspicious ids: placeholders for missing values, rounded numbers, and one id in two
spellings. Ids that would be one id in a TREC file are refused.

Invariant: no id is changed and no row is left out; suspicious ids are counted in a note.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import polars as pl

from twofold.data.checks import INVISIBLE, first_true
from twofold.data.dataset import Note
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table

PLACEHOLDER = (
    r"(?i)^\s*(nan|none|null|<na>|nat|na|n/a|#n/a|undefined|\\n|#ref!|#value!|#name\?|#null!)\s*$"
)
"""Placeholders that pandas, JavaScript, databases and spreadsheets write for a missing value."""

_ROUNDED = r"^\s*-?\d(?:\.\d+[eE]\+?|[eE]\+)\d+\s*$"
"""A number as a spreadsheet shows one of twelve digits or more, and pandas one of 10^16 or more."""


_WHITE_SPACE = re.compile(r"\s")


def trec_id(value: str) -> str:
    """An id as in a TREC file, where whitespace would end the field: `a b` -> `a%20b`."""
    return _WHITE_SPACE.sub(lambda match: quote(match[0]), value)


def require_trec_ids(table: "Table", name: str) -> None:
    """Raise InputError if two ids of the column are equal in a TREC file, as in a run."""
    ids = table.rows[name]
    encoded = ids.filter(ids.str.contains("%", literal=True).fill_null(False)).unique()
    if not len(encoded):
        return
    spaced = ids.filter(ids.str.contains(r"[\s\x1c-\x1f]").fill_null(False)).unique()
    meant = {trec_id(value): value for value in spaced.sort()}
    if (row := first_true(ids.is_in(list(meant)).fill_null(False))) is not None:
        before = first_true(ids == meant[ids[row]])
        assert before is not None
        raise InputError(
            f"{table.place(row)}: {name} '{ids[row]}' is what '{ids[before]}' at "
            f"{table.place(before)} is called in the runs of an evaluation, in which whitespace is "
            f"written as in a URL; rename one of them"
        )


def doubtful_ids(table: "Table", name: str, entity: str) -> list[Note]:
    """Notes on ids of a column that may be placeholders, may stand for several ids, or may be equal
    to another id.

    Args:
        table: the table.
        name: the column, without empty values.
        entity: what an id identifies, such as `user`.
    """
    ids = table.rows[name].unique(maintain_order=True)
    return [
        *_placeholders(table, name, ids, entity),
        *_rounded(table, name, ids, entity),
        *_two_spellings(table, name, ids, entity),
    ]


def _placeholders(table: "Table", name: str, ids: pl.Series, entity: str) -> list[Note]:
    """A note on ids such as NaN, which many tools write for a missing value."""
    problem = f"stands for a missing value in many tools; all such rows count as one {entity}"
    remedy = f"remove them, if they have no {entity}"
    return _note_on(table, name, ids.filter(ids.str.contains(PLACEHOLDER)), problem, remedy)


def _rounded(table: "Table", name: str, ids: pl.Series, entity: str) -> list[Note]:
    """A note on ids such as 1.23457E+11, which a spreadsheet writes for many numbers."""
    problem = f"is a number without its last digits, so that several {entity}s may count as one"
    remedy = "write the column as text or as integers, without an exponent"
    return _note_on(table, name, ids.filter(ids.str.contains(_ROUNDED)), problem, remedy)


def _note_on(table: "Table", name: str, ids: pl.Series, problem: str, remedy: str) -> list[Note]:
    """A note on the rows with these ids, if there are any; it names the id of the first row."""
    if not len(ids):
        return []
    rows = table.rows[name].is_in(ids.implode())
    row = first_true(rows)
    assert row is not None
    problem = f"{name} '{table.rows[name][row]}' {problem}"
    return [Note(int(rows.sum()), table.place(row), problem, remedy, effect="kept")]


def _two_spellings(table: "Table", name: str, ids: pl.Series, entity: str) -> list[Note]:
    """A note if ids differ only in whitespace, `.0`, leading zeros or Unicode form."""
    plain = (
        ids.str.replace_all(INVISIBLE, "")
        .str.strip_chars()
        .str.normalize("NFC")
        .str.replace(r"^(-?\d+)\.0+$", "$1")
        .str.replace(r"^0+(\d+)$", "$1")
    )
    again = plain.is_duplicated()
    if not again.any():
        return []
    second = first_true(again & ~plain.is_first_distinct())
    assert second is not None
    before = ids[first_true(plain == plain[second]) or 0]
    row = first_true(table.rows[name] == ids[second])
    assert row is not None
    problem = (
        f"{name} '{ids[second]}' and '{before}' differ only in whitespace, leading zeros, '.0' or "
        f"Unicode form"
    )
    remedy = f"write each id in one way, unless they are different {entity}s"
    return [Note(int(again.sum()), table.place(row), problem, remedy, "id", "kept apart")]
