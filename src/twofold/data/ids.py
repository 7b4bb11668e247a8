"""Notes on suspicious ids: placeholders for missing values, and one id in two spellings.

Invariant: no id is changed and no row is left out; suspicious ids are counted in a note.
"""

from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import INVISIBLE, first_true
from twofold.data.dataset import Note

if TYPE_CHECKING:
    from twofold.data.formats import Table

_NONE = (
    r"(?i)^\s*(nan|none|null|<na>|nat|na|n/a|#n/a|undefined|\\n|#ref!|#value!|#name\?|#null!)\s*$"
)
"""Placeholders that pandas, JavaScript, databases and spreadsheets write for a missing value."""


def doubtful_ids(table: "Table", name: str, called: str) -> list[Note]:
    """Notes on ids of a column that may be placeholders, or may be equal to another id.

    Args:
        table: the table.
        name: the column, without empty values.
        called: what the ids identify, such as `user`.
    """
    ids = table.rows[name].unique(maintain_order=True)
    return [*_none(table, name, ids, called), *_otherwise(table, name, ids, called)]


def _none(table: "Table", name: str, ids: pl.Series, called: str) -> list[Note]:
    words = ids.filter(ids.str.contains(_NONE))
    if not len(words):
        return []
    rows = table.rows[name].is_in(words.implode())
    row = first_true(rows)
    assert row is not None
    problem = (
        f"{name} '{table.rows[name][row]}' stands for a missing value in many tools; all such "
        f"rows count as one {called}"
    )
    remedy = f"remove them, if they have no {called}"
    return [Note(int(rows.sum()), table.place(row), problem, remedy, effect="kept")]


def _otherwise(table: "Table", name: str, ids: pl.Series, called: str) -> list[Note]:
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
    remedy = f"write each id in one way, unless they are different {called}s"
    return [Note(int(again.sum()), table.place(row), problem, remedy, "id", "kept apart")]
