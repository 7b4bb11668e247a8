"""Requests of validation and test, with histories and relevant items worked out by hand."""

import dataclasses

import numpy as np

from tests.conftest import WriteFolder
from twofold.records import SPLITS
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


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


def test_a_sample_of_requests_is_a_part_of_all(catalog: PreparedDataset) -> None:
    for task in catalog.tasks:
        for split in SPLITS[1:]:
            judged = dataclasses.replace(catalog).task(task).requests(split)
            sample = dataclasses.replace(catalog).task(task).requests(split).sample(20)
            rows = np.random.default_rng(0).choice(len(judged.requests), 20, replace=False)
            assert sample.requests == [judged.requests[row] for row in sorted(rows.tolist())]
            for request in sample.requests:
                assert sample.qrels[request.request_id] == judged.qrels[request.request_id]
