"""The stamp of a model, and manifests whose keys have their former names."""

import dataclasses

import pytest

from twofold.model.stamp import Stamp, current_settings

FORMER = {
    "arm": "joint",
    "encoder": "tfidf",
    "item_text": 2,
    "windows": "last",
    "budget": 60,
    "updates": 40,
    "passes": 1.5,
    "best_update": 30,
    "best_value": 0.4,
    "curve": [{"update": 30, "loss": 1.0, "search": 0.4, "value": 0.4}],
}


def test_former_keys_are_translated() -> None:
    stamp = Stamp.read(FORMER)
    assert (stamp.text_encoder, stamp.item_text_queries, stamp.long_histories) == (
        "tfidf",
        2,
        "truncate",
    )
    assert (stamp.max_steps, stamp.steps, stamp.epochs, stamp.best_step) == (60, 40, 1.5, 30)
    assert stamp.curve == ({"step": 30, "loss": 1.0, "search": 0.4, "value": 0.4},)


def test_a_stamp_is_read_as_it_was_written() -> None:
    stamp = Stamp.read(FORMER)
    assert Stamp.read(stamp.as_dict()) == stamp
    assert Stamp.read({}) == Stamp()


def test_a_stamp_is_not_changed_after_it_is_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stamp().steps = 1  # type: ignore[misc]


def test_former_settings_are_translated() -> None:
    former = {"updates": 60, "windows": "all", "rows": "text", "clip": 1.0, "dropout": 0.1}
    assert current_settings(former) == {
        "max_steps": 60,
        "long_histories": "windows",
        "item_init": "text",
        "max_grad_norm": 1.0,
        "dropout": 0.1,
    }
