"""Each mistake gets one message with the place, the value and the remedy."""

from pathlib import Path

import pytest

from tests.conftest import INTERACTIONS, ITEMS, QRELS, QUERIES, WriteFolder
from twofold.data.sources import read_source
from twofold.records import InputError

CASES: dict[str, tuple[dict[str, str | None], str]] = {
    "a missing table": ({"items": None}, "no table items; add items.csv"),
    "queries without qrels": ({"qrels": None}, "no table qrels; add qrels.csv"),
    "qrels without queries": ({"queries": None}, "no table queries; add queries.csv"),
    "a missing column": (
        {"items": "id,title\na,Alpha\n"},
        "items.csv: no column 'item_id' among id, title; add it",
    ),
    "an empty file": ({"interactions": ""}, "interactions.csv: the file is empty"),
    "a header alone": ({"items": "item_id,title\n"}, "items.csv: no row below the header"),
    "a duplicate item": (
        {"items": ITEMS + "a,Again,\n"},
        "items.csv line 7: item_id 'a' stands already on line 2; keep one",
    ),
    "an empty id": ({"items": ITEMS + ",Nameless,\n"}, "items.csv line 7: item_id is empty"),
    "an unknown item in interactions": (
        {"interactions": INTERACTIONS + "u9,zz,5\n"},
        r"interactions.csv line 16: item_id 'zz' is not in the table items \(1 such rows\); add it",
    ),
    "an unknown item in qrels": (
        {"qrels": QRELS + "q1,zz,1\n"},
        "qrels.csv line 6: item_id 'zz' is not in the table items",
    ),
    "an unknown query": (
        {"qrels": QRELS + "q9,a,1\n"},
        "qrels.csv line 6: query_id 'q9' is not in the table queries",
    ),
    "an unparsable timestamp": (
        {"interactions": INTERACTIONS + "u9,a,yesterday\n"},
        "interactions.csv line 16: timestamp 'yesterday' is neither a number nor an ISO time",
    ),
    "a missing timestamp": (
        {"interactions": INTERACTIONS + "u9,a,\n"},
        "interactions.csv line 16: timestamp is empty while other rows have one",
    ),
    "an unknown split": (
        {"queries": QUERIES + "q4,more,dev\n"},
        "queries.csv line 5: split 'dev' is none of train, validation, test",
    ),
    "a relevance that is no number": (
        {"qrels": QRELS + "q1,b,high\n"},
        "qrels.csv line 6: relevance 'high' is not a whole number",
    ),
    "items alone": (
        {"interactions": None, "queries": None, "qrels": None},
        "has items only; add interactions.csv, or queries.csv with qrels.csv",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_tables(write_folder: WriteFolder, case: str) -> None:
    changes, message = CASES[case]
    with pytest.raises(InputError, match=message) as error:
        read_source(write_folder(**changes))
    assert "\n" not in str(error.value)


def test_a_wrong_encoding_names_line_and_byte(write_folder: WriteFolder) -> None:
    folder = write_folder()
    (folder / "items.csv").write_bytes(b"item_id,title\na,Alpha\nb,Am\xe9lie\n")
    with pytest.raises(InputError, match=r"items.csv line 3: byte 0xe9 is not UTF-8; convert"):
        read_source(folder)


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="is no dataset; it needs items"):
        read_source(tmp_path)


def test_an_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no such folder.*ml-1m.*simulate:catalog"):
        read_source("nowhere")
    with pytest.raises(InputError, match="no such simulator; there is catalog"):
        read_source("simulate:nothing")


def test_a_ragged_row_is_an_error_and_never_dropped(write_folder: WriteFolder) -> None:
    folder = write_folder(interactions="user_id,item_id\nu,a\nu,b,c,d\n")
    with pytest.raises(InputError, match=r"interactions.csv line 3: 4 fields, the header has 2"):
        read_source(folder)


def test_a_broken_json_line_is_named(write_folder: WriteFolder) -> None:
    folder = write_folder(items=None)
    (folder / "items.jsonl").write_text('{"item_id": "a", "title": "A"}\n{"item_id": "b"\n')
    with pytest.raises(InputError, match=r"items.jsonl line 2: Expecting"):
        read_source(folder)


def test_an_extra_column_does_not_hide_a_missing_timestamp(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id,timestamp,query_id\nu,a,5,\nu,b,,q\n"
    with pytest.raises(InputError, match=r"interactions.csv line 3: timestamp is empty"):
        read_source(write_folder(interactions=rows))


def test_answers_judged_twice_are_counted(write_folder: WriteFolder) -> None:
    dataset = read_source(write_folder(qrels=QRELS + "q1,a,1\n"))
    assert "query 'q1' judges item 'a' again" in str(dataset.notes[0])
    assert dataset.qrels.height == 4


def test_rows_that_cannot_be_used_are_counted(write_folder: WriteFolder) -> None:
    folder = write_folder(
        queries=QUERIES + "q4, ,train\nq5,unjudged,train\n", qrels=QRELS + "q4,a,1\nq1,b,0\n"
    )
    dataset = read_source(folder)
    assert len(dataset.notes) == 3
    assert [str(note) for note in dataset.notes] == [
        f"{folder}/queries.csv line 5: query 'q4' has no text (1 row left out); give it a text",
        f"{folder}/qrels.csv line 7: relevance 0 judges the item as not relevant "
        f"(1 row left out); nothing to do",
        f"{folder}/queries.csv line 6: query 'q5' has no right answer in qrels "
        f"(1 row left out); judge at least one item for it",
    ]
    assert dataset.queries.height == 4
    assert dataset.qrels.height == 4
