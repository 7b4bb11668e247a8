"""Tables in CSV, TSV, JSON Lines and Parquet, every column as text.

Invariant: a table that was read has all the rows of its file; what cannot be read is an error
that names the place.
"""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from twofold.data.notes import Note
from twofold.records import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows, with the way back from a row to its place in the file.

    Attributes:
        path: the file.
        rows: every column as text.
        derived: the rows are no longer those of the file, so that only the file can be named.
        notes: what was left out, or is otherwise not as it stands in the file.
        lines: the line on which each row begins; None where each row is one line.
    """

    path: Path
    rows: pl.DataFrame
    derived: bool = False
    notes: tuple[Note, ...] = ()
    lines: pl.Series | None = None

    def with_rows(self, rows: pl.DataFrame) -> "Table":
        """The same rows in the same order, with other columns."""
        assert rows.height == self.rows.height
        return replace(self, rows=rows)

    def filter(self, kept: pl.Series, *notes: Note) -> "Table":
        """The rows where `kept` is true, with `notes` on the others."""
        lines = None if self.derived else self._lines().filter(kept)
        rows = self.rows.filter(kept)
        return replace(self, rows=rows, lines=lines, notes=(*self.notes, *notes))

    def place(self, row: int) -> str:
        """Where row number `row` (from 0) stands, for a person to look it up."""
        if self.derived:
            return str(self.path)
        unit = "row" if self.path.suffix == ".parquet" else "line"
        return f"{self.path} {unit} {self._lines()[row]}"

    def _lines(self) -> pl.Series:
        """The line (or row) of the file on which each row begins, from 1."""
        if self.lines is not None:
            return self.lines
        first = 1 if self.path.suffix in (".parquet", ".jsonl", ".dat") else 2
        return pl.int_range(first, first + self.rows.height, dtype=pl.UInt32, eager=True)

    def require_columns(self, *names: str) -> None:
        """Raise InputError where one of the columns is missing."""
        missing = [name for name in names if name not in self.rows.columns]
        if missing:
            raise InputError(
                f"{self.path}: no column '{missing[0]}' among {', '.join(self.rows.columns)}; "
                f"add it, or rename the column that holds it"
            )


def find_table(folder: Path, name: str) -> Path | None:
    """The file of table `name` in `folder`, in whichever format it is.

    Raises:
        InputError: the table is there twice.
    """
    paths = [folder / f"{name}{s}" for s in SUFFIXES if (folder / f"{name}{s}").is_file()]
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise InputError(f"{folder}: {names} both hold the table {name}; keep one of them")
    return paths[0] if paths else None


def read_table(path: Path) -> Table:
    """Read a table by its suffix.

    Raises:
        InputError: empty, not UTF-8, or not of the format that its suffix says.
    """
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; it needs a header and at least one row")
    try:
        rows = _read(path)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, csv.Error) as error:
        if path.suffix != ".parquet":
            _require_utf8(path)
        reason = _broken_line(path) or f": {str(error).strip().splitlines()[0]}"
        raise InputError(
            f"{path}{reason}; not readable as {path.suffix[1:]}, correct it or write it anew"
        ) from error
    if path.suffix in (".csv", ".tsv"):
        _require_utf8(path)
    if rows.height == 0:
        raise InputError(f"{path}: no row below the header; add rows or remove the file")
    lines = _csv_lines(path) if path.suffix in (".csv", ".tsv") else None
    return Table(path, rows, lines=lines)


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return _as_text(pl.read_parquet(path))
    if path.suffix == ".jsonl":
        return _as_text(pl.read_ndjson(path, infer_schema_length=None))
    return pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", infer_schema=False)


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Typed columns as text; a list becomes its values joined by `|`, as MovieLens writes it."""
    columns = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.List):
            column = column.cast(pl.List(pl.String)).list.join("|")
        elif isinstance(dtype, pl.Struct):
            column = column.struct.json_encode()
        elif isinstance(dtype, (pl.Datetime, pl.Date)):
            column = column.cast(pl.Datetime).dt.to_string("iso:strict")
        columns.append(column.cast(pl.String).alias(name))
    return frame.select(columns)


def _require_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path} line {number}: byte {line[error.start]:#04x} is not UTF-8; "
                    f"convert the file to UTF-8 (iconv -f latin1 -t utf-8)"
                ) from error


def _broken_line(path: Path) -> str | None:
    """The first line that is not of the format, and what is wrong with it."""
    if path.suffix == ".jsonl":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                json.loads(line)
            except json.JSONDecodeError as error:
                return f" line {number}: {error.msg} at column {error.colno}"
    elif path.suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            header = next(reader)
            for row in reader:
                if len(row) > len(header):
                    return (
                        f" line {reader.line_num}: {len(row)} fields, the header has {len(header)}"
                    )
    return None


def _csv_lines(path: Path) -> pl.Series | None:
    """The lines on which records start, where a quoted field spans several lines."""
    if b'"' not in path.read_bytes():
        return None
    lines = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        next(reader)
        start = reader.line_num + 1
        for _ in reader:
            lines.append(start)
            start = reader.line_num + 1
    return pl.Series(lines, dtype=pl.UInt32)
