"""The calibration of the verdict, in a form of seconds."""

import numpy as np
import pytest
import simulated_scores as simulated_scores_module
from calibration import CHECKS, Row, borders, coverage, degenerate, errors, table_of
from pages import render_table
from simulated_scores import EARLY, LATE_VALUE, World, draw_scores


@pytest.mark.parametrize(
    "world",
    [
        World(requests=20_000),
        World(requests=20_000, hits=0.05, tails="normal", seed=0.1, joint_times=2.0),
        World(requests=20_000, hits=0.6, correlation=-0.5, data=0.1, users="Zipf", user=0.3),
        World(requests=6_000, folds="queries", data_of_arm=0.1, shared=0.5),
        World(requests=6_000, folds="users", tails="normal", user=0.3),
    ],
)
def test_simulated_scores_have_the_requested_means(world: World) -> None:
    rng = np.random.default_rng(0)
    effects, top = (0.2, 0.0, -0.1), (-0.3, 0.0, 0.2)
    means, tops = [], []
    for _ in range(12):
        made = draw_scores(world, rng, 4, effects, top=top)
        means.append([np.nanmean(arm) for arm in made.arms])
        tops.append([np.nanmean(arm) for arm in made.top or ()])
    hits = world.hits * (1 + np.array(effects))
    early = np.minimum(world.hits * EARLY * (1 + np.array(top)), hits)
    error = 4 * np.std(means, axis=0, ddof=1) / np.sqrt(12) + 0.002
    assert (np.abs(np.mean(means, axis=0) - hits) < error).all()
    assert (np.abs(np.mean(tops, axis=0) - early - LATE_VALUE * (hits - early)) < error).all()


def test_users_of_zipf_sizes_are_few_and_many() -> None:
    clusters = World(requests=600, users="Zipf").clusters()
    sizes = np.bincount(clusters)
    assert sizes[0] / len(clusters) > 0.15
    assert np.median(sizes) <= 5


def test_seeds_move_the_arms_together_where_it_is_asked() -> None:
    world = World(requests=4000, seed=0.3, correlation=0.9)
    made = draw_scores(world, np.random.default_rng(1), 60)
    joint, plain = (arm.mean(axis=1) for arm in made.arms[:2])
    assert np.corrcoef(joint, plain)[0, 1] > 0.7
    against = draw_scores(
        World(requests=4000, seed=0.3, correlation=-0.9), np.random.default_rng(1), 60
    )
    joint, plain = (arm.mean(axis=1) for arm in against.arms[:2])
    assert np.corrcoef(joint, plain)[0, 1] < -0.7


def test_a_small_calibration_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 studies a row: what is far off would be seen."""
    monkeypatch.setattr(simulated_scores_module, "_REFERENCE", 100_000)
    simulated_scores_module._sorted_noise.cache_clear()
    rows = [row for row in coverage(50) if row.check == "covered by 95 %"]
    assert len(rows) > 25
    assert np.mean([row.count / row.of for row in rows]) == pytest.approx(0.955, abs=0.02)
    assert min(row.count / row.of for row in rows) > 0.8
    rows = [*errors(10), *borders(5)]
    simulated_scores_module._sorted_noise.cache_clear()
    assert sum(row.count for row in rows) / sum(row.of for row in rows) < 0.05


def test_tables_that_cannot_decide_never_do() -> None:
    assert all(row.count == 0 for row in degenerate(10))


def test_a_row_says_whether_its_target_is_met() -> None:
    assert Row("", "", 95, 100, 0.93, 0.97).met == "yes"
    assert Row("", "", 92, 100, 0.93, 0.97).met == "near"
    assert Row("", "", 50, 100, 0.93, 0.97).met == "no"
    assert Row("", "", 50, 100).met == ""
    assert Row("", "", 1, 100, high=0.05).target == "at most .050"
    assert Row("", "", 1, 100, 0.8).target == "at least .80"
    lines = list(render_table(table_of("A", [Row("one", "there", 1, 100, high=0.05)])))
    assert "| one | there | .010 [.000, .054] | 100 | at most .050 | yes |" in lines
    assert {"coverage", "folds", "errors", "borders", "looks", "plans", "degenerate"} <= set(CHECKS)
