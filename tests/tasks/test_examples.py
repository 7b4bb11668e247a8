"""Training examples and judged requests, with answers worked out by hand."""

import copy
import pickle

import numpy as np
import pytest

from tests.conftest import WriteFolder
from twofold.records import SPLITS
from twofold.tasks.examples import Texts, build_requests, item_text_examples
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


def test_one_example_a_user_with_a_target_at_every_event(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    source = dataset.task("recommendation").source()
    assert source.targets == 4
    example = source.examples[0]
    assert (example.history.tolist(), example.targets.tolist(), example.visible.tolist()) == (
        [0],
        [1],
        [1],
    )


def test_test_requests_hold_the_validation_event_and_exclude_what_was_seen(
    write_folder: WriteFolder,
) -> None:
    dataset = load_dataset(write_folder())
    test = {r.request_id: r for r in dataset.task("recommendation").requests("test").requests}
    assert test["u1"].history == ("a", "b", "c")
    assert test["u1"].exclude == {"a", "b", "c"}
    assert "u4" not in test
    validation = dataset.task("recommendation").requests("validation")
    assert validation.requests[0].history == ("a", "b")
    assert validation.qrels["u1"] == {"c": 1}


def test_seen_items_stay_where_users_repeat(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id\n" + "u,a\nu,b\nu,a\nu,a\nu,b\n"
    dataset = load_dataset(write_folder(interactions=rows))
    assert dataset.protocol.seen == "keep"
    (request,) = dataset.task("recommendation").requests("test").requests
    assert request.exclude == frozenset()


def test_items_ask_for_themselves_by_their_own_words(catalog: PreparedDataset) -> None:
    made = item_text_examples(catalog.catalog, 3)
    assert len(made) == 4 * len(catalog.catalog)
    for example in made:
        item = int(example.targets[0])
        text = catalog.catalog.texts[item].lower()
        assert all(word in text for word in (example.query or "").lower().split())
        assert not len(example.history)
    again = item_text_examples(catalog.catalog, 3)
    assert [e.query for e in made] == [e.query for e in again]
    with_text = catalog.task("search").source(3)
    assert with_text.targets == catalog.task("search").source().targets + len(made)


def test_an_item_without_text_asks_for_nothing(catalog: PreparedDataset) -> None:
    blank = catalog.catalog.items.with_columns(title=None, text=None)
    columns = [name for name in blank.columns if name in ("item_id", "title")]
    bare = type(catalog.catalog).of(blank.select(columns))
    assert item_text_examples(bare, 3) == []


def test_texts_are_a_sequence_that_can_be_sent() -> None:
    texts = ["", "slow space", "äöü 日本", "", "🍎"]
    made = Texts.of(texts)
    for each in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert list(each) == texts
        assert [each[row] for row in range(-5, 5)] == [*texts, *texts]
        assert each[1:4] == texts[1:4]
        for row in (5, -6):
            with pytest.raises(IndexError):
                each[row]


def test_a_sample_of_requests_is_a_part_of_all(catalog: PreparedDataset) -> None:
    for task in catalog.tasks:
        for split in SPLITS[1:]:
            judged = build_requests(catalog, task, split)
            sample = build_requests(catalog, task, split).sample(20)
            rows = np.random.default_rng(0).choice(len(judged.requests), 20, replace=False)
            assert sample.requests == [judged.requests[row] for row in sorted(rows.tolist())]
            for request in sample.requests:
                assert sample.qrels[request.request_id] == judged.qrels[request.request_id]
