"""Dirty rows in every format: all are kept, left out with a note, or the file is refused.

No row is lost without a word, and no mistake of a user is anything but an InputError. `make slow`
reads 100,000 rows.
"""

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twofold.data.formats import read_table
from twofold.data.sources import read_source
from twofold.records import InputError
from twofold.tasks.report import data_report
from twofold.tasks.report_text import report_text
from twofold.tasks.split import split_dataset

ROWS_OF_THE_SLOW_RUN = 100_000
DIRT = [
    *("", " ", "  ", '"', '""', '24"', '"Oak"', '"Oak" is back', "'", "\\", '\\"', "a b"),
    *("a,b", "a;b", "a\tb", "a|b", "x\ny", "x\r\ny", "\r", "\n", "\u2028", "\x85", "\x0b", "\x1c"),
    *("\ufeff", "\u200b", "é", "e\u0301", "映画", "🎬", "\u202e", "\x00", "#", "=1+1", "sep=;"),
    *("NaN", "nan", "null", "None", "inf", "1e20", "-1", "0", "1", "1.0", "6.0", "007", "1,5"),
    *("[1, 2]", "{}", "[" + "0.5, " * 40 + "1]", "x" * 300, "2024-05-01", "99999999999999999999"),
]
cells = st.sampled_from(DIRT) | st.text(max_size=6)
# A file draws on a few kinds of dirt, or else there would be none that is read.
records = st.lists(cells, min_size=1, max_size=4).flatmap(
    lambda dirt: st.lists(
        st.lists(st.sampled_from(["a", "b c", *dirt]), min_size=3, max_size=3),
        min_size=1,
        max_size=60,
    )
)
HEADER = ["item_id", "title", "text"]

T = TypeVar("T")
Write = Callable[[Sequence[Sequence[str]]], str | bytes]


def unquoted(delimiter: str, end: str) -> Write:
    return lambda rows: end.join(delimiter.join(row) for row in [HEADER, *rows]) + end


def quoted(quoting: int, delimiter: str) -> Callable[[Sequence[Sequence[str]]], str]:
    def write(rows: Sequence[Sequence[str]]) -> str:
        file = io.StringIO()
        # The cast is typeshed's: any of the module's constants will do.
        writer = csv.writer(file, quoting=quoting, delimiter=delimiter)  # type: ignore[arg-type]
        writer.writerows([HEADER, *rows])
        return file.getvalue()

    return write


