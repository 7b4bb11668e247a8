"""The header: blanks round a name, two columns of one name, columns without one."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.data.reading.tables import notes, read, rows
from twofold.records import InputError


@pytest.mark.parametrize(
    "header", ["item_id, title", " item_id ,title\u00a0", '"item_id"," title"']
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_blanks_round_a_name_are_ignored(tmp_path: Path, header: str, quote: str) -> None:
    table = read(tmp_path, "items.csv", f"{header}\n1,{quote} A{quote}\n")
    assert table.rows.columns == ["item_id", "title"]
    assert rows(table) == [("1", " A")]


def test_blanks_round_a_key_are_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, "i.jsonl", '{" item_id": 1}\n').rows.columns == ["item_id"]


@pytest.mark.parametrize(
    "header", ["item_id,title,title", "item_id,title, title", '"item_id",title,"title"']
)
def test_two_columns_of_one_name_are_an_error(tmp_path: Path, header: str) -> None:
    message = "column 'title' occurs twice in the header, as columns 2 and 3; rename or remove one"
    with pytest.raises(InputError, match=message):
        read(tmp_path, "items.csv", f"{header}\n1,A,B\n")


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("", "column 1 has"),
        ("Unnamed: 0", "column 1 ('Unnamed: 0') has"),
        ("Unnamed: 0.1", "column 1 ('Unnamed: 0.1') has"),
        ("__index_level_0__", "column 1 ('__index_level_0__') has"),
        (" ", "column 1 has"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_numbers_of_pandas_rows_are_left_out(
    tmp_path: Path, name: str, called: str, suffix: str
) -> None:
    frame = pl.DataFrame({name: ["0", "1"], "item_id": ["a", "b"], "title": ["A", "B"]})
    if suffix == ".parquet":
        frame.write_parquet(tmp_path / "items.parquet")
        content: str | bytes = (tmp_path / "items.parquet").read_bytes()
    elif suffix == ".jsonl":
        content = "".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True))
    else:
        delimiter = "\t" if suffix == ".tsv" else ","
        content = frame.write_csv(separator=delimiter, quote_style="never")
    table = read(tmp_path, f"items{suffix}", content)
    assert rows(table) == [("a", "A"), ("b", "B")]
    assert notes(table) == [
        f"items{suffix}: {called} no name and begins with '0' (1 column left out); "
        "name it, or in pandas write with index=False"
    ]


def test_a_delimiter_at_the_end_makes_no_column(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", "item_id,title,,\n1,A,,\n2,B,,\n")
    assert rows(table) == [("1", "A"), ("2", "B")]
    assert [note.partition(" (")[0] for note in notes(table)] == [
        "items.csv: column 3 has neither name nor values",
        "items.csv: column 4 has neither name nor values",
    ]


@pytest.mark.parametrize("header", ["item_id,title", "item_id, title", '"item_id","title"'])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_row_that_repeats_the_header_is_left_out(
    tmp_path: Path, header: str, suffix: str
) -> None:
    lines = [header, "1,A", "title,item_id", header, "item_id,B", "", header, "2,title"]
    content = "\n".join(lines) + "\n"
    if suffix == ".tsv":
        content = content.replace(",", "\t").replace('"', "")
    table = read(tmp_path, f"items{suffix}", content)
    assert rows(table) == [("1", "A"), ("title", "item_id"), ("item_id", "B"), ("2", "title")]
    assert notes(table) == [
        f"items{suffix} line 4: the row repeats the header, as if files had been concatenated "
        "(2 rows left out); remove it"
    ]
    assert [table.place(row)[-1] for row in range(4)] == ["2", "3", "5", "8"]


def test_a_file_with_headers_only_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row below the header"):
        read(tmp_path, "items.csv", "item_id,title\nitem_id,title\n")


def test_a_file_without_names_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column has a name; add a header"):
        read(tmp_path, "items.csv", ",\n1,A\n")


@pytest.mark.parametrize(
    "cell", ["[" + ", ".join(["0.25"] * 40) + "]", "[ 1e-3 " + "\n -0.5 " * 39 + "]"]
)
def test_vectors_in_csv_are_left_out(tmp_path: Path, cell: str) -> None:
    table = read(tmp_path, "items.csv", f'item_id,embedding\n1,"{cell}"\n2,\n3,"{cell}"\n')
    assert table.rows.columns == ["item_id"]
    assert notes(table)[-1] == (
        "items.csv: column 'embedding' has vectors of 40 numbers (1 column left out); nothing to do"
    )


def test_text_that_looks_like_a_vector_once_is_kept(tmp_path: Path) -> None:
    cell = "[" + ", ".join(["1"] * 40) + "]"
    table = read(tmp_path, "items.csv", f'item_id,title\n1,"{cell}"\n2,B\n')
    assert table.rows.columns == ["item_id", "title"]
