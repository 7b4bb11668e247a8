"""From the columns of a file to those of a table: names, and columns that are left out."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from twofold.data.dataset import Note
from twofold.data.reading.raw import Raw
from twofold.data.reading.values import VECTOR_LENGTH, vector_note
from twofold.records import InputError

_AROUND = " \t\r\n\u00a0\u200b\ufeff"
"""Characters around a column's name that are not part of it."""

_NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)*|__index_level_\d+__|)")
"""The name that pandas gives to a column without one, such as the row numbers."""

_NUMBERS = re.compile(r"\s*\[[\s\d.,eE+-]*\]\s*")


def table_columns(path: Path, raw: Raw) -> tuple[pl.DataFrame, pl.Series, list[Note]]:
    """The columns with a name, the lines of the rows, and notes on what was left out.

    Rows without any value are left out, and rows that repeat the header, as in concatenated files.

    Raises:
        InputError: two columns have the same name, or no column has a name.
    """
    notes = list(raw.notes)
    columns: dict[str, pl.Series] = {}
    position: dict[str, int] = {}
    for number, (given, column) in enumerate(zip(raw.names, raw.columns, strict=True), start=1):
        name = given.strip(_AROUND)
        if name in columns:
            begin = ", or begin the file with the header" if _has_header_line(path) else ""
            raise InputError(
                f"{path}: column '{name}' occurs twice in the header, as columns "
                f"{position[name]} and {number}; rename or remove one{begin}"
            )
        if _NAMELESS.fullmatch(name):
            notes.append(_nameless(path, number, name, column))
        elif length := _vector_length(column):
            notes.append(vector_note(str(path), name, length))
        else:
            columns[name], position[name] = column, number
    if not columns:
        raise InputError(f"{path}: no column has a name; add a header")
    frame, lines = pl.DataFrame(columns), raw.lines
    place = f"{path} {'row' if {'.parquet', '.frame'} & set(path.suffixes) else 'line'}"
    for problem, found in (
        ("every cell is empty", _empty_rows),
        ("the row repeats the header, as if files had been concatenated", _header_rows),
    ):
        left_out = found(frame)
        if (row := left_out.arg_max()) is not None and left_out[row]:
            notes.append(Note(int(left_out.sum()), f"{place} {lines[row]}", problem, "remove it"))
            frame, lines = frame.filter(~left_out), lines.filter(~left_out)
    return frame, lines, notes


def _has_header_line(path: Path) -> bool:
    return not {".csv", ".tsv"}.isdisjoint(path.suffixes)


def _nameless(path: Path, number: int, name: str, column: pl.Series) -> Note:
    called = f"column {number} ('{name}')" if name else f"column {number}"
    if column.null_count() == len(column):
        return Note(1, str(path), f"{called} has neither name nor values", "remove it", "column")
    holds = f"begins with '{column.drop_nulls()[0]}'"
    problem = f"{called} has no name and {holds}"
    remedy = "name it, or in pandas write with index=False"
    return Note(1, str(path), problem, remedy, unit="column")


def _vector_length(column: pl.Series) -> int:
    """The number of elements of the first value, if all values are vectors; else 0."""
    given = column.drop_nulls()
    if not len(given) or not _NUMBERS.fullmatch(given[0]):
        return 0
    length = len(re.findall(r"[\d.eE+-]+", given[0]))
    if length < VECTOR_LENGTH or not given.str.contains(f"^(?:{_NUMBERS.pattern})$").all():
        return 0
    return length


def _empty_rows(frame: pl.DataFrame) -> pl.Series:
    """The rows without a value in any column."""
    return _rows_where(frame, lambda column: column.is_null() | (column.str.strip_chars() == ""))


def _header_rows(frame: pl.DataFrame) -> pl.Series:
    """The rows whose cells are the names of their columns."""
    return _rows_where(
        frame, lambda column: (column.str.strip_chars(_AROUND) == column.name).fill_null(False)
    )


def _rows_where(frame: pl.DataFrame, is_so: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The rows of which every cell is so; a column is read only if such rows are still possible."""
    columns: Iterator[pl.Series] = frame.iter_columns()
    chosen = is_so(next(columns))
    for column in columns:
        if not chosen.any():
            break
        chosen &= is_so(column)
    return chosen
