"""Reads CSV as spreadsheets do, and TSV, in which a quote is a character.

In CSV a cell that begins with a quote ends with one; a quote inside any other cell is a character
(24" screen). Lines end with a line feed, a carriage return, or both; empty lines are skipped. Short
rows are filled with empty cells and counted; longer ones are an error.
"""

import csv
import io
import operator
import re
import sys
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import Note
from twofold.data.reading.raw import Raw
from twofold.records import InputError

if TYPE_CHECKING:
    from _csv import Reader

_DELIMITERS = ",;\t|"
_CHUNK = 4000
"""The number of rows that are converted to columns at once."""

_BLOCK = 1 << 23
"""The number of characters that are checked at once."""


def read_csv(path: Path, text: str) -> Raw:
    """The columns of a CSV file, with the delimiter of its header: `,` or else `;`, tab, `|`.

    Raises:
        InputError: a quote does not enclose a cell, a row is longer than the header, or the last
            line is a text below the table.
    """
    first_line, skipped, delimiter = _beginning(text)
    delimiter = delimiter or _delimiter_of(first_line)
    raw = (
        _quoted(path, text, delimiter, skipped)
        if '"' in text
        else _unquoted(path, text, delimiter, skipped)
    )
    _require_no_footer(path, raw)
    if delimiter != ",":
        name = "a tab" if delimiter == "\t" else f"'{delimiter}'"
        problem = f"the delimiter is {name}, not ','"
        raw.notes.append(Note(len(raw.lines), str(path), problem, "nothing to do", effect="read"))
    return raw


def read_tsv(path: Path, text: str) -> Raw:
    """The columns of a TSV file.

    Raises:
        InputError: the header has no tabs, a row is longer than the header, or the last line is a
            text below the table.
    """
    header, _, _ = _beginning(text)
    names = header.split("\t")
    if len(names) == 1 and (other := _delimiter_of(header)) in header:
        raise InputError(
            f"{path}: the header is separated by '{other}', not by tabs; name the file .csv"
        )
    if all(re.fullmatch(r'".*"', name) for name in names):
        raise InputError(
            f"{path}: quotes enclose the cells of the header, but are characters in TSV; "
            f"name the file .csv, which may be separated by tabs as well"
        )
    raw = _unquoted(path, text, "\t")
    _require_no_footer(path, raw)
    if '"' in text:
        raw.notes.extend(_enclosed_cells(path, raw))
    return raw


def _beginning(text: str) -> tuple[str, int, str | None]:
    """The header, the records before it, and the delimiter of a line `sep=;` before it."""
    lines = (match[0] for match in re.finditer(r"[^\r\n]+", text))
    header = next((line for line in lines if line.strip(" ")), "")
    named = re.fullmatch(r'"?sep=(.)"?', header.strip())
    following = next((line for line in lines if line.strip(" ")), None) if named else None
    if named is None or following is None:
        return header, 0, None
    return following, 1, named[1]


def _delimiter_of(header: str) -> str:
    """The delimiter of a header: the most frequent one outside quotes, or a comma."""
    outside = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=outside.count)


