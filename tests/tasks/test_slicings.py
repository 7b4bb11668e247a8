"""Slices of the test requests."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import WriteFolder
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.slicings import BANDS, popularity_bands, slicings
from twofold.tasks.storage import load_dataset

small_counts = st.lists(st.integers(0, 50), min_size=2, max_size=60)


def test_every_request_is_in_one_slice_of_each_kind(catalog: PreparedDataset) -> None:
    for task in catalog.tasks:
        found = slicings(catalog, task)
        assert "popularity" in found
        requests = catalog.task(task).requests("test").requests
        for slicing in found.values():
            assert len(slicing.labels) == len(requests)
            assert set(slicing.labels) <= set(slicing.names)


def test_slices_of_histories_that_are_alike(write_folder: WriteFolder) -> None:
    """Most users of small logs have the same few events: no slice twice."""
    rows = [(user, item, n) for user in "abcdefgh" for n, item in enumerate("abc")]
    rows += [("z", item, n) for n, item in enumerate("abcde")]
    lines = "\n".join(f"{user},{item},{n}" for user, item, n in rows)
    folder = write_folder(interactions=f"user_id,item_id,timestamp\n{lines}\n")
    found = slicings(load_dataset(folder), "recommendation")["history length"]
    assert found.names == ["up to 2", "over 2"]
    assert found.labels.tolist() == ["up to 2"] * 8 + ["over 2"]


def test_slices_by_number_of_relevant_items(write_folder: WriteFolder) -> None:
    many = "".join(f"q4,{item},1\n" for item in "abcde")
    folder = write_folder(
        queries="query_id,text,split,kind\nq1,first,train,tag\nq2,last,validation,tag\n"
        "q3,vowel,test,tag\nq4,any letter,test,question\nq5,one,test,\n",
        qrels="query_id,item_id\nq1,a\nq2,e\nq3,a\nq3,e\n" + many.replace(",1\n", "\n") + "q5,b\n",
    )
    found = slicings(load_dataset(folder), "search")
    assert found["relevant items"].labels.tolist() == ["2 to 5", "2 to 5", "1"]
    assert found["kind"].names == ["question", "tag"]
    assert found["kind"].labels.tolist() == ["tag", "question", ""]
    assert found["trained in"].labels.tolist() == [
        "both tasks",
        "both tasks",
        "the other task only",
    ]
    assert found["query length"].labels.tolist() == ["1 word", "2 words", "1 word"]


def test_a_pair_is_seen_in_training_or_known_to_the_other_task_alone(
    write_folder: WriteFolder,
) -> None:
    """Users of five events: three train, one validates, the last is the target."""
    histories = {
        "memory": "abcde",  # d e follows in `again`
        "again": "deabc",
        "other": "abgfh",  # f h answer one training query
        "none": "abgfd",
    }
    rows = [(user, item, n) for user, items in histories.items() for n, item in enumerate(items)]
    lines = "\n".join(f"{user},{item},{n}" for user, item, n in rows)
    folder = write_folder(
        items="item_id,title\n" + "".join(f"{item},{item}\n" for item in "abcdefgh"),
        interactions=f"user_id,item_id,timestamp\n{lines}\n",
        queries="query_id,text,split\nq1,red shoe,train\nq2,green,validation\nq3,red hat,test\n"
        "q4,shoe,test\nq5,boat,test\n",
        qrels="query_id,item_id\nq1,f\nq1,h\nq2,a\nq3,h\nq4,g\nq5,a\n",
    )
    dataset = load_dataset(folder)
    users = slicings(dataset, "recommendation")["pair seen in"]
    requests = dataset.task("recommendation").requests("test").requests
    found = {r.user_id: label for r, label in zip(requests, users.labels, strict=True)}
    assert found["memory"] == "this task"
    assert found["other"] == "the other task only"
    assert found["none"] == "neither task"
    asked = slicings(dataset, "search")["pair seen in"]
    assert asked.labels.tolist() == ["this task", "neither task", "neither task"]


@settings(max_examples=50)
@given(small_counts)
def test_bands_are_in_the_order_of_popularity(counts: list[int]) -> None:
    values = np.array(counts)
    bands = popularity_bands(values)
    for better, worse in combinations(range(len(BANDS)), 2):
        if (bands == better).any() and (bands == worse).any():
            assert values[bands == better].min() >= values[bands == worse].max()
    for count in set(counts):
        assert len(set(bands[values == count])) == 1


def test_without_ties_the_head_is_a_tenth_and_the_tail_a_half() -> None:
    bands = popularity_bands(np.arange(40))
    assert (bands == 0).sum() == 4
    assert (bands == 2).sum() == 20
    assert set(popularity_bands(np.full(40, 3))) == {2}
