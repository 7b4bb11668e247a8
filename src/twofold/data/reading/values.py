"""Values with a type as text: of JSON, and of Parquet's nested columns."""

import json
import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from twofold.data.dataset import Note

VECTOR_LENGTH = 32
"""From how many numbers on a list is a vector, such as an embedding, and no text."""


def column_as_text(
    path: str, name: str, values: list[Any], lines: pl.Series, unit: str = "line"
) -> tuple[pl.Series | None, list[Note]]:
    """A column as text, with notes on what was not read as it stands; None where it is left out.

    Args:
        path: the file that the notes name.
        name: the column's name.
        values: text, numbers, truth values, lists or objects; None where there is none.
        lines: the line on which each value stands.
        unit: what `lines` counts.
    """
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return _texts(path, name, values, lines, unit)
    if length := _vector_length(values):
        return None, [vector_note(path, name, length)]
    notes = []
    if missing := [n for n, value in enumerate(values) if _is_no_number(value)]:
        written = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(values[missing[0]])]
        place = f"{path} {unit} {lines[missing[0]]}"
        problem = f"{name} is {written}, which is no number"
        remedy = "write null where there is no value"
        notes.append(Note(len(missing), place, problem, remedy, "value", "read as empty"))
    if objects := [n for n, value in enumerate(values) if _holds_object(value)]:
        place = f"{path} {unit} {lines[objects[0]]}"
        problem = f"column '{name}' holds objects"
        remedy = "write what matters to a column of its own"
        notes.append(Note(len(objects), place, problem, remedy, "value", "read as JSON"))
    texts, more = _texts(path, name, [_text(value) for value in values], lines, unit)
    return texts, notes + more


def vector_note(path: str, name: str, length: int) -> Note:
    """The note on a column of vectors, which is left out."""
    problem = f"column '{name}' holds vectors of {length} numbers"
    return Note(1, path, problem, "nothing to do, vectors are no text", unit="column")


def _texts(
    path: str, name: str, values: list[str | None], lines: pl.Series, unit: str
) -> tuple[pl.Series, list[Note]]:
    try:
        column = pl.Series(values, dtype=pl.String)
        return column.set(column == "", None), []
    except UnicodeEncodeError:
        whole = [value and _whole_characters(value) for value in values]
        halves = [n for n, value in enumerate(values) if value != whole[n]]
        place = f"{path} {unit} {lines[halves[0]]}"
        problem = f"{name} holds half a character (a surrogate alone)"
        remedy = "cut texts between characters"
        note = Note(len(halves), place, problem, remedy, "value", "read with \ufffd in its place")
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
    """How many numbers the first vector has, where all values are vectors; else 0."""
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
    """The values of a list and of the lists in it, in order."""
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
