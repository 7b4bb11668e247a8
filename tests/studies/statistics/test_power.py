"""What a study can be expected to say."""

import numpy as np
import pytest

from twofold.evaluation.significance import Moments, side_by_side
from twofold.studies.statistics.future_studies import Pilot
from twofold.studies.statistics.power import needed, power_table
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.verdict import decide

PLAIN = 0.3


def _arms(
    rng: np.random.Generator, seeds: int, requests: int, effect: float, spread: float = 0.006
) -> TaskScores:
    """Difficulty of the requests, a part of each arm, seeds, and what is left."""
    difficulty = PLAIN + rng.normal(0, 0.3, requests)
    arms = [
        difficulty
        + (effect * 0.05 * PLAIN if arm == 0 else 0)
        + rng.normal(0, 0.1, requests)
        + rng.normal(0, spread, (seeds, 1))
        + rng.normal(0, 0.1, (seeds, requests))
        for arm in range(3)
    ]
    return TaskScores(arms[0], arms[1], arms[2], np.arange(requests))


def _decided(scores: TaskScores) -> str:
    return decide({"search": scores}, plan=False)["search"].verdict


def test_the_power_table_keeps_what_it_says() -> None:
    """So many studies find what was planted as the table gives a chance."""
    rng = np.random.default_rng(0)
    pilot = _arms(rng, 3, 1500, 0)
    rows = power_table(
        Moments(pilot.arms, pilot.clusters), 1500, 0.05,
        looks=(3, 5, 8), times=(1.0,), effects=(2.0,), seed_deviation=0.02,
    )  # fmt: skip
    assert [row.seeds for row in rows] == [3, 5, 8]
    chances = [row.helps for row in rows]
    assert chances == sorted(chances)
    for row in rows[:2]:
        found = [_decided(_arms(rng, row.seeds, 1500, 2)) == "helps" for _ in range(150)]
        assert np.mean(found) >= row.helps - 0.12


def test_chances_of_one_plan_sum_to_one() -> None:
    pilot = _arms(np.random.default_rng(1), 1, 300, 0)
    for row in power_table(Moments(pilot.arms, pilot.clusters), 300, 0.05):
        parts = (row.helps, row.hurts, row.no_material_difference, row.not_enough_data)
        assert sum(parts) == pytest.approx(1)
        assert row.requests in (300, 1200)


@pytest.mark.parametrize("effect", [0.0, 2.0])
def test_what_is_needed_decides(effect: float) -> None:
    rng = np.random.default_rng(2)
    told = kept = 0
    while told < 12:
        scores = _arms(rng, 3, 600, effect, 0.012)
        if _decided(scores) != "not enough data":
            continue
        found = needed(scores.moments, 600, 0.05)
        seeds = found.seeds or found.together_seeds or 3
        requests = found.requests or found.together_requests or 600
        if (seeds, requests) == (3, 600):
            continue
        told += 1
        kept += _decided(_arms(rng, seeds, requests, effect, 0.012)) != "not enough data"
    assert kept >= 8


def test_what_no_study_decides_has_no_number() -> None:
    scores = _arms(np.random.default_rng(3), 3, 100, 0, 0.5)
    found = needed(scores.moments, 100, 0.05)
    assert found.requests is None
    assert found.seeds is None


def test_folds_draw_more_anew_than_seeds_alone() -> None:
    """From one seed: where each further seed has other requests, more is found."""
    pilot = _arms(np.random.default_rng(3), 1, 400, 0)
    chances = [
        [
            row.helps
            for row in power_table(
                pilot.moments, 400, 0.05, redrawn=redrawn, times=(1.0,), effects=(2.0,)
            )
        ]
        for redrawn in (0.0, 1.0)
    ]
    assert chances[1][-1] > chances[0][-1] + 0.05


def test_a_pilot_of_folds_knows_what_each_draws_anew() -> None:
    rng = np.random.default_rng(4)
    arms = [
        side_by_side(list(rng.normal(PLAIN, 0.3, (4, 200)) + rng.normal(0, 0.01, (4, 1))))
        for _ in range(3)
    ]
    pilot = Pilot.of(Moments(arms, np.arange(800)))
    alone = Pilot.of(Moments([arm[:1, :200] for arm in arms], np.arange(200)), redrawn=1.0)
    assert np.abs(pilot.requests).max() < 1e-9, "all of it is drawn anew"
    assert np.abs(alone.requests).max() < 1e-9
    expected = 0.3**2 / 200
    assert np.diag(pilot.interaction) == pytest.approx(expected, rel=0.2)
    assert np.diag(alone.interaction) == pytest.approx(expected, rel=0.3)
