"""Splits, with answers worked out by hand."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import WriteFolder
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_events
from twofold.tasks.storage import load_dataset


def _events(dataset: PreparedDataset) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for user, item, split in dataset.interactions.select("user_id", "item_id", "split").rows():
        found.setdefault(user, []).append((item, split))
    return found


def test_the_last_two_events_are_held_out(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    assert _events(dataset) == {
        "u1": [("a", "train"), ("b", "train"), ("c", "validation"), ("d", "test")],
        "u2": [("b", "train"), ("c", "train"), ("d", "validation"), ("e", "test")],
        "u3": [("e", "train"), ("d", "train"), ("c", "validation"), ("b", "test")],
        "u4": [("a", "train"), ("b", "train")],
    }


def test_equal_timestamps_keep_the_order_of_the_file(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id,timestamp\nu,c,5\nu,a,5\nu,b,5\nu,d,1\n"
    dataset = load_dataset(write_folder(interactions=rows))
    assert [item for item, _ in _events(dataset)["u"]] == ["d", "c", "a", "b"]


def test_without_timestamps_the_file_is_the_order(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder(interactions="user_id,item_id\nu,c\nu,a\nu,b\n"))
    assert _events(dataset)["u"] == [("c", "train"), ("a", "validation"), ("b", "test")]


def test_a_temporal_split_cuts_by_time(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id,timestamp\n" + "".join(
        f"u,{item},{time}\n" for item, time in zip("abcde", (10, 20, 30, 40, 50), strict=True)
    )
    rows += "v,a,15\nw,b,45\n"
    dataset = load_dataset(write_folder(interactions=rows), "temporal", 35)
    assert _events(dataset) == {
        "u": [
            ("a", "train"),
            ("b", "train"),
            ("c", "validation"),
            ("d", "test"),
            ("e", None),
        ],
        "v": [("a", "train")],
        "w": [("b", None)],
    }


@given(
    users=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6).map(sorted), max_size=5),
    cutoff=st.none() | st.integers(0, 10),
)
def test_the_split_of_any_events(users: list[list[int]], cutoff: int | None) -> None:
    expected: list[int] = []
    for times in users:
        early = times if cutoff is None else [time for time in times if time < cutoff]
        late = [-1] * (len(times) - len(early))
        own = [0] * len(early)
        if cutoff is None and len(own) > 2:
            own[-2:] = [1, 2]
        if cutoff is not None and len(own) > 1:
            own[-1] = 1
        if early and late:
            late[0] = 2
        expected += own + late
    counts = np.array([len(times) for times in users], dtype=np.int64)
    every = np.array([time for times in users for time in times], dtype=np.float64)
    assert split_events(counts, every, cutoff).tolist() == expected


def test_a_given_split_binds_under_a_temporal_one_too(write_folder: WriteFolder) -> None:
    queries = (
        "query_id,text,split,timestamp\nq1,old,test,10\nq2,none,test,\nq3,Old,,12\nq4,new,,99\n"
        + "".join(f"e{n},early {n},,{n}\n" for n in range(9))
    )
    qrels = "query_id,item_id\n" + "".join(
        f"{query},a\n" for query in ("q1", "q2", "q3", "q4", *(f"e{n}" for n in range(9)))
    )
    dataset = load_dataset(write_folder(queries=queries, qrels=qrels), "temporal", 50)
    split = dict(dataset.queries.select("query_id", "split").iter_rows())
    assert (split["q1"], split["q2"], split["q3"], split["q4"]) == ("test", "test", None, "test")


def test_a_prepared_folder_is_not_split_again(write_folder: WriteFolder) -> None:
    from twofold.tasks.storage import save_dataset

    folder = write_folder()
    save_dataset(load_dataset(folder), folder / "prepared")
    with pytest.raises(InputError, match=r"^--cutoff 101.0: .* split by each user's last event; "):
        load_dataset(folder / "prepared", "temporal", 101.0)
    with pytest.raises(InputError, match="--split temporal needs --cutoff TIME"):
        load_dataset(folder / "prepared", "temporal")


def test_nothing_to_learn_is_refused(write_folder: WriteFolder) -> None:
    folder = write_folder(interactions=None, qrels="query_id,item_id,relevance\nq1,a,0\n")
    with pytest.raises(InputError, match="no interaction, and no query with a relevant item"):
        load_dataset(folder)


@pytest.mark.parametrize(
    "interactions",
    [
        "user_id,item_id\nu,a\nu,b\n",
        "user_id,item_id,timestamp\nu,a,0\nu,b,1\nv,a,0\n",
    ],
)
def test_positions_are_no_times(write_folder: WriteFolder, interactions: str) -> None:
    with pytest.raises(InputError, match="timestamps only number each user's events"):
        load_dataset(write_folder(interactions=interactions), "temporal", 1.0)


def test_a_cutoff_belongs_to_a_temporal_split(write_folder: WriteFolder) -> None:
    folder = write_folder()
    with pytest.raises(InputError, match="needs --cutoff"):
        load_dataset(folder / "not read yet", "temporal")
    with pytest.raises(InputError, match="only it takes one"):
        load_dataset(folder, "last", 5.0)


def test_a_given_split_of_queries_is_honoured(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    assert dataset.queries["split"].to_list() == ["train", "validation", "test"]


def test_hashed_splits_are_near_80_10_10_and_do_not_depend_on_the_rest(
    write_folder: WriteFolder,
) -> None:
    def split(numbers: range) -> dict[str, Any]:
        queries = "query_id,text\n" + "".join(f"q{n},text number {n}\n" for n in numbers)
        qrels = "query_id,item_id\n" + "".join(f"q{n},a\n" for n in numbers)
        folder = write_folder(f"d{len(numbers)}", queries=queries, qrels=qrels)
        rows = load_dataset(folder).queries
        return dict(rows.select("query_id", "split").iter_rows())

    many, few = split(range(2000)), split(range(100, 200))
    shares = pl.Series(list(many.values())).value_counts(normalize=True)
    found = dict(shares.iter_rows())
    assert found["train"] == pytest.approx(0.8, abs=0.03)
    assert found["test"] == pytest.approx(0.1, abs=0.02)
    assert all(many[query] == side for query, side in few.items())


def test_the_same_text_under_two_ids_stays_on_one_side(write_folder: WriteFolder) -> None:
    queries = "query_id,text,split\nq1,Space Operas!,train\nq2,space opera,test\nq3,x,train\n"
    qrels = "query_id,item_id\nq1,a\nq2,b\nq3,c\n"
    dataset = load_dataset(write_folder(queries=queries, qrels=qrels))
    assert dataset.queries["split"].to_list() == [None, "test", "train"]
    assert "its text repeats that of a query in a later split" in str(dataset.notes[0])


def test_queries_without_a_split_among_others_are_split_by_hash_with_a_note(
    write_folder: WriteFolder,
) -> None:
    given = "".join(f"q{n},word {n},{'test' if n < 4 else ''}\n" for n in range(24))
    qrels = "query_id,item_id\n" + "".join(f"q{n},a\n" for n in range(24))
    dataset = load_dataset(write_folder(queries="query_id,text,split\n" + given, qrels=qrels))
    (note,) = [note for note in dataset.notes if "names no split" in note.problem]
    assert (note.count, note.unit, note.place) == (20, "query", "query 'q4'")
    drawn = dataset.queries.filter(~pl.col("query_id").is_in(["q0", "q1", "q2", "q3"]))
    counts = {split: drawn["split"].to_list().count(split) for split in ("train", "test")}
    assert f"{counts['train']} train" in note.effect
    all_given = given.replace(",\n", ",train\n")
    for text in (given.replace(",test", ","), all_given):
        folder = write_folder(str(len(text)), queries="query_id,text,split\n" + text, qrels=qrels)
        assert not any("names no split" in note.problem for note in load_dataset(folder).notes)


def test_data_of_which_nothing_is_left_are_refused_with_the_reason(
    write_folder: WriteFolder,
) -> None:
    folder = write_folder(interactions=None, qrels="query_id,item_id,relevance\nq1,a,0\nq2,b,-1\n")
    with (folder / "items.csv").open("a") as file:
        file.write(",\n")  # a note on another table is not the reason
    with pytest.raises(InputError, match=r"is left \(.*qrels\.csv line 2: relevance 0 judges .*\)"):
        load_dataset(folder)
