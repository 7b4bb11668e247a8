"""Levels of the looks at a study that grows, against published boundaries and a simulation."""

import numpy as np
import pytest
from scipy import stats

from twofold.evaluation.sequential import LOOKS, level, looks_until, planned_looks, spent
from twofold.records import InputError


def test_five_equal_looks_have_the_published_boundaries() -> None:
    """Lan and DeMets' Pocock-like spending, two-sided .05: the tables of ldbounds and PASS."""
    looks = (1, 2, 3, 4, 5)
    found = [stats.norm.isf(level(looks, seeds, 0.025)) for seeds in looks]
    assert found == pytest.approx([2.4380, 2.4268, 2.4101, 2.3966, 2.3859], abs=2e-4)


def test_all_error_is_spent_by_the_last_look() -> None:
    assert spent(0.0) == 0
    assert spent(1.0) == pytest.approx(1)
    assert level((4,), 4, 0.05) == pytest.approx(0.05)


def test_the_error_of_all_looks_together_is_alpha() -> None:
    rng = np.random.default_rng(0)
    sums = rng.standard_normal((200_000, LOOKS[-1])).cumsum(axis=1)
    crossed = np.zeros(len(sums), dtype=bool)
    for look in LOOKS:
        statistic = sums[:, look - 1] / np.sqrt(look)
        crossed |= statistic > stats.norm.isf(level(LOOKS, look, 0.05))
    assert crossed.mean() == pytest.approx(0.05, abs=0.002)


def test_a_look_that_was_not_planned_takes_its_place() -> None:
    assert level(LOOKS, 4, 0.05) < level(LOOKS, 3, 0.05)
    assert level((3, 4, 5, 8, 12), 4, 0.05) == level(LOOKS, 4, 0.05)


@pytest.mark.parametrize(("looks", "seeds"), [((3, 5), 8), ((), 3), ((5, 3), 3), ((0, 3), 3)])
def test_plans_that_cannot_be_kept_are_refused(looks: tuple[int, ...], seeds: int) -> None:
    with pytest.raises(InputError):
        level(looks, seeds, 0.05)


@pytest.mark.parametrize(
    ("taken", "planned"),
    [([3, 5], [3, 5, 8, 12]), ([2, 4], [2, 4, 5, 8, 12]), ([3, 20], [3, 20])],
)
def test_a_study_that_grew_has_the_looks_it_took(taken: list[int], planned: list[int]) -> None:
    assert planned_looks(taken) == planned
    assert 0 < level(planned, taken[-1], 0.05) < 0.05


def test_looks_end_with_the_last_seed() -> None:
    assert looks_until(12) == [3, 5, 8, 12]
    assert looks_until(6) == [3, 5, 6]
    assert looks_until(3) == [3]
    assert looks_until(12, [4]) == [4, 5, 8, 12]
    assert looks_until(5, [3, 8]) == [3, 8]
