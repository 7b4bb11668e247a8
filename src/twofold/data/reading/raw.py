"""The result of every reader: the columns of a file as text."""

from dataclasses import dataclass, field

import polars as pl

from twofold.data.dataset import Note


@dataclass(frozen=True, slots=True)
class Raw:
    """A file's columns, before their names are checked.

    Attributes:
        names: the names of the columns, as in the file.
        columns: the values as text, null if missing; one column for each name.
        lines: the line on which each row begins; in Parquet, its number.
        notes: differences from the file.
    """

    names: list[str]
    columns: list[pl.Series]
    lines: pl.Series
    notes: list[Note] = field(default_factory=list)
