"""Converts typed values of JSON, and of nested Parquet columns, to text."""

import json
import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from twofold.data.dataset import READ_AS_JSON, Note
from twofold.records import InputError

VECTOR_LENGTH = 32
"""The number of elements from which on a list counts as a vector, such as an embedding."""

WHOLE_AS_FRACTION = 2**53
"""From here on a float cannot represent every integer."""

_WHOLE_AS_SHORT_FRACTION = {"float32": 2**24, "float16": 2**11}


def largest_whole(dtype: object) -> int:
    """The number from which on a type of numpy, pandas or polars cannot represent every id."""
    return _WHOLE_AS_SHORT_FRACTION.get(str(dtype).lower(), WHOLE_AS_FRACTION)


def column_as_text(
    path: str,
    name: str,
    values: list[Any],
    lines: pl.Series,
    unit: str = "line",
    largest: int = WHOLE_AS_FRACTION,
) -> tuple[pl.Series | None, list[Note]]:
    """A column as text, with notes on values that were changed; None if it is left out.

    Args:
        path: the file that the notes name.
        name: the column's name.
        values: text, numbers, booleans, lists or objects; None if missing.
        lines: the line of each value.
        unit: what `lines` counts.
        largest: as in `whole_ids`.
    """
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return _texts(path, name, values, lines, unit)
    if name.strip() in _NAMES_ONE:
        _require_one_id(path, name, values, lines, unit)
    if length := _vector_length(values):
        return None, [vector_note(path, name, length)]
    if bytes in kinds:
        if (decoded := _decoded(values)) is None:
            return None, [no_text_note(path, name, "bytes")]
        return column_as_text(path, name, decoded, lines, unit)
    notes: list[Note] = []
    if holds_ids(name) and float in kinds:
        numbers = pl.Series([v if isinstance(v, float) else None for v in values], dtype=pl.Float64)
        whole, notes = whole_ids(path, name, numbers, lines, unit, largest)
        values = [v if w is None else w for v, w in zip(values, whole, strict=True)]
    if missing := [n for n, value in enumerate(values) if _is_no_number(value)]:
        written = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(values[missing[0]])]
        place = f"{path} {unit} {lines[missing[0]]}"
        problem = f"{name} is {written}, which is not a number"
        remedy = "write null for a missing value"
        notes.append(Note(len(missing), place, problem, remedy, "value", "read as empty"))
    if objects := [n for n, value in enumerate(values) if _holds_object(value)]:
        place = f"{path} {unit} {lines[objects[0]]}"
        problem = f"column '{name}' has objects"
        remedy = "write the fields that you need to separate columns"
        notes.append(Note(len(objects), place, problem, remedy, "value", READ_AS_JSON))
    texts, more = _texts(path, name, [_text(value) for value in values], lines, unit)
    return texts, notes + more


def vector_note(path: str, name: str, length: int) -> Note:
    """The note on a column of vectors, which is left out."""
    problem = f"column '{name}' has vectors of {length} numbers"
    return Note(1, path, problem, "nothing to do", unit="column")


def no_text_note(path: str, name: str, kind: str) -> Note:
    """The note on a column of values that cannot be converted to text, which is left out."""
    problem = f"column '{name}' has {kind}, which cannot be read as text"
    return Note(1, path, problem, "write the values that you need as text", unit="column")


_NAMES_ONE = ("item_id", "user_id", "query_id")
"""Columns whose values refer to a row of a table."""


def _require_one_id(path: str, name: str, values: list[Any], lines: pl.Series, unit: str) -> None:
    """Raise InputError if a value is not an id: a list, an object, true or false."""
    for n, value in enumerate(values):
        by_address = str(value) == object.__repr__(value)
        if isinstance(value, list | dict | bool) or by_address:
            shown = _text(value) if isinstance(value, bool) else f"a {type(value).__name__}"
            listed = isinstance(value, list)
            remedy = "write a row for each of its ids" if listed else "write it as text or a number"
            raise InputError(
                f"{path} {unit} {lines[n]}: {name} is {shown}, and one id is expected; {remedy}"
            )


