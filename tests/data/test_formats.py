"""Every format gives the same tables, and a broken file is named with the line."""

import gzip
import io
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import WriteFolder
from twofold.data.formats import Table, find_table, read_table
from twofold.data.sources import read_source
from twofold.records import InputError

ROWS = pl.DataFrame({"item_id": ["1", "2", "3"], "title": ["One", 'Zwei, "ä"', None]})
FORMATS = [".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"]


def written(suffix: str) -> bytes:
    """`ROWS` as a file of a format."""
    if suffix == ".parquet":
        file = io.BytesIO()
        ROWS.write_parquet(file)
        return file.getvalue()
    if suffix == ".csv":
        return ROWS.write_csv().encode()
    if suffix == ".tsv":
        return ROWS.write_csv(separator="\t", quote_style="never").encode()
    return (ROWS.write_json() if suffix == ".json" else ROWS.write_ndjson()).encode()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("upper", [False, True])
def test_formats_agree(tmp_path: Path, suffix: str, compressed: bool, upper: bool) -> None:
    name = f"items{suffix}{'.gz' if compressed else ''}"
    path = tmp_path / (name.upper() if upper else name)
    path.write_bytes(gzip.compress(written(suffix)) if compressed else written(suffix))
    assert find_table(tmp_path, "items") == path
    table = read_table(path)
    assert table.rows.equals(ROWS)
    assert not table.notes
    assert table.place(1).startswith(f"{path} {'row' if suffix == '.parquet' else 'line'} ")


def test_the_format_may_be_said(tmp_path: Path) -> None:
    path = tmp_path / "items.txt"
    path.write_bytes(written(".tsv"))
    assert read_table(path, ".tsv").rows.equals(ROWS)


def test_a_place_counts_lines_within_quoted_fields(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('item_id,title\n1,"two\nlines"\n2,x\n')
    assert read_table(path).place(1) == f"{path} line 4"


def test_places_in_other_formats() -> None:
    assert Table(Path("t.jsonl"), ROWS).place(1) == "t.jsonl line 2"
    assert Table(Path("t.parquet"), ROWS).place(1) == "t.parquet row 2"


def test_the_same_table_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "items.csv").touch()
    (tmp_path / "items.tsv").touch()
    with pytest.raises(InputError, match="both hold the table items"):
        find_table(tmp_path, "items")


def test_iso_and_numeric_timestamps_order_alike(write_folder: WriteFolder) -> None:
    numbers = write_folder("numbers", interactions="user_id,item_id,timestamp\nu,a,86400\nu,b,0\n")
    iso = write_folder(
        "iso", interactions="user_id,item_id,timestamp\nu,a,1970-01-02T00:00:00Z\nu,b,1970-01-01\n"
    )
    expected = [86400.0, 0.0]
    assert read_source(numbers).interactions["timestamp"].to_list() == expected
    assert read_source(iso).interactions["timestamp"].to_list() == expected


def test_a_wrong_encoding_names_line_and_byte(write_folder: WriteFolder) -> None:
    folder = write_folder()
    (folder / "items.csv").write_bytes(b"item_id,title\na,Alpha\nb,Am\xe9lie\n")
    with pytest.raises(InputError, match=r"items.csv line 3: byte 0xe9 is not UTF-8; convert"):
        read_source(folder)


def test_a_ragged_row_is_an_error_and_never_dropped(write_folder: WriteFolder) -> None:
    folder = write_folder(interactions="user_id,item_id\nu,a\nu,b,c,d\n")
    with pytest.raises(InputError, match=r"interactions.csv line 3: 4 fields, the header has 2"):
        read_source(folder)


def test_a_broken_json_line_is_named(write_folder: WriteFolder) -> None:
    folder = write_folder(items=None)
    (folder / "items.jsonl").write_text('{"item_id": "a", "title": "A"}\n{"item_id": "b"\n')
    with pytest.raises(InputError, match=r"items.jsonl line 2: Expecting"):
        read_source(folder)
