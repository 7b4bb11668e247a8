"""Tables in memory: frames of pandas, polars or Arrow, or columns of values."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twofold.data.dataset import Note
from twofold.data.formats import Table
from twofold.data.layouts.four_tables import TABLES, require_enough
from twofold.data.reading.columns import table_columns
from twofold.data.reading.parquet import any_time_zone, frame_columns
from twofold.data.reading.raw import Raw
from twofold.data.reading.values import column_as_text, largest_whole
from twofold.records import InputError


def frame_tables(frames: Mapping[str, Any]) -> dict[str, list[Table]]:
    """The tables of `frames`, by name, as if read from a folder.

    Args:
        frames: maps items, interactions, queries and qrels, as far as they exist, to a frame of
            pandas, polars or Arrow, a mapping from columns to values, or a list of objects. A
            pandas index is read as a column if it has a name, and not otherwise.

    Raises:
        InputError: an unknown name, a value that is not a table, or a missing table.
    """
    if not frames:
        raise InputError(f"no table is given; give {', '.join(TABLES)}, as far as they exist")
    for name in frames:
        if name not in TABLES:
            raise InputError(f"table '{name}': is none of {', '.join(TABLES)}; rename it")
    tables = {n: [_table(n, frame)] for n, frame in frames.items() if frame is not None}
    return require_enough(Path("frames"), tables)


def _table(name: str, frame: Any) -> Table:
    path = Path(f"{name}.frame")
    raw = _raw(path, frame)
    if not raw.names:
        raise InputError(f"{path}: the frame has no columns")
    rows, lines, notes = table_columns(path, raw)
    if rows.height == 0:
        raise InputError(f"{path}: the frame has no rows; add rows or leave the table out")
    return Table(path, rows, notes=tuple(notes), lines=lines)


def _raw(path: Path, frame: Any) -> Raw:
    """The columns of a frame of pandas, polars or Arrow, of a mapping of columns, or of rows."""
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):  # pandas, which may not be installed
        return _from_pandas(path, frame)
    if isinstance(frame, Mapping):
        kinds = [getattr(values, "dtype", None) for values in frame.values()]
        columns = [list(values) for values in frame.values()]
        return _from_values(path, [str(name) for name in frame], columns, kinds)
    if isinstance(frame, Sequence) and all(isinstance(row, Mapping) for row in frame):
        names = list(dict.fromkeys(name for row in frame for name in row))
        return _from_values(path, names, [[row.get(name) for row in frame] for name in names])
    if isinstance(frame, pl.DataFrame):
        return frame_columns(path, frame)
    try:
        if hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pl.Series):
            with any_time_zone():
                taken = pl.DataFrame(frame)
            return frame_columns(path, taken)
        if hasattr(frame, "__dataframe__"):
            return frame_columns(path, _exchanged(frame))
    except pl.exceptions.PolarsError as error:  # a single column
        raise _no_frame(path, frame) from error
    raise _no_frame(path, frame)


def _no_frame(path: Path, frame: Any) -> InputError:
    return InputError(
        f"{path}: {type(frame).__name__} is not a frame; give one of pandas, polars or Arrow, or a "
        f"mapping from columns to values"
    )


def _from_pandas(path: Path, frame: Any) -> Raw:
    """The named levels of the index of a pandas frame, then its columns."""
    names = [str(name) for name in frame.columns]
    try:
        levels = {
            str(name): frame.index.get_level_values(n).tolist()
            for n, name in enumerate(frame.index.names)
            if name is not None and str(name) not in names
        }
        columns = [frame.iloc[:, n].tolist() for n in range(len(names))]
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: {type(frame).__module__}.{type(frame).__name__} cannot be read; "
            f"convert it to a pandas frame first"
        ) from error
    kinds = [*(None for _ in levels), *frame.dtypes]
    raw = _from_values(path, [*levels, *names], [*levels.values(), *columns], kinds)
    if None in frame.index.names and frame.index.inferred_type not in ("integer", "empty"):
        problem = f"the index has no name and begins with '{frame.index[0]}'"
        remedy = "name it, as in frame.rename_axis('item_id')"
        raw.notes.append(Note(1, str(path), problem, remedy, unit="index"))
    return raw


def _exchanged(frame: Any) -> pl.DataFrame:
    taken: pl.DataFrame = pl.from_dataframe(frame)
    return taken


def _from_values(
    path: Path,
    names: Sequence[str],
    columns: Sequence[list[Any]],
    kinds: Sequence[object] | None = None,
) -> Raw:
    """Columns of Python values of one length; `kinds` are their types, if they have one."""
    sizes = sorted({len(column) for column in columns})
    if len(sizes) > 1:
        raise InputError(
            f"{path}: columns of {sizes[0]} and of {sizes[-1]} values; make them equal"
        )
    raw = Raw([], [], pl.int_range(1, (sizes or [0])[0] + 1, dtype=pl.UInt32, eager=True))
    for name, values, kind in zip(names, columns, kinds or [None] * len(names), strict=True):
        plain, largest = [_plain(value) for value in values], largest_whole(kind)
        text, notes = column_as_text(str(path), name, plain, raw.lines, "row", largest)
        raw.notes.extend(notes)
        if text is not None:
            raw.names.append(name)
            raw.columns.append(text)
    return raw


def _plain(value: Any) -> Any:
    """A value as a Python type; None for NaN, NaT or NA of pandas."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "tolist"):  # a value or an array of numpy
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value
