"""Reads files of fields without a header, as in older datasets."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from twofold.data.reading.decode import read_bytes
from twofold.data.reading.raw import Raw
from twofold.records import InputError


def read_fields(
    path: Path, separator: str, columns: Sequence[str], free: int | None = None, more: int = 0
) -> Raw:
    """The rows of a file, one for each line; empty lines are skipped.

    Args:
        path: the file, in UTF-8 or, like the oldest ones, in Latin-1.
        separator: the separator of fields.
        columns: the names of the fields.
        free: the number of the field that may contain the separator as text; none if None.
        more: the number of fields that may follow the named ones; they are not read.

    Raises:
        InputError: a line has another number of fields.
    """
    rows: list[list[str | None]] = []
    lines: list[int] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.removesuffix("\r").split(separator)
        extra = len(fields) - len(columns)
        if free is not None and extra > 0:
            fields[free : free + extra + 1] = [separator.join(fields[free : free + extra + 1])]
            extra = 0
        if not 0 <= extra <= more:
            raise InputError(
                f"{path} line {number}: {len(fields)} fields where {len(columns)} are expected; "
                f"correct the line, or unpack the archive again"
            )
        rows.append([field or None for field in fields[: len(columns)]])
        lines.append(number)
    if not rows:
        raise InputError(f"{path}: the file is empty; unpack the archive again")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return Raw(frame.columns, frame.get_columns(), pl.Series(lines, dtype=pl.UInt32))


def _text(path: Path) -> str:
    """The text of a file in UTF-8, or else in Latin-1.

    Raises:
        InputError: the file is mostly UTF-8, with invalid bytes.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "replace")
        broken = text.count("\ufffd")
        if sum(character > "\x7f" for character in text) > 3 * broken:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{path} line {line}: byte {data[error.start]:#04x} is not UTF-8 as the rest of "
                f"the file is; correct this line"
            ) from error
        return data.decode("latin-1")
