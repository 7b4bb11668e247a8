"""Large tables as text, some rows at a time: Parquet by its rows, other formats by their lines.

Files that are compressed with gzip are decompressed piece by piece as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from twofold.data.formats import Table, format_suffix
from twofold.data.reading.columns import table_columns
from twofold.data.reading.decode import decode, opened
from twofold.data.reading.delimited import read_csv, read_tsv
from twofold.data.reading.json_records import read_json_lines
from twofold.data.reading.parquet import any_time_zone, frame_columns
from twofold.data.reading.raw import Raw
from twofold.records import Ints
from twofold.tasks.streaming import files
from twofold.tasks.streaming.files import NotStreamableError, with_progress

_BLOCK = 1 << 25
"""The number of bytes of a text file that are read at once."""
_LONGEST_HEADER = 1 << 20
_OTHER_TEXT = (b"\xff\xfe", b"\xfe\xff", b"\0")
"""The first bytes of files in UTF-16 and UTF-32, which are read whole."""


class Pieces(ABC):
    """A table in pieces.

    Args:
        path: the file.
        starts: the first row of each piece, and the number of all rows, ascending.
        first_line: the line, or row, of row 0 in the file.

    Attributes:
        path, starts: the arguments.
        rows: the number of rows.
    """

    def __init__(self, path: Path, starts: Sequence[int], first_line: int) -> None:
        self.path, self.starts, self.rows = path, starts, starts[-1]
        self._first_line = first_line
        self._columns: list[str] = []

    def each(self, what: str) -> Iterator[tuple[int, Table]]:
        """The first row number and the rows of each piece; the log calls the work `what`.

        Raises:
            NotStreamableError: a row needs a note, or is not on one line.
        """
        starts = self.starts[:-1]
        tables = zip(starts, self._tables(range(len(starts))), strict=True)
        yield from with_progress(tables, what, len(starts))

    def at(self, chosen: Ints) -> Table:
        """The rows with the given numbers, which are ascending."""
        borders = np.searchsorted(chosen, self.starts)
        numbers = np.flatnonzero(np.diff(borders)).tolist()
        parts = []
        for number, table in zip(numbers, self._tables(numbers), strict=True):
            offsets = chosen[borders[number] : borders[number + 1]] - self.starts[number]
            parts.append(table.rows[offsets])
        lines = pl.Series(chosen + self._first_line, dtype=pl.UInt32)
        return Table(self.path, pl.concat(parts), lines=lines)

    def place(self, row: int) -> str:
        """The place of a row in the file, for messages."""
        line = pl.Series([row + self._first_line], dtype=pl.UInt32)
        return Table(self.path, pl.DataFrame({"row": [row]}), lines=line).place(0)

    def _tables(self, numbers: Sequence[int]) -> Iterator[Table]:
        """The pieces with the given numbers, which are ascending."""
        for number, raw in zip(numbers, self._read(numbers), strict=True):
            yield self._checked(number, raw)

    def _checked(self, number: int, raw: Raw) -> Table:
        start, end = self.starts[number : number + 2]
        rows, lines, notes = table_columns(self.path, raw)
        first, last = self._first_line, self._first_line + end - start - 1
        if notes or rows.height != end - start or (lines[0], lines[-1]) != (first, last):
            raise NotStreamableError(f"{self.path}: a row is not on one line, or needs a note")
        self._columns = self._columns or rows.columns
        if not set(rows.columns) <= set(self._columns):
            raise NotStreamableError(f"{self.path}: a column is missing in the first rows")
        absent = [name for name in self._columns if name not in rows.columns]
        rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
        return Table(self.path, rows.select(self._columns), lines=lines + start)

    @abstractmethod
    def _read(self, numbers: Sequence[int]) -> Iterator[Raw]:
        """The columns of pieces in ascending order, with lines as if each piece began the file."""


class ParquetPieces(Pieces):
    """A Parquet table in pieces of `files.PIECE` rows."""

    def __init__(self, path: Path) -> None:
        rows: int = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        super().__init__(path, [*range(0, rows, files.PIECE), rows], first_line=1)

    def _read(self, numbers: Sequence[int]) -> Iterator[Raw]:
        for number in numbers:
            start, end = self.starts[number : number + 2]
            with any_time_zone():
                frame = pl.scan_parquet(self.path, glob=False).slice(start, end - start).collect()
            yield frame_columns(self.path, frame)


class LinePieces(Pieces):
    """A table in CSV, TSV or JSON Lines in pieces of about `_BLOCK` bytes, one row on each line.

    Each piece is read as if it were the whole file after the header. If a piece ends within a
    quoted cell, the closing quote is missing, so the piece is not a valid table.

    Args:
        path: the file.
        read: reads the header and a piece.
        header: the first line of the file; empty in a format without one.
    """

    def __init__(self, path: Path, read: Callable[[Path, str], Raw], header: bytes) -> None:
        self._read_text = read
        self._header, self._offsets, starts = header, [len(header)], [0]
        with opened(path) as file:
            file.seek(len(header))
            while block := file.read(_BLOCK):
                block += file.readline()
                if lines := _lines(block, is_last=not file.peek(1)):
                    self._offsets.append(file.tell())
                    starts.append(starts[-1] + lines)
        super().__init__(path, starts, first_line=2 if header else 1)

    def _read(self, numbers: Sequence[int]) -> Iterator[Raw]:
        with opened(self.path) as file:  # once: a compressed file is read from its beginning
            for number in numbers:
                begin, end = self._offsets[number : number + 2]
                file.seek(begin)
                data = self._header + file.read(end - begin)
                if data.count(b"\r") != data.count(b"\r\n"):
                    raise NotStreamableError(f"{self.path}: a carriage return ends a line")
                yield self._read_text(self.path, decode(self.path, data))


def _lines(block: bytes, *, is_last: bool) -> int:
    """The number of lines; at the end of the file, empty lines are not counted."""
    text = block.rstrip(b"\r\n") if is_last else block.removesuffix(b"\n")
    return text.count(b"\n") + (bool(text) or not is_last)


def _with_header(read: Callable[[Path, str], Raw]) -> Callable[[Path], Pieces | None]:
    """The pieces of a file whose first line is a header."""
    return lambda path: LinePieces(path, read, line) if (line := _first_line(path)) else None


def _json_lines(path: Path) -> Pieces | None:
    return LinePieces(path, read_json_lines, b"") if _first_line(path) else None


def _first_line(path: Path) -> bytes | None:
    """The first line of a file; None if it has no line feed, or if the file must be read whole
    because of its encoding."""
    with opened(path) as file:
        line = file.readline(_LONGEST_HEADER)
    return line if line.endswith(b"\n") and not line.startswith(_OTHER_TEXT) else None


_LINES: Mapping[str, Callable[[Path], Pieces | None]] = {
    ".csv": _with_header(read_csv),
    ".tsv": _with_header(read_tsv),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}


def pieces_of(path: Path) -> Pieces | None:
    """A table in pieces; None for a format, or an encoding, that is read whole.

    Raises:
        InputError, PolarsError: the file is not readable.
    """
    if path.suffix.lower() == ".parquet":
        return ParquetPieces(path)
    read = _LINES.get(format_suffix(path))
    return read(path) if read else None