def holds_ids(name: str) -> bool:
    """Whether a column has ids, by its name."""
    return name.strip().endswith("_id")


def whole_ids(
    path: str,
    name: str,
    column: pl.Series,
    lines: pl.Series,
    unit: str,
    largest: int = WHOLE_AS_FRACTION,
) -> tuple[pl.Series, list[Note]]:
    """Convert ids that are floats such as 10.0 to integers, if all of them are integers.

    pandas converts a column of integers to floats if one is missing.

    Args:
        path: the file, for notes and errors.
        name: the column's name.
        column: Float64, null for values that are not floats.
        lines: the line of each value.
        unit: what `lines` counts.
        largest: the integer from which on the column's type cannot represent every integer.

    Returns:
        the integers, all null if one of the values is not an integer; and a note.

    Raises:
        InputError: a number is so large that different ids may have become equal.
    """
    given = column.drop_nulls().drop_nans()
    if not len(given) or not (given == given.round()).all():
        return pl.repeat(None, len(column), dtype=pl.Int64, eager=True), []
    large = (column.abs() >= largest).fill_null(False)
    if large.any():
        row = large.arg_max()
        assert row is not None
        raise InputError(
            f"{path} {unit} {lines[row]}: {name} '{column[row]:.0f}' is a float, which cannot "
            f"represent all ids of this size; write the column as integers (in pandas "
            f".astype('Int64') before a value is missing) or as text"
        )
    row = column.is_not_null().arg_max()
    assert row is not None
    problem = f"{name} is {column[row]}, as pandas writes integers if one is missing"
    place = f"{path} {unit} {lines[row]}"
    note = Note(len(given), place, problem, "nothing to do", "value", "read as integers")
    return column.fill_nan(None).cast(pl.Int64), [note]


def _decoded(values: list[Any]) -> list[Any] | None:
    """Values with bytes decoded as UTF-8; None if some are invalid."""
    try:
        return [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
    except UnicodeDecodeError:
        return None


def _texts(
    path: str, name: str, values: list[str | None], lines: pl.Series, unit: str
) -> tuple[pl.Series, list[Note]]:
    """Values as a column of texts; an unpaired surrogate is replaced, with a note."""
    try:
        column = pl.Series(values, dtype=pl.String)
        return column.set(column == "", None), []
    except UnicodeEncodeError:
        whole = [value and _whole_characters(value) for value in values]
        halves = [n for n, value in enumerate(values) if value != whole[n]]
        place = f"{path} {unit} {lines[halves[0]]}"
        problem = f"{name} has an unpaired surrogate"
        remedy = "truncate texts only between characters"
        note = Note(len(halves), place, problem, remedy, "value", "replaced by \ufffd")
        texts, _ = _texts(path, name, whole, lines, unit)
        return texts, [note]


def _whole_characters(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(leaf, dict) for leaf in _leaves(value))
    )


def _vector_length(values: list[Any]) -> int:
    """The number of elements of the first vector, if all values are vectors; else 0."""
    length = 0
    for value in values:
        if value is None or value == []:
            continue
        if not isinstance(value, list):
            return 0
        leaves = list(_leaves(value))
        if len(leaves) < VECTOR_LENGTH or not all(_is_number(leaf) for leaf in leaves):
            return 0
        length = length or len(leaves)
    return length


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _leaves(value: list[Any]) -> Iterator[Any]:
    """The values of a list and of its nested lists, in order."""
    for part in value:
        if isinstance(part, list):
            yield from _leaves(part)
        else:
            yield part


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        parts = (_text(leaf) for leaf in _leaves(value))
        return "|".join(part for part in parts if part is not None)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return None if _is_no_number(value) else str(value)
