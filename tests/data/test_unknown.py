"""Rows that name an unknown id are left out where that is asked, and items may come from events."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import INTERACTIONS, QRELS, WriteFolder
from twofold.data.formats import Table
from twofold.data.sources import read_source
from twofold.data.unknown import leave_out_unknown
from twofold.data.validation import validate
from twofold.records import InputError
from twofold.tasks.storage import load_dataset, save_dataset

DIRTY = {
    "interactions": INTERACTIONS + "u9,zz,5\nu1,yy,7\nu9,a,8\n",
    "qrels": QRELS + "q9,a,1\nq1,zz,1\n",
}


def test_without_the_option_the_error_names_it(write_folder: WriteFolder) -> None:
    folder = write_folder(**DIRTY)
    with pytest.raises(
        InputError, match=r"or leave them out with --skip-unknown \(skip_unknown=True\)"
    ):
        read_source(folder)


def test_unknown_ids_are_left_out_counted_and_listed(
    write_folder: WriteFolder, tmp_path: Path
) -> None:
    folder = write_folder(**DIRTY)
    dataset = load_dataset(folder, skip_unknown=True)
    clean = load_dataset(
        write_folder("clean", interactions=INTERACTIONS + "u9,a,8\n"), skip_unknown=True
    )
    assert dataset.digest == clean.digest
    assert not clean.left_out.height
    notes = [str(note).replace(f"{folder}/", "") for note in dataset.notes]
    remedy = "add it there; left_out.jsonl of the prepared folder lists the rows"
    assert notes == [
        "interactions.csv line 16: item_id 'zz' is not in the table items (2 rows left out); "
        + remedy,
        f"qrels.csv line 6: query_id 'q9' is not in the table queries (1 row left out); {remedy}",
        f"qrels.csv line 7: item_id 'zz' is not in the table items (1 row left out); {remedy}",
    ]
    save_dataset(dataset, tmp_path / "out")
    listed = (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()
    file = str(folder / "interactions.csv")
    assert [json.loads(line) for line in listed][:2] == [
        {"file": file, "line": 16, "reason": "item_id 'zz' is not in the table items"},
        {"file": file, "line": 17, "reason": "item_id 'yy' is not in the table items"},
    ]
    assert len(listed) == 4
    assert load_dataset(tmp_path / "out").digest == dataset.digest


def test_unknown_ids_in_the_last_chunk_of_a_table_are_left_out() -> None:
    chunks = [pl.DataFrame({"user_id": ["u", "v"], "item_id": [item] * 2}) for item in ("a", "zz")]
    tables = {
        "items": [Table(Path("items.csv"), pl.DataFrame({"item_id": ["a", "b"]}))],
        "interactions": [Table(Path("events.csv"), pl.concat(chunks, rechunk=False))],
    }
    _, left_out = leave_out_unknown(tables)
    reason = "item_id 'zz' is not in the table items"
    assert left_out.rows() == [("events.csv", 4, reason), ("events.csv", 5, reason)]


def test_places_of_later_errors_are_those_of_the_file(write_folder: WriteFolder) -> None:
    rows = INTERACTIONS + "u9,zz,5\nu9,,6\n"
    with pytest.raises(InputError, match=r"interactions.csv line 17: item_id is empty"):
        load_dataset(write_folder(interactions=rows), skip_unknown=True)


def test_a_table_of_which_nothing_is_left_is_refused(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id\nu,6.0\nv,7.0\n"
    with pytest.raises(InputError, match=r"line 2: item_id '6.0' .* no other row can be used"):
        load_dataset(write_folder(interactions=rows), skip_unknown=True)


def test_recommendation_needs_no_table_of_items(write_folder: WriteFolder) -> None:
    folder = write_folder(items=None, queries=None, qrels=None)
    dataset = load_dataset(folder)
    assert dataset.tasks == ("recommendation",)
    assert dataset.catalog.item_ids == ["a", "b", "c", "d", "e"]
    assert dataset.catalog.title("a") == "a"
    assert [str(note) for note in dataset.notes] == [
        f"{folder}/interactions.csv: there is no table items (5 items taken from the "
        f"interactions, without a title); add items.csv with item_id and title"
    ]


def test_tables_of_a_program_need_no_items_either() -> None:
    rows = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["b", "a", "b"]})
    dataset = validate({"interactions": [Table(Path("made"), rows)]})
    assert dataset.catalog.item_ids == ["b", "a"]
    assert dataset.interactions.height == 3
