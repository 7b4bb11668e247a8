"""JSON Lines and JSON: one object for each row, its values as text.

A list is read as its values joined by `|`, as in MovieLens; an object as its JSON text. NaN and
Infinity, which Python's json writes, are empty values.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from twofold.artifact import unique_keys
from twofold.data.reading.raw import Raw
from twofold.data.reading.values import column_as_text, holds_ids
from twofold.records import InputError

_BLANKS = re.compile(r"[ \t\r\n]*")


def read_json_lines(path: Path, text: str) -> Raw:
    """The columns of a JSON Lines file, in which only a line feed ends a line.

    Raises:
        InputError: a line is not an object.
    """
    records, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if _after_blanks(line, 0) == len(line):
            continue
        if (start := line.strip(" \t\r")) in ("[", "{"):
            raise InputError(
                f"{path} line {number}: '{start}' alone on a line, but each object must be on one "
                f"line; name the file .json, in which an object may span several"
            )
        value, end = _value(path, line, _after_blanks(line, 0), number)
        if _after_blanks(line, end) < len(line):
            raise _broken(path, number, f"characters after the object at column {end + 1}")
        records.append(_object(path, value, number))
        lines.append(number)
    return _raw(path, records, lines)


def read_json(path: Path, text: str) -> Raw:
    """The columns of a JSON file: a list of objects, or objects one after the other.

    Raises:
        InputError: the file is not JSON, or a value is not an object.
    """
    records, lines = [], []
    for number, value in _values(path, text):
        records.append(_object(path, value, number))
        lines.append(number)
    if len(records) == 1 and all(isinstance(value, dict) for value in records[0].values()):
        raise InputError(
            f"{path}: is one object of objects, a list of objects is expected; from pandas: "
            f"to_json(orient='records')"
        )
    if len(records) == 1 and not any(holds_ids(name) for name in records[0]):
        for name, value in records[0].items():
            if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
                raise InputError(
                    f"{path}: is one object, whose '{name}' has {len(value)} objects; if they "
                    f"are the rows, write that list alone"
                )
    return _raw(path, records, lines)


def _values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The values of a list, or of a sequence without brackets, each with its line."""
    position = _after_blanks(text, 0)
    listed = text[position : position + 1] == "["
    position = _after_blanks(text, position + listed)
    line, counted = 1, 0
    while position < len(text) and not (listed and text[position] == "]"):
        line, counted = line + text.count("\n", counted, position), position
        value, position = _value(path, text, position, 1)
        yield line, value
        position = _after_blanks(text, position)
        if listed and text[position : position + 1] == ",":
            position = _after_blanks(text, position + 1)
        elif listed and text[position : position + 1] != "]":
            raise _broken(path, _line(text, position), "',' or ']' is expected after an object")
    if listed and position == len(text):
        raise _broken(path, _line(text, position), "the list has no end")
    if listed and _after_blanks(text, position + 1) < len(text):
        raise _broken(path, _line(text, position), "characters after the list")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _after_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    assert match is not None
    return match.end()


def _value(path: Path, text: str, position: int, line: int) -> tuple[Any, int]:
    """The value at a position of `text`, which begins on `line`, and the position after it."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        problem = f"{error.msg.removesuffix(' at')} at column {error.colno}"
        raise _broken(path, line + error.lineno - 1, problem) from error
    except (ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, ValueError) else "nested too deeply"
        if "set_int_max_str_digits" in problem:
            problem = f"a number of more than {sys.get_int_max_str_digits():,} digits"
        raise _broken(path, line + _line(text, position) - 1, problem) from error


_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys)


def _object(path: Path, value: Any, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        shown = "a list" if isinstance(value, list) else f"{value!r:.40}"
        remedy = (
            "name the file .json"
            if path.name.endswith((".jsonl", ".ndjson")) and isinstance(value, list)
            else 'write {"item_id": "1", ...}'
        )
        raise InputError(f"{path} line {line}: an object is expected, not {shown}; {remedy}")
    return value


def _broken(path: Path, line: int, problem: str) -> InputError:
    return InputError(f"{path} line {line}: {problem}; not readable as JSON, write the line anew")


def _raw(path: Path, records: list[dict[str, Any]], lines: list[int]) -> Raw:
    names = list(dict.fromkeys(chain.from_iterable(records)))
    raw = Raw([], [], pl.Series(lines, dtype=pl.UInt32))
    for name in names:
        values = [record.get(name) for record in records]
        column, notes = column_as_text(str(path), name, values, raw.lines)
        raw.notes.extend(notes)
        if column is not None:
            raw.names.append(name)
            raw.columns.append(column)
    return raw
