"""Reads Parquet: columns of any type as text."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import Note
from twofold.data.reading.raw import Raw
from twofold.data.reading.time_values import YEAR_1, YEAR_10000
from twofold.data.reading.values import (
    column_as_text,
    holds_ids,
    largest_whole,
    no_text_note,
    whole_ids,
)
from twofold.records import InputError


def read_parquet(path: Path, data: bytes) -> Raw:
    """The columns of a Parquet file whose bytes are `data`.

    Raises:
        InputError: the file is not Parquet, or is corrupt.
    """
    try:
        with any_time_zone():
            frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: {reason}; not readable as Parquet, correct it or write it anew"
        ) from error
    return frame_columns(path, frame)


@contextmanager
def any_time_zone() -> Iterator[None]:
    """Let polars read times whose zone is an offset such as +05:30, at which it panics otherwise.

    Such times are in UTC, like those of every zone, and the zone is not read.
    """
    before = os.environ.get(_ANY_ZONE)
    os.environ[_ANY_ZONE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ANY_ZONE]
        else:
            os.environ[_ANY_ZONE] = before


_ANY_ZONE = "POLARS_IGNORE_TIMEZONE_PARSE_ERROR"


def frame_columns(path: Path, frame: pl.DataFrame) -> Raw:
    """The columns of a frame as text; `path` is the name in notes."""
    raw = Raw([], [], pl.int_range(1, frame.height + 1, dtype=pl.UInt32, eager=True))
    for column in frame.iter_columns():
        text, notes = _as_text(path, column, raw.lines)
        raw.notes.extend(notes)
        if text is not None:
            raw.names.append(column.name)
            raw.columns.append(text)
    return raw


def _as_text(
    path: Path, column: pl.Series, lines: pl.Series
) -> tuple[pl.Series | None, list[Note]]:
    """A column as text, or None if it cannot be converted to text."""
    dtype = column.dtype
    if dtype.is_float():
        column, notes = _with_numbers_only(path, column)
        if holds_ids(column.name):
            name, fractions = column.name, column.cast(pl.Float64)
            whole, more = whole_ids(str(path), name, fractions, lines, "row", largest_whole(dtype))
            column, notes = whole if more else column, notes + more
        elif column.name.strip() == "timestamp":
            notes += _rounded(path, column)
        return column.cast(pl.String), notes
    if dtype.is_nested():
        return column_as_text(str(path), column.name, column.to_list(), lines, unit="row")
    if isinstance(dtype, pl.Datetime | pl.Date):
        _need_four_digit_years(path, column)
        return column.cast(pl.Datetime).dt.to_string("iso:strict"), []
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string(), []
    try:
        text = column.cast(pl.String)
    except pl.exceptions.PolarsError:
        return None, [no_text_note(str(path), column.name, str(dtype))]
    return text.set(text == "", None), []


def _need_four_digit_years(path: Path, times: pl.Series) -> None:
    """Refuse times outside the years 1 to 9999, which have no ISO form of four digits.

    Raises:
        InputError: names the row.
    """
    name = times.dtype.time_unit if isinstance(times.dtype, pl.Datetime) else "day"
    unit, seconds = _UNITS[name]
    counts = times.to_physical()
    since_1970 = counts.cast(pl.Float64) * seconds
    outside = (since_1970 < YEAR_1) | (since_1970 >= YEAR_10000)
    if (row := first_true(outside.fill_null(False))) is not None:
        problem = f"{times.name} is {counts[row]} {unit} since 1970, outside the years 1 to 9999"
        remedy = "correct it, or write the column in its true unit"
        raise InputError(f"{path} row {row + 1}: {problem}; {remedy}")


_UNITS = {
    "ms": ("milliseconds", 1e-3),
    "us": ("microseconds", 1e-6),
    "ns": ("nanoseconds", 1e-9),
    "day": ("days", 86_400.0),
}


def _rounded(path: Path, times: pl.Series) -> list[Note]:
    """A note if times are floats so short that they are rounded to more than a whole number."""
    large = (times.abs() > largest_whole(times.dtype)).fill_null(False)
    row = first_true(large)
    if row is None or times.dtype == pl.Float64:
        return []
    kind = str(times.dtype).lower()
    step = float(np.spacing(np.array(times[row], dtype=kind)))
    problem = f"timestamp {times[row]:.0f} is a {kind}, which has steps of {step:,.0f} there"
    remedy = "write the column as integers or float64 before it is rounded"
    place, effect = f"{path} row {row + 1}", "read as it stands"
    return [Note(int(large.sum()), place, problem, remedy, "time", effect)]


def _with_numbers_only(path: Path, column: pl.Series) -> tuple[pl.Series, list[Note]]:
    other = (column.is_nan() | column.is_infinite()).fill_null(False)
    if (row := first_true(other)) is None:
        return column, []
    problem = f"{column.name} is {column[row]}, which is not a number"
    remedy = "write null for a missing value"
    place = f"{path} row {row + 1}"
    return column.set(other, None), [
        Note(int(other.sum()), place, problem, remedy, "value", "read as empty")
    ]
