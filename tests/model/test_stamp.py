"""The stamp of a model."""

import dataclasses
import json

import pytest

from twofold.model.stamp import Stamp


def test_a_stamp_is_read_as_it_was_written() -> None:
    stamp = Stamp(arm="joint", steps=40, curve=({"step": 30, "loss": 1.0, "value": 0.4},))
    assert Stamp.read(json.loads(json.dumps(stamp.as_dict()))) == stamp
    assert Stamp.read({"a key of a later version": 1}) == Stamp()


def test_a_stamp_is_not_changed_after_it_is_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stamp().steps = 1  # type: ignore[misc]


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
