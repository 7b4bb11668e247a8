"""A study ends after so many seeds, or as soon as nothing is open."""

import logging

import numpy as np
import pytest

from twofold.records import Task
from twofold.studies.statistics.looks import Looks, are_settled, looks_at
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.verdict import TaskVerdict, decide


def _verdict(gain: float, *, same: bool = False) -> dict[Task, TaskVerdict]:
    rng = np.random.default_rng(0)
    plain, control = (rng.normal(0.3, 0.1, (3, 200)) for _ in range(2))
    joint = rng.normal(0.3 + gain, 0.1, (3, 200))
    arms = (plain, plain, plain) if same else (joint, plain, control)
    return decide({"search": TaskScores(*arms, np.arange(200))})


def test_a_fixed_number_of_seeds_is_one_look() -> None:
    assert list(looks_at(5, None, [])) == [Looks(5, [5], None, 5)]
    assert list(looks_at(5, None, [3])) == [Looks(5, [3, 5], [3, 5, 8, 12], 5)]
    assert list(looks_at(5, None, [3, 5])) == [Looks(5, [3, 5], [3, 5, 8, 12], 5)]


def test_a_study_that_grows_is_looked_at_up_to_its_end() -> None:
    grown = list(looks_at(3, 10, []))
    assert [look.seeds for look in grown] == [3, 5, 8, 10]
    assert [look.taken for look in grown] == [[3], [3, 5], [3, 5, 8], [3, 5, 8, 10]]
    assert all(look.planned == [3, 5, 8, 10] and look.most == 10 for look in grown)
    assert [look.seeds for look in looks_at(4, 12, [4])] == [4, 5, 8, 12]
    assert [look.seeds for look in looks_at(3, 3, [])] == [3]


def test_a_study_that_is_resumed_takes_no_earlier_look_again() -> None:
    (last,) = looks_at(3, 5, [3, 5, 8])
    assert last == Looks(8, [3, 5, 8], [3, 5, 8], 8)
    longer = list(looks_at(3, 12, [3, 5]))
    assert [look.taken for look in longer] == [[3, 5], [3, 5, 8], [3, 5, 8, 12]]


def test_it_ends_when_nothing_is_open(caplog: pytest.LogCaptureFixture) -> None:
    look = Looks(3, [3], [3, 5], 5)
    clear, unclear = _verdict(0.1), _verdict(0.01)
    with caplog.at_level(logging.INFO):
        assert are_settled([clear], look)
        assert not are_settled([clear, unclear], look)
    assert "after 3 seeds nothing is open" in caplog.text
    assert "after 3 seeds 1 of 2 verdicts are open" in caplog.text
    assert are_settled([_verdict(0, same=True)], look), "more seeds would not change these data"


def test_the_log_tells_what_the_rest_will_cost(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Looks(3, [3], [3, 5, 8, 12], 12).tell_cost(240.0, iter(["likely", ""]))
        Looks(1, [1], None, 1).tell_cost(240.0)
        Looks(3, [3], None, 3).tell_cost(0.1)
    assert [record.message for record in caplog.records] == [
        "one seed took 4 min: 3 seeds take about 12 min, 12 about 48 min",
        "likely",
    ]
