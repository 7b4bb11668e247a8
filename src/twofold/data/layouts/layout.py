"""What a layout is: the files that a folder has, and the tables that are read from them."""

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
    """A folder as somebody publishes or writes it.

    Attributes:
        name: what people call it.
        needs: the files that it has; each a pattern, or several with `|` in between of which one
            is enough.
        gives: the tables that come out, for a person.
        tables: read the four tables of a folder, or raise InputError.
        marks: the files by which a folder is recognised; those of `needs` unless said otherwise.
        unless: a file that a folder of this layout does not have; none by default.
        archives: the datasets of this layout that are downloaded by name; none by default.
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

    def found(self, folder: Path) -> list[str]:
        """Those of the needed files that a folder has."""
        return [pattern for pattern in self.needs if has(folder, pattern)]


def has(folder: Path, pattern: str) -> bool:
    """Whether a folder has a file of the pattern, or of one of several with `|` in between."""
    return any(path.is_file() for part in pattern.split("|") for path in folder.glob(part))


def shown(pattern: str) -> str:
    """A pattern for a person: `a.csv or b.dat`."""
    return " or ".join(pattern.split("|"))


def with_validation(queries: pl.DataFrame) -> pl.DataFrame:
    """The queries, with a tenth of those to train on as validation where a split names none.

    Which ones depends on their words alone, so that the same query stays on one side.

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


def noted(
    rows: pl.Series, path: Path, problem: str, unit: str = "row", effect: str = "left out"
) -> list[Note]:
    """A note on the rows that are true, if any; there is nothing to do about them."""
    count = int(rows.sum())
    return [Note(count, str(path), problem, "nothing to do", unit, effect)] if count else []
