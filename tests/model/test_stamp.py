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


def test_a_tasks_best_step_is_that_of_all_requests_where_they_were_asked() -> None:
    curve = [
        {"step": 8, "search": 0.1, "recommendation": 0.4, "value": 0.3},
        {"step": 16, "search": 0.3, "recommendation": 0.2, "value": 0.3, "search_on_all": 0.2},
        {"step": 24, "search": 0.2, "recommendation": 0.4, "value": 0.3, "search_on_all": 0.3},
    ]
    stamp = Stamp(curve=curve, best_step=16)
    assert stamp.best_step_of("search") == 24
    assert stamp.best_step_of("recommendation") == 8, "of equal ones, the earlier"
    assert Stamp(curve=[{"step": 8, "loss": 1.0}], best_step=8).best_step_of("search") == 8