def _unquoted(path: Path, text: str, delimiter: str, skipped: int = 0) -> Raw:
    """A file in which every line is a row and every delimiter separates two cells."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not skipped and (raw := _even_lines(text, delimiter, quoted=False)):
        return raw
    numbered = pl.DataFrame({"text": _lines(text)}).with_row_index("line", offset=1)
    numbered = numbered.filter(pl.col("text").str.strip_chars(" ") != "").slice(skipped)
    names = numbered["text"][0].split(delimiter)
    rows = numbered.slice(1)
    sizes = rows["text"].str.count_matches(delimiter, literal=True) + 1
    _require_one_delimiter(path, sizes, rows, names, delimiter)
    notes = _ragged(path, sizes, rows["line"], len(names))
    cells = rows["text"].str.split_exact(delimiter, len(names) - 1).struct.unnest()
    return Raw(names, [_emptied(column) for column in cells.iter_columns()], rows["line"], notes)


def _quoted(path: Path, text: str, delimiter: str, skipped: int) -> Raw:
    """A file in which quotes may enclose cells, and a row may span several lines."""
    if not skipped and (raw := _even_lines(text.replace("\r\n", "\n"), delimiter, quoted=True)):
        return raw
    reader = _reader(text, delimiter)
    try:
        names = next(islice((cells for cells in reader if not _is_blank(cells)), skipped, None))
        start = reader.line_num + 1
        parts = [_rows([], len(names), start)]
        while records := list(islice(reader, _CHUNK)):
            parts.append(_rows(records, len(names), start))
            if (parts[-1]["size"] > len(names)).any():
                raise _first_broken(path, text, delimiter, skipped)
            start = reader.line_num + 1
    except csv.Error as error:
        raise _first_broken(path, text, delimiter, skipped) from error
    rows = pl.concat(parts)
    begin = rows.select(pl.col("start").alias("line"), pl.col("0").alias("text"))
    _require_one_delimiter(path, rows["size"], begin, names, delimiter)
    notes = _ragged(path, rows["size"], rows["start"], len(names))
    notes += _swallowed(path, text, delimiter, rows.select("start", "end"), len(names))
    columns = [_emptied(rows[str(n)]) for n in range(len(names))]
    return Raw(names, columns, rows["start"], notes)


def _even_lines(text: str, delimiter: str, quoted: bool) -> Raw | None:
    """The columns if each line is a row as long as the header; None for any other file.

    If `quoted`, quotes must enclose whole cells. Polars reads such a file like the csv module, many
    times as fast.
    """
    text = text.rstrip("\n")
    height, size = 0, None
    for block in _blocks(text):
        sizes = _sizes(_lines(block), delimiter, quoted)
        size = size or (sizes[0] if sizes is not None else None)
        if not size or size == 1 or sizes is None or not (sizes == size).all():
            return None
        height += len(sizes)
    assert size is not None
    frame = pl.read_csv(
        text.encode(),
        has_header=False,
        infer_schema=False,
        separator=delimiter,
        quote_char='"' if quoted else None,
    )
    if frame.shape != (height, size):
        return None
    names = [name or "" for name in frame.row(0)]
    columns = [_emptied(column) for column in frame.slice(1).iter_columns()]
    return Raw(names, columns, pl.int_range(2, height + 1, dtype=pl.UInt32, eager=True))


def _sizes(lines: pl.Series, delimiter: str, quoted: bool) -> pl.Series | None:
    """The number of cells of each line; None if a quote does not enclose a whole cell."""
    if quoted:
        cell = rf'(?:"(?:[^"]|"")*"|[^"\r{delimiter}]*)'
        if not lines.str.contains(rf"^{cell}(?:[{delimiter}]{cell})*$").all():
            return None
        lines = lines.str.replace_all('"(?:[^"]|"")*"', "")
    return lines.str.count_matches(delimiter, literal=True) + 1


def _blocks(text: str) -> Iterator[str]:
    """The text in blocks of whole lines, so that no check needs memory for all lines at once."""
    start = 0
    while start <= len(text):
        end = text.find("\n", start + _BLOCK)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _lines(text: str) -> pl.Series:
    return pl.Series([text]).str.split("\n").explode()


def _reader(text: str, delimiter: str) -> "Reader":
    csv.field_size_limit(sys.maxsize)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _is_blank(cells: list[str]) -> bool:
    """Whether a record is a line with only whitespace."""
    return len(cells) < 2 and not "".join(cells).strip(" ")


def _rows(records: list[list[str]], columns: int, line: int) -> pl.DataFrame:
    """Records as columns 0, 1, ..., with start, end and size; the first record begins on `line`.

    Short records are filled and long ones truncated; blank ones are left out.
    """
    sizes = [len(cells) for cells in records]
    if sizes and not min(sizes) == max(sizes) == columns:
        filling = [""] * columns
        records = [[*cells, *filling][:columns] for cells in records]
    by_column = zip(*records, strict=True) if records else [()] * columns
    cells = pl.DataFrame(
        [pl.Series(str(n), column, dtype=pl.String) for n, column in enumerate(by_column)]
    )
    breaks = pl.sum_horizontal(pl.all().str.count_matches(r"\r\n|\r|\n"))
    numbers = cells.select(end=(breaks + 1).cum_sum() + line - 1, breaks=breaks).select(
        start=(pl.col("end") - pl.col("breaks")).cast(pl.UInt32),
        end=pl.col("end").cast(pl.UInt32),
        size=pl.Series(sizes, dtype=pl.UInt32),
    )
    rows = pl.concat([numbers, cells], how="horizontal")
    is_blank = (pl.col("size") < 2) & (pl.col("0").str.strip_chars(" ") == "")
    return rows.filter(~is_blank)


def _first_broken(path: Path, text: str, delimiter: str, skipped: int) -> InputError:
    """The error for the first row that cannot be read, with the line on which it begins."""
    reader = _reader(text, delimiter)
    sizes: list[int] = []
    start = 1
    try:
        for cells in reader:
            if not _is_blank(cells):
                sizes.append(len(cells))
            if len(sizes) > skipped and sizes[-1] > sizes[skipped]:
                return _too_long(path, start, sizes[-1], sizes[skipped])
            start = reader.line_num + 1
    except csv.Error as error:
        unended = "end of data" in str(error)
        problem = "has no closing quote" if unended else "has text after its closing quote"
        upto = "" if reader.line_num == start else f" (read up to line {reader.line_num})"
        return InputError(
            f"{path} line {start}: a quoted cell {problem}{upto}; enclose the "
            f'cell in quotes and write a quote inside it as two: "24"" screen"'
        )
    raise AssertionError("every row can be read")


def _ragged(path: Path, sizes: pl.Series, lines: pl.Series, columns: int) -> list[Note]:
    """A note if rows are shorter than the header; InputError if one is longer.

    `sizes` has the number of cells of each row, `lines` the line on which it begins.
    """
    if (row := first_true(sizes > columns)) is not None:
        raise _too_long(path, lines[row], sizes[row], columns)
    short = sizes < columns
    if (row := first_true(short)) is None:
        return []
    problem = f"{sizes[row]} fields where the header has {columns}"
    remedy = "write every delimiter, also before empty cells"
    place = f"{path} line {lines[row]}"
    return [Note(int(short.sum()), place, problem, remedy, effect="filled with empty cells")]


def _require_one_delimiter(
    path: Path, sizes: pl.Series, rows: pl.DataFrame, names: list[str], delimiter: str
) -> None:
    """Raise InputError if the header has one delimiter, and all rows another.

    Args:
        path: the file.
        sizes: the number of cells of each row.
        rows: the line and the text of each row.
        names: the cells of the header.
        delimiter: the delimiter of the header.
    """
    if len(names) == 1 or not len(sizes) or not (sizes == 1).all():
        return
    for other in _DELIMITERS:
        counts = rows["text"].fill_null("").str.count_matches(other, literal=True)
        if other != delimiter and (counts >= len(names) - 1).all():
            row, header = (repr(c) if c == "\t" else f"'{c}'" for c in (other, delimiter))
            raise InputError(
                f"{path} line {rows['line'][0]}: the rows are separated by {row} and the "
                f"header by {header}; use one delimiter everywhere"
            )


def _require_no_footer(path: Path, raw: Raw) -> None:
    """Raise InputError if the last line is no row but a text below the table.

    It is one if only its first cell is filled, and with words, unlike those of all other rows.
    """
    if len(raw.columns) < 2 or len(raw.lines) < 2:
        return
    first, others = raw.columns[0], raw.columns[1:]
    alone = reduce(operator.and_, (column.is_null() for column in others), first.is_not_null())
    worded = first.str.contains(r"\s").fill_null(False)
    if alone.sum() == worded.sum() == (alone & worded).sum() == 1:
        row = alone.arg_max()
        assert row is not None
        if first[row + 1 :].is_not_null().any():
            return
        raise InputError(
            f"{path} line {raw.lines[row]}: '{first[row]:.80}' is alone in the last line, and "
            f"looks like a text below the table; remove the line, or fill another cell of it"
        )


def _too_long(path: Path, line: int, size: int, columns: int) -> InputError:
    remedy = (
        "is the first line the header?"
        if columns == 1
        else "enclose a field that contains a delimiter in quotes, or remove the extra fields"
    )
    return InputError(f"{path} line {line}: {size} fields, the header has {columns}; {remedy}")


def _emptied(column: pl.Series) -> pl.Series:
    """The column with null instead of empty text."""
    empty = column == ""
    return column.set(empty, None) if empty.any() else column


def _enclosed_cells(path: Path, raw: Raw) -> list[Note]:
    """A note if quotes seem to enclose cells of a TSV file."""
    enclosed = [column.str.contains(r'(?s)^".*"$').fill_null(False) for column in raw.columns]
    rows = [row for cells in enclosed if (row := first_true(cells)) is not None]
    if not rows:
        return []
    count = sum(int(cells.sum()) for cells in enclosed)
    row = min(rows)
    place = f"{path} line {raw.lines[row]}"
    problem = "a cell begins and ends with a quote, which is a character in TSV"
    remedy = "if quotes enclose cells, name the file .csv"
    return [Note(count, place, problem, remedy, unit="cell", effect="read with the quotes")]


def _swallowed(
    path: Path, text: str, delimiter: str, spans: pl.DataFrame, columns: int
) -> list[Note]:
    """A note if a row spans lines that each look like a row, perhaps because of a stray quote.

    Three or more such lines, in a file without other cells of several lines, are an InputError.
    `spans` has the lines on which each row starts and ends.
    """
    spans = spans.filter(pl.col("end") > pl.col("start"))
    if not spans.height or columns == 1:
        return []
    lines = _lines(text.replace("\r\n", "\n").replace("\r", "\n"))
    alike = (lines.str.count_matches(delimiter, literal=True) == columns - 1).cast(pl.UInt32)
    # The cumulative number of lines that look like a row, to check all lines of a span at once.
    before = pl.concat([pl.Series([0], dtype=pl.UInt32), alike.cum_sum()])
    start, end = spans["start"], spans["end"]
    cells = spans.filter(before.gather(end) - before.gather(start - 1) == end - start + 1)
    if not cells.height:
        return []
    longest = (cells["end"] - cells["start"]).arg_max()
    assert longest is not None
    first_line, last_line = cells.row(longest)
    problem = f"a quoted cell continues up to line {last_line}, and each line looks like a row"
    remedy = "if they are rows, remove the quotes or double them"
    if last_line > first_line + 1 and cells.height == spans.height:
        raise InputError(f"{path} line {first_line}: {problem}; {remedy}")
    effect = "read over several lines"
    return [
        Note(cells.height, f"{path} line {first_line}", problem, remedy, unit="cell", effect=effect)
    ]
