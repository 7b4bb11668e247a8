"""The prepared dataset: its digest and histories, and its tasks, which are read once and shared."""

import dataclasses

import pytest

from tests.builds import count_builds
from tests.conftest import WriteFolder
from twofold.data.words import query_key
from twofold.records import SPLITS, TASKS, InputError
from twofold.tasks.prepared import PreparedDataset
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


def test_what_was_kept_is_forgotten_by_its_name(catalog: PreparedDataset) -> None:
    dataset, made = dataclasses.replace(catalog), []
    for _ in range(2):
        for key in (("one", 1), ("one", 2), ("two", 1)):
            dataset.cached(key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == [("one", 1), ("one", 2), ("two", 1)]
    dataset.clear_cached("one", "unknown")
    for key in (("one", 1), ("two", 1)):
        dataset.cached(key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made[3:] == [("one", 1)]


def test_everything_is_built_once(
    catalog: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataclasses.replace(catalog)
    built = count_builds(monkeypatch)
    for _ in range(3):
        for task in TASKS:
            data = dataset.task(task)
            assert data.examples
            assert [data.requests(split).split for split in SPLITS] == list(SPLITS)
            assert data.source(2).targets >= data.source().targets
            assert data.popularity.any()
            assert data.test_popularity.any()
            assert data.items_by_query is data.items_by_query
            assert data.queries_by_item is data.queries_by_item
    assert len(built) == len(set(built)) == 2 + 2 * len(SPLITS)


def test_what_is_shared_cannot_be_changed(catalog: PreparedDataset) -> None:
    search = catalog.task("search")
    with pytest.raises(ValueError, match="read-only"):
        search.popularity[0] = 1
    before = len(search.examples)
    assert len(search.source(3).examples) > before == len(search.source().examples)


def test_popularity_counts_training_events(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    assert dataset.task("search").popularity.tolist() == [1, 0, 0, 0, 0]
    assert dataset.task("recommendation").popularity.tolist() == [2, 3, 1, 1, 1]


def test_a_task_without_examples_says_what_it_needs(write_folder: WriteFolder) -> None:
    lonely = load_dataset(write_folder(interactions="user_id,item_id\nu,a\nv,b\n"))
    with pytest.raises(InputError, match="no usable training example for recommendation"):
        lonely.task("recommendation").source()
    untrained = load_dataset(write_folder("other", queries="query_id,text,split\nq3,x,test\n",
                                          qrels="query_id,item_id\nq3,a\n"))  # fmt: skip
    with pytest.raises(InputError, match="no usable training example for search"):
        untrained.task("search").source()


def test_items_and_queries_are_two_views_of_the_examples(catalog: PreparedDataset) -> None:
    search = catalog.task("search")
    pairs = {(e.query, int(item)) for e in search.examples for item in e.targets}
    by_item = {(q, item) for item, queries in enumerate(search.queries_by_item) for q in queries}
    assert by_item == pairs
    for query, item in pairs:
        assert item in search.items_by_query[query_key(query or "")]
    assert sum(map(len, search.queries_by_item)) == search.popularity.sum()
