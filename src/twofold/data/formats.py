"""Reads tables in CSV, TSV, JSON Lines, JSON and Parquet, also compressed, every column as text.

Invariant: every row of a file is in its table or counted in a note; anything that cannot be read is
an error with its place. `reading/` has one file for each format.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from twofold.data.checks import letters_of
from twofold.data.dataset import Note
from twofold.data.reading.columns import table_columns
from twofold.data.reading.decode import read_bytes, read_text
from twofold.data.reading.delimited import read_csv, read_tsv
from twofold.data.reading.json_records import read_json, read_json_lines
from twofold.data.reading.lines import read_fields
from twofold.data.reading.parquet import read_parquet
from twofold.data.reading.raw import Raw
from twofold.records import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
COMPRESSED = ".gz"
PACKED = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".z")
"""The suffixes of archives, and of files in compressed formats that are not read."""
_OFTEN_CALLED = {
    "item_id": "product sku article movie film track song artist book video news asin business "
    "venue place poi aid listing hotel recipe",
    "user_id": "customer client visitor member reader session playlist reviewer account",
}
"""What other datasets call the two ids, with or without `id`."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows, and the place of each row in the file.

    Attributes:
        path: the file.
        rows: every column as text.
        derived: the rows are no longer those of the file, so messages name only the file.
        notes: rows that were left out, and other differences from the file.
        lines: the line on which each row begins; None if each row is one line.
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
        """The rows for which `kept` is true, with `notes` on the others."""
        lines = None if self.derived else self._lines().filter(kept)
        rows = self.rows.filter(kept)
        return replace(self, rows=rows, lines=lines, notes=(*self.notes, *notes))

    def place(self, row: int) -> str:
        """The place of row number `row` (from 0) in the file, for messages."""
        if self.derived:
            return str(self.path)
        unit = "row" if format_suffix(self.path) in (".parquet", ".frame") else "line"
        return f"{self.path} {unit} {self._lines()[row]}"

    def line_numbers(self) -> pl.Series | None:
        """The line (or row) of the file on which each row begins, from 1; None if derived."""
        return None if self.derived else self._lines()

    def _lines(self) -> pl.Series:
        """The line (or row) of the file on which each row begins, from 1."""
        if self.lines is not None:
            return self.lines
        first = 2 if format_suffix(self.path) in (".csv", ".tsv") else 1
        return pl.int_range(first, first + self.rows.height, dtype=pl.UInt32, eager=True)

    def require_columns(self, *names: str) -> None:
        """Raise InputError if one of the columns is missing."""
        columns = self.rows.columns
        for name in names:
            if name not in columns:
                for note in self.notes:
                    if note.unit == "column" and f"'{name}'" in note.problem:
                        raise InputError(f"{note.place}: {note.problem}; {note.remedy}")
                remedy = _renaming(name, columns)
                if not set(names) & set(columns) and format_suffix(self.path) in (".csv", ".tsv"):
                    remedy += ", or begin the file with the header"
                raise InputError(
                    f"{self.path}: no column '{name}' among {', '.join(columns)}; "
                    f"add it, or {remedy}"
                )


def _renaming(name: str, columns: Sequence[str]) -> str:
    """Which column to rename where a table has no column `name`."""
    alike = [column for column in columns if letters_of(column) == letters_of(name)]
    often = [word + end for word in _OFTEN_CALLED.get(name, "").split() for end in ("", "id")]
    likely = [column for column in columns if letters_of(column) in often]
    if alike or not likely:
        return f"rename '{alike[0]}'" if alike else "rename the column that holds it"
    return f"rename '{likely[0]}', if it holds the {name.removesuffix('_id')}s"


def format_suffix(path: Path) -> str:
    """The suffix of the format: `.csv` of `items.csv.gz`."""
    inner = Path(path.stem) if path.suffix.lower() == COMPRESSED else path
    return inner.suffix.lower()


def find_table(folder: Path, name: str) -> Path | None:
    """The file of table `name` in `folder`, in any format.

    Raises:
        InputError: there are two files of the table.
    """
    names = {f"{name}{suffix}{end}" for suffix in SUFFIXES for end in ("", COMPRESSED)}
    paths = sorted(p for p in folder.iterdir() if p.name.lower() in names and p.is_file())
    if len(paths) > 1:
        files = " and ".join(path.name for path in paths)
        raise InputError(f"{folder}: {files} both hold the table {name}; keep one of them")
    return paths[0] if paths else None


def read_table(path: Path, suffix: str | None = None) -> Table:
    """Read a table, as text.

    Args:
        path: the file; its suffix determines the format, by default CSV.
        suffix: the format, such as `.tsv`, if the file's name has another suffix or none.

    Raises:
        InputError: the file is empty, not text in a known encoding, or not in this format.
    """
    raw = _read(path, suffix or format_suffix(path))
    if raw is None:
        raise InputError(f"{path}: the file is empty; it needs a header and at least one row")
    rows, lines, notes = table_columns(path, raw)
    if rows.height == 0:
        raise InputError(f"{path}: no row below the header; add rows or remove the file")
    return Table(path, rows, notes=tuple(notes), lines=lines)


def read_lines(
    path: Path, separator: str, columns: Sequence[str], free: int | None = None, more: int = 0
) -> Table:
    """Read a file of fields without a header, as text; the arguments are those of `read_fields`.

    Raises:
        InputError: a line has another number of fields.
    """
    raw = read_fields(path, separator, columns, free, more)
    return Table(
        path, pl.DataFrame(dict(zip(raw.names, raw.columns, strict=True))), lines=raw.lines
    )


def _read(path: Path, suffix: str) -> Raw | None:
    """The columns of a file; None if it has only whitespace."""
    if suffix == ".parquet":
        return read_parquet(path, data) if (data := read_bytes(path)) else None
    text = read_text(path)
    if not text.strip():
        return None
    if suffix in (".jsonl", ".ndjson"):
        return read_json_lines(path, text)
    if suffix == ".json":
        return read_json(path, text)
    return read_tsv(path, text) if suffix == ".tsv" else read_csv(path, text)