def json_value(cell: str) -> object:
    """The cell as JSON where it is JSON, so that there are numbers, lists and NaN."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def as_records(rows: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    return [dict(zip(HEADER, map(json_value, row), strict=True)) for row in rows]


def as_json_lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in as_records(rows))


def as_json(rows: Sequence[Sequence[str]]) -> str:
    return json.dumps(as_records(rows))


def as_parquet(rows: Sequence[Sequence[str]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows, schema=HEADER, orient="row").write_parquet(file)
    return file.getvalue()


WRITERS: dict[str, tuple[str, Write]] = {
    "csv as it comes": (".csv", unquoted(",", "\n")),
    "csv of an old Macintosh": (".csv", unquoted(",", "\r")),
    "csv of Windows": (".csv", unquoted(";", "\r\n")),
    "csv with quotes where needed": (".csv", quoted(csv.QUOTE_MINIMAL, ",")),
    "csv with quotes": (".csv", quoted(csv.QUOTE_ALL, ";")),
    "tsv": (".tsv", unquoted("\t", "\n")),
    "json lines": (".jsonl", as_json_lines),
    "broken json lines": (".ndjson", unquoted(",", "\n")),
    "json": (".json", as_json),
    "parquet": (".parquet", as_parquet),
}
read_rows: Counter[str] = Counter()


def count_rows(content: bytes, suffix: str) -> int:
    """How many rows a file has, by other means than ours; lines of blanks are none."""
    if suffix == ".parquet":
        return pl.read_parquet(io.BytesIO(content)).height
    text = content.decode("utf-8-sig")
    if suffix == ".json":
        return len(json.loads(text))
    if suffix == ".csv":
        delimiter = ";" if re.match(r'"?item_id"?;', text) else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return sum(1 for row in reader if len(row) > 1 or "".join(row).strip(" ")) - 1
    if suffix == ".tsv":
        lines = re.split(r"\r\n|\r|\n", text)
        return sum(1 for line in lines if line.strip(" ")) - 1
    return sum(1 for line in text.split("\n") if line.strip(" \t\r"))


def or_message(step: Callable[[], T]) -> T | str:
    """What a step gives, or the message with which it refuses its input."""
    try:
        return step()
    except InputError as error:
        return str(error)


def check_no_row_is_lost(folder: Path, kind: str, rows: list[list[str]], zipped: bool) -> None:
    suffix, write = WRITERS[kind]
    content = write(rows)
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    path = folder / f"items{suffix}{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(data) if zipped else data)
    read_rows["given"] += len(rows)
    table = or_message(lambda: read_table(path))
    if isinstance(table, str):
        assert table.startswith(str(path))
        assert len(table.splitlines()) == 1
        read_rows["refused"] += len(rows)
        return
    left_out = sum(note.rows_left_out for note in table.notes)
    assert table.rows.height + left_out == count_rows(data, suffix)
    assert all(table.place(n).startswith(str(path)) for n in range(table.rows.height))
    read_rows["read"] += table.rows.height + left_out


def check_folder(folder: Path, tables: dict[str, tuple[str, list[list[str]]]]) -> None:
    """A folder of dirty tables is prepared with every row kept or counted, or is refused."""
    for name, (header, rows) in tables.items():
        quoted_rows = quoted(csv.QUOTE_MINIMAL, ",")(rows).partition("\r\n")[2]
        (folder / f"{name}.csv").write_bytes(
            f"{header}\r\n{quoted_rows}".encode("utf-8", "replace")
        )
    dataset = or_message(lambda: read_source(folder))
    prepared = or_message(lambda: split_dataset(read_source(folder), str(folder)))
    if isinstance(dataset, str) or isinstance(prepared, str):
        assert str(prepared).startswith(str(folder))
        return
    assert report_text(data_report(prepared))
    for name, kept in (("qrels", dataset.qrels), ("interactions", dataset.interactions)):
        place = str(folder / f"{name}.csv")
        left_out = sum(n.rows_left_out for n in dataset.notes if n.place.startswith(place))
        assert kept.height + left_out == len(tables[name][1])


UNHURRIED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize("kind", WRITERS)
@settings(UNHURRIED, max_examples=20)
@given(rows=records, zipped=st.booleans())
def test_no_row_is_lost(tmp_path: Path, kind: str, rows: list[list[str]], zipped: bool) -> None:
    check_no_row_is_lost(tmp_path, kind, rows, zipped)


@pytest.mark.slow
def test_no_row_of_a_hundred_thousand_is_lost(tmp_path: Path) -> None:
    read_rows.clear()

    @settings(UNHURRIED, max_examples=400)
    @given(kind=st.sampled_from(list(WRITERS)), rows=records, zipped=st.booleans())
    def check(kind: str, rows: list[list[str]], zipped: bool) -> None:
        check_no_row_is_lost(tmp_path, kind, rows, zipped)

    while read_rows["given"] < ROWS_OF_THE_SLOW_RUN:
        check()
    print(dict(read_rows))
    assert read_rows["read"] > ROWS_OF_THE_SLOW_RUN / 4


ids = st.sampled_from(["a", "b", "c", "1", "1.0", "01", " a", "é", "e\u0301", "映", '"', "a b"])
names = st.sampled_from(["q1", "q2", "q3", "q%20", "q 1"])
known_ids = st.sampled_from(["a", "b", "c", "1"])


@settings(UNHURRIED, max_examples=40)
@given(
    events=st.lists(st.tuples(st.sampled_from("uvw"), known_ids | ids, cells), max_size=20),
    queries=st.lists(st.tuples(names, cells), min_size=1, unique_by=lambda row: row[0]),
    judged=st.lists(
        st.tuples(names, known_ids, st.sampled_from(["0", "1", "1.0", "2", ""])), min_size=1
    ),
)
def test_a_dirty_folder_is_prepared_or_refused(
    tmp_path: Path,
    events: list[tuple[str, str, str]],
    queries: list[tuple[str, str]],
    judged: list[tuple[str, str, str]],
) -> None:
    check_folder(
        tmp_path,
        {
            "items": ("item_id,title", [[i, f"title {i}"] for i in "abc1"]),
            "interactions": ("user_id,item_id,timestamp", [list(row) for row in events]),
            "queries": ("query_id,text", [list(row) for row in queries]),
            "qrels": ("query_id,item_id,relevance", [list(row) for row in judged]),
        },
    )
