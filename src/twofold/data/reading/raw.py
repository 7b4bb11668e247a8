"""What every reader gives: the columns of a file as they stand in it, as text."""

from dataclasses import dataclass, field

import polars as pl

from twofold.data.dataset import Note


@dataclass(frozen=True, slots=True)
class Raw:
    """A file's columns, before their names are looked at.

    Attributes:
        names: the names of the columns, as they stand in the file.
        columns: the values as text, null where there is none; one for each name.
        lines: the line on which each row begins; in Parquet, its number.
        notes: what is not as it stands in the file.
    """

    names: list[str]
    columns: list[pl.Series]
    lines: pl.Series
    notes: list[Note] = field(default_factory=list)
