"""The description of a layout: the files of a folder, and the tables that are read from them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twofold.data.dataset import Note
from twofold.data.download import Archive
from twofold.data.formats import Table
from twofold.data.words import query_key

Tables = dict[str, list[Table]]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of published folders.

    Attributes:
        name: its name.
        needs: the required files, each a pattern, or several patterns separated by `|` of which one
            is enough.
        gives: a description of the resulting tables.
        tables: reads the four tables of a folder, or raises InputError.
        marks: the files by which a folder is recognised; by default those of `needs`.
        unless: a file that excludes this layout; none by default.
        archives: datasets in this layout that are downloaded by name; none by default.
    """

    name: str
    needs: tuple[str, ...]
    gives: str
    tables: Callable[[Path], Tables]
    marks: tuple[str, ...] = ()
    unless: str = ""
    archives: tuple[Archive, ...] = ()

    def recognises(self, folder: Path) -> bool:
        """Whether a folder has this layout."""
        if self.unless and has(folder, self.unless):
            return False
        return all(has(folder, pattern) for pattern in self.marks or self.needs)

    def present(self, folder: Path) -> list[str]:
        """The required files that a folder has."""
        return [pattern for pattern in self.needs if has(folder, pattern)]


def has(folder: Path, pattern: str) -> bool:
    """Whether a folder has a file of the pattern, or of one of several separated by `|`."""
    return any(path.is_file() for part in pattern.split("|") for path in folder.glob(part))


def pattern_text(pattern: str) -> str:
    """A pattern as text: `a.csv or b.dat`."""
    return " or ".join(pattern.split("|"))


def with_validation(queries: pl.DataFrame) -> pl.DataFrame:
    """The queries, with a tenth of the training queries as validation if no query has this split.

    The choice depends only on the words of a query, so equal queries are in one split.

    Args:
        queries: columns text and split.
    """
    if queries["split"].eq("validation").any():
        return queries
    drawn = pl.col("text").fill_null("").map_elements(_is_drawn, return_dtype=pl.Boolean)
    split = pl.when((pl.col("split") == "train") & drawn).then(pl.lit("validation"))
    return queries.with_columns(split=split.otherwise("split"))


def _is_drawn(text: str) -> bool:
    digest = hashlib.sha256(query_key(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10 == 0


def noted(rows: pl.Series, path: Path, problem: str, unit: str) -> list[Note]:
    """A note on the rows that are true, if any; it needs no action."""
    count = int(rows.sum())
    return [Note(count, str(path), problem, "nothing to do", unit)] if count else []
