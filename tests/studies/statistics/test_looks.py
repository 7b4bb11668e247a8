"""A study ends after so many seeds, or as soon as no verdict is open."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from twofold.evaluation.sequential import level
from twofold.records import InputError, Task
from twofold.studies.statistics.looks import Looks, are_final, looks_at, looks_end
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.verdict import TaskVerdict, decide


def _looks(
    seeds: int, max_seeds: int | None, taken: Sequence[int], before: int | None = None
) -> list[Looks]:
    """The looks of a study, whose earlier plan ended at `before`."""
    end = looks_end(seeds, max_seeds, taken, before)
    return list(looks_at(seeds, max_seeds, taken, end))


def _verdict(gain: float, *, same: bool = False) -> dict[Task, TaskVerdict]:
    rng = np.random.default_rng(0)
    plain, control = (rng.normal(0.3, 0.1, (3, 200)) for _ in range(2))
    joint = rng.normal(0.3 + gain, 0.1, (3, 200))
    arms = (plain, plain, plain) if same else (joint, plain, control)
    return decide({"search": TaskScores(*arms, np.arange(200))})


def test_a_fixed_number_of_seeds_is_one_look() -> None:
    assert _looks(5, None, []) == [Looks(5, [5], None, 5)]
    assert _looks(5, None, [3]) == [Looks(5, [3, 5], [3, 5, 8, 12], 5)]
    assert _looks(5, None, [3, 5]) == [Looks(5, [3, 5], [3, 5, 8, 12], 5)]


def test_a_study_that_grows_is_looked_at_up_to_its_end() -> None:
    grown = _looks(3, 10, [])
    assert [look.seeds for look in grown] == [3, 5, 8, 10]
    assert [look.taken for look in grown] == [[3], [3, 5], [3, 5, 8], [3, 5, 8, 10]]
    assert all(look.planned == [3, 5, 8, 10] and look.most == 10 for look in grown)
    assert [look.seeds for look in _looks(4, 12, [4])] == [4, 5, 8, 12]
    assert [look.seeds for look in _looks(3, 3, [])] == [3]
    assert [look.seeds for look in _looks(3, 20, [])] == [3, 5, 8, 12, 20]


def test_a_study_that_is_resumed_takes_no_earlier_look_again() -> None:
    (last,) = _looks(3, 5, [3, 5, 8], before=8)
    assert last == Looks(8, [3, 5, 8], [3, 5, 8], 8)
    longer = _looks(3, 12, [3, 5])
    assert [look.taken for look in longer] == [[3, 5], [3, 5, 8], [3, 5, 8, 12]]


@pytest.mark.parametrize("most", [5, 20])
def test_a_plan_that_a_look_was_taken_by_is_kept(most: int) -> None:
    """Whether seeds follow one by one or all at once, a look's level is that of the first plan."""
    first_run = _looks(3, most, [])
    for later in first_run[1:]:
        (asked,) = _looks(later.seeds, None, later.taken[:-1], before=most)
        assert (asked.taken, asked.planned) == (later.taken, later.planned)
    (again,) = _looks(3, None, [3], before=most)
    assert again.planned == first_run[0].planned, "one look of several may not spend all"
    levels = [level(look.planned or (), look.seeds, 0.05) for look in first_run]
    (between,) = _looks(4, None, [3], before=most)
    assert levels[0] == level(between.planned or (), 3, 0.05)


def test_fewer_seeds_than_planned_are_no_other_plan() -> None:
    """Which look is the last must not be chosen for what the looks show."""
    shorter = _looks(3, 8, [3, 5], before=12)
    assert [look.taken for look in shorter] == [[3, 5], [3, 5, 8]]
    assert all(look.planned == [3, 5, 8, 12] for look in shorter)
    between = _looks(3, 10, [3], before=12)
    assert [look.seeds for look in between] == [3, 5, 8, 10]
    assert between[-1].planned == [3, 5, 8, 10, 12]


@pytest.mark.parametrize("asked", [(8, None), (3, 8)])
def test_more_seeds_than_planned_are_refused(asked: tuple[int, int | None]) -> None:
    """After the last look nothing of the error is left: another one would spend more than it."""
    option = "--max-seeds 8" if asked[1] else "--seeds 8"
    with pytest.raises(InputError, match=f"{option}: .* for 5 seeds at most") as error:
        _looks(*asked, [3, 5], before=5)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="for 12 seeds at most"):
        looks_end(15, None, [3, 5], None)
    assert looks_end(*asked, [], 5) == asked[1], "a plan that no look was taken by may change"


def test_it_ends_when_nothing_is_open(caplog: pytest.LogCaptureFixture) -> None:
    look = Looks(3, [3], [3, 5], 5)
    clear, unclear = _verdict(0.1), _verdict(0.01)
    with caplog.at_level(logging.INFO):
        assert are_final([clear], look)
        assert not are_final([clear, unclear], look)
    assert "after 3 seeds no verdict is open" in caplog.text
    assert "after 3 seeds 1 of 2 verdicts are open" in caplog.text
    assert are_final([_verdict(0, same=True)], look), "more seeds would not change these data"


def test_the_log_says_that_more_seeds_would_not_decide(caplog: pytest.LogCaptureFixture) -> None:
    arm = np.random.default_rng(0).normal(0.3, 0.1, (3, 200))
    five_users = decide({"search": TaskScores(arm, arm, arm + 0.1, np.arange(200) % 5)})
    with caplog.at_level(logging.INFO):
        assert are_final([five_users, _verdict(0.1)], Looks(3, [3], [3, 5], 5))
    assert caplog.messages == [
        "after 3 seeds no verdict is open; 1 of 2 cannot be decided by more seeds"
    ]


def test_the_log_tells_what_the_rest_will_cost(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Looks(3, [3], [3, 5, 8, 12], 12).log_plan()
        Looks(5, [3, 5], [3, 5, 8, 12], 12).log_plan()
        Looks(3, [3], None, 3).log_plan()
        Looks(3, [3], [3, 5, 8, 12], 12).log_cost(240.0, iter(["likely", ""]))
        Looks(1, [1], None, 1).log_cost(240.0)
        Looks(3, [3], None, 3).log_cost(0.1)
    assert [record.message for record in caplog.records] == [
        "interim looks are planned after 3, 5, 8 and 12 seeds",
        "one seed took 4 min: 3 seeds take about 12 min, 12 about 48 min",
        "likely",
    ]
