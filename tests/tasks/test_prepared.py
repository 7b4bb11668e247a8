"""The prepared dataset: its tasks, histories and digest."""

import dataclasses

from tests.conftest import WriteFolder
from twofold.tasks.storage import load_dataset


def test_the_digest_depends_on_data_and_protocol(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    other = load_dataset(write_folder("other", interactions="user_id,item_id\nu,a\nu,b\nu,c\n"))
    assert dataset.digest != other.digest
    kept = dataclasses.replace(dataset, protocol=dataclasses.replace(dataset.protocol, seen="keep"))
    assert kept.digest != dataset.digest


def test_a_task_is_there_where_its_table_has_a_row(write_folder: WriteFolder) -> None:
    assert load_dataset(write_folder()).tasks == ("search", "recommendation")
    events = write_folder("events", queries=None, qrels=None)
    assert load_dataset(events).tasks == ("recommendation",)
    assert load_dataset(write_folder("queries", interactions=None)).tasks == ("search",)


def test_training_histories_end_before_what_is_held_out(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    names = dataset.catalog.item_ids
    assert [names[item] for item in dataset.histories["u1"]] == ["a", "b", "c", "d"]
    assert [names[item] for item in dataset.training_histories["u1"]] == ["a", "b"]
