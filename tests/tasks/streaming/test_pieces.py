"""A table in pieces has the rows, and the lines, of the whole table."""

import codecs
import gzip
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twofold.data.formats import read_table
from twofold.records import InputError
from twofold.tasks.streaming import pieces
from twofold.tasks.streaming.files import NotStreamableError
from twofold.tasks.streaming.pieces import pieces_of

ROWS = [f"u{number},i{number % 7},{number}" for number in range(50)]
TEXT = "\n".join(["user_id,item_id,timestamp", *ROWS])


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_BLOCK", 100)


def _streamed(path: Path) -> pl.DataFrame | None:
    """All rows with their lines; None where the table has to be read whole."""
    try:
        made = pieces_of(path)
        if made is None:
            return None
        tables = [table for _, table in made.each("rows")]
    except (InputError, NotStreamableError):
        return None
    assert [start for start, _ in made.each("rows")] == list(made.starts[:-1])
    parts = [table.rows.with_columns(line=table.line_numbers()) for table in tables]
    return pl.concat(parts) if made.rows else None


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _whole(path: Path) -> pl.DataFrame:
    table = read_table(path)
    return table.rows.with_columns(line=table.line_numbers())


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\n\n\n".encode(),
        TEXT.replace("\n", "\r\n").encode(),
        f"{TEXT}\n\n".replace("\n", "\r\n").encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.replace("u", "Ärger 日本 🍎 ").encode(),
        TEXT.replace("i3", '"i,3"').encode(),
        TEXT.replace("i3", '"i""3"').encode(),
        TEXT.replace("i3", '24" screen').encode(),
        gzip.compress(TEXT.encode()),
        b"".join(gzip.compress(f"{line}\n".encode()) for line in TEXT.split("\n")),
    ],
    ids=["no line feed at the end", "one", "three", "Windows", "Windows, two", "byte order mark",
         "not ASCII", "a comma in quotes", "quotes in quotes", "an inch mark", "gzip",
         "gzip, each line"],
)  # fmt: skip
def test_a_plain_text_is_read_in_pieces(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_bytes(data)
    streamed = _streamed(path)
    assert streamed is not None
    assert streamed.equals(_whole(path))


@pytest.mark.parametrize(
    "data",
    [
        TEXT.replace("i3", '"i\n3"').encode(),
        TEXT.replace("u4,", "\nu4,").encode(),
        TEXT.replace("i4,4\n", "i4\n").encode(),
        TEXT.replace(",", ";").encode(),
        f"sep=,\n{TEXT}".encode(),
        f"\n{TEXT}".encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.encode("utf-16"),
        gzip.compress(TEXT.encode("utf-16")),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
    ids=["a line feed in quotes", "a blank line", "a short row", "semicolons", "sep=",
         "a blank line before the header", "carriage returns", "UTF-16", "UTF-16 in gzip",
         "UTF-32"],
)  # fmt: skip
def test_any_other_is_read_whole(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_bytes(data)
    assert _whole(path).height == 50
    assert _streamed(path) is None


CELLS = st.text(st.sampled_from('ab,"\n\r\t \u2028é'), max_size=6)


@settings(max_examples=200)
@given(
    lines=st.lists(CELLS, min_size=1, max_size=12),
    block=st.integers(1, 20),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz", ".tsv.gz"]),
)
@example(lines=["a,a\r\r", "b,b"], block=1, suffix=".csv")
@example(lines=["x,y\r", '"x', 'y",\x0b\r', " \r"], block=8, suffix=".csv")
def test_pieces_of_any_text_are_those_of_the_whole_or_none(
    lines: list[str], block: int, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / f"any{suffix}"
    header = "a\tb" if ".tsv" in suffix else "a,b"
    _write(path, "\n".join([header, *lines]).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_BLOCK", block)
        streamed = _streamed(path)
    if streamed is not None:
        assert streamed.equals(_whole(path))


VALUES = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([1.0, 2.5, float("nan"), True]),
    st.sampled_from(["", "a", "\u2028", "[1, 2]"]),
    st.lists(st.integers(0, 9), max_size=2),
    st.just([0.5] * 40),
)


@settings(max_examples=200)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["item_id", "text", "x"]), VALUES), min_size=1, max_size=12
    ),
    blank=st.integers(0, 11),
    block=st.integers(1, 60),
    suffix=st.sampled_from([".jsonl", ".ndjson.gz"]),
)
def test_pieces_of_json_lines_are_those_of_the_whole_or_none(
    rows: list[dict[str, Any]],
    blank: int,
    block: int,
    suffix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("any") / f"any{suffix}"
    lines = [json.dumps(row) for row in rows]
    text = "\n".join([*lines[:blank], *([""] * (blank > 5)), *lines[blank:]])
    _write(path, text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_BLOCK", block)
        streamed = _streamed(path)
    if streamed is not None:
        assert streamed.equals(_whole(path))


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_plain_json_lines_are_read_in_pieces(mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / "interactions.jsonl"
    rows = [{"user_id": f"Ärger {n}", "item_id": n % 7, "timestamp": n / 2} for n in range(50)]
    path.write_bytes(mark + "\n".join(map(json.dumps, rows)).encode())
    streamed = _streamed(path)
    assert streamed is not None
    assert streamed.equals(_whole(path))


def test_rows_are_found_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text(TEXT)
    made = pieces_of(path)
    assert made is not None
    table = made.at(np.array([3, 4, 49]))
    assert table.rows["user_id"].to_list() == ["u3", "u4", "u49"]
    assert table.place(2) == made.place(49) == f"{path} line 51"


def test_a_compressed_file_is_decompressed_once_for_all_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "interactions.csv.gz"
    _write(path, TEXT.encode())
    made = pieces_of(path)
    assert made is not None
    opened = Mock(wraps=gzip.open)
    monkeypatch.setattr(gzip, "open", opened)
    assert sum(table.rows.height for _, table in made.each("rows")) == 50
    assert opened.call_count == 1
    assert made.at(np.array([0, 20, 49])).rows["user_id"].to_list() == ["u0", "u20", "u49"]
    assert opened.call_count == 2


def test_other_formats_have_no_pieces(tmp_path: Path) -> None:
    for name in ("queries.json", "queries.json.gz", "queries.parquet.gz", "queries"):
        _write(tmp_path / name, TEXT.encode())
        assert pieces_of(tmp_path / name) is None
