"""Slices of the test requests."""

from tests.conftest import WriteFolder
from twofold.studies.analyses.slices import slicings
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


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


def test_slices_by_number_of_right_answers(write_folder: WriteFolder) -> None:
    many = "".join(f"q4,{item},1\n" for item in "abcde")
    folder = write_folder(
        queries="query_id,text,split,kind\nq1,first,train,tag\nq2,last,validation,tag\n"
        "q3,vowel,test,tag\nq4,any letter,test,question\nq5,one,test,\n",
        qrels="query_id,item_id\nq1,a\nq2,e\nq3,a\nq3,e\n" + many.replace(",1\n", "\n") + "q5,b\n",
    )
    found = slicings(load_dataset(folder), "search")
    assert found["right answers"].labels.tolist() == ["2 to 5", "2 to 5", "1"]
    assert found["kind"].names == ["question", "tag"]
    assert found["kind"].labels.tolist() == ["tag", "question", ""]
    assert found["known to"].labels.tolist() == ["both tasks", "both tasks", "the other task only"]
