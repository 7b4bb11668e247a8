"""Intervals have the right parts and coverage, and Holm corrects for several tests."""

import numpy as np
import pytest
from scipy import stats

from twofold.evaluation.significance import contrast, difference, has_folds, mean, side_by_side
from twofold.records import Floats, Ints


def _clusters(n: int) -> Ints:
    return np.arange(n, dtype=np.int64)


def test_the_request_part_is_the_standard_error_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((1, 4000))
    estimate = mean(scores, _clusters(4000))
    assert estimate.standard_error == pytest.approx(scores.std() / np.sqrt(4000), rel=0.05)
    assert estimate.seed_variance is None


def test_clusters_widen_the_interval() -> None:
    scores = np.repeat(np.random.default_rng(1).random(200), 10)[None]
    alone = mean(scores, _clusters(2000)).standard_error
    together = mean(scores, np.repeat(np.arange(200), 10)).standard_error
    assert together == pytest.approx(alone * np.sqrt(10), rel=0.15)


def test_the_request_part_is_what_resampling_clusters_gives() -> None:
    """Against a plain bootstrap, with clusters of one to eight requests."""
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(300), rng.integers(1, 9, 300))
    scores = rng.random(300)[clusters] + rng.normal(0, 0.3, len(clusters))
    rows = [np.flatnonzero(clusters == number) for number in range(300)]
    means = []
    for _ in range(4000):
        drawn = np.concatenate([rows[number] for number in rng.integers(300, size=300)])
        means.append(scores[drawn].mean())
    assert mean(scores[None], clusters).standard_error == pytest.approx(np.std(means), rel=0.05)


def test_seeds_widen_the_interval_from_three_on() -> None:
    rng = np.random.default_rng(2)
    base = rng.random((1, 500))
    arm = base + rng.normal(0, 0.05, (5, 1))
    two, five = difference(arm[:2], base[:2], _clusters(500)), difference(arm, arm, _clusters(500))
    assert two.seed_variance is None
    assert five.seed_variance == pytest.approx(2 * arm.mean(axis=1).var(ddof=1) / 5)
    assert five.value == 0


def test_a_baseline_without_seeds_leaves_the_other_arms_seeds_in() -> None:
    rng = np.random.default_rng(2)
    baseline = rng.random((1, 500))
    arm = baseline + np.array([[0.0], [0.1], [0.2]])
    estimate = difference(arm, baseline, _clusters(500), fixed=True)
    assert estimate.seed_variance == pytest.approx(0.01 / 3)
    # As an arm of one seed it is taken to vary as much as the other one does.
    assert difference(arm, baseline, _clusters(500)).seed_variance == pytest.approx(0.04 / 3)


def test_a_constant_difference_has_p_value_zero_or_one() -> None:
    ones = np.ones((1, 50))
    assert difference(ones, 0 * ones, _clusters(50)).p_value == 0
    assert difference(ones, ones, _clusters(50)).p_value == 1


def test_few_clusters_give_few_degrees_of_freedom() -> None:
    """Three users give two degrees of freedom, however many requests they make."""
    scores = np.repeat([0.1, 0.2, 0.3], 50)[None]
    low, high = mean(scores, np.repeat(np.arange(3), 50)).interval()
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, 0.2, 0.1 / np.sqrt(3)))


def test_a_contrast_of_four_arms_is_the_sum_of_its_differences() -> None:
    rng = np.random.default_rng(5)
    a, b, c, d = (rng.random((4, 200)) for _ in range(4))
    whole = contrast([(1.0, a), (-1.0, b), (-1.0, c), (1.0, d)], _clusters(200))
    parts = difference(a, b, _clusters(200)).value - difference(c, d, _clusters(200)).value
    assert whole.value == pytest.approx(parts)


def test_two_arms_add_their_seed_variances() -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.random((4, 200)) for _ in range(2))
    seeds = sum(float(arm.mean(axis=1).var(ddof=1)) / 4 for arm in (a, b))
    assert difference(a, b, _clusters(200)).seed_variance == pytest.approx(seeds)


def test_three_arms_share_what_their_seeds_have_in_common() -> None:
    """What a seed does to all arms alike is no part of their difference; what it does to one is."""
    rng = np.random.default_rng(6)
    base, common = rng.random((1, 300)), rng.normal(0, 0.2, (4, 1))
    arms = [base + common for _ in range(3)]
    alike = difference(arms[0], arms[1], _clusters(300), others=arms[2:])
    assert alike.seed_variance == pytest.approx(0, abs=1e-12)
    arms[0] = arms[0] + rng.normal(0, 0.2, (4, 1))
    apart = difference(arms[0], arms[1], _clusters(300), others=arms[2:])
    own = (arms[0] - arms[1]).mean(axis=1).var(ddof=1) / 4
    other = (arms[0] + arms[1] - 2 * arms[2]).mean(axis=1).var(ddof=1) / 3 / 4
    assert apart.seed_variance == pytest.approx(0.75 * own + 0.25 * other)


def test_no_interval_is_narrower_than_requests_alone_give() -> None:
    """Three seed means may agree by chance; who was asked stays uncertain all the same."""
    rng = np.random.default_rng(7)
    narrow = 0
    for _ in range(200):
        arms = [(rng.random((3, 400)) < 0.3).astype(float) for _ in range(3)]
        found = difference(arms[0], arms[1], _clusters(400), others=arms[2:])
        alone = (arms[0] - arms[1]).mean(axis=0).std(ddof=1) / np.sqrt(400)
        low, high = found.interval()
        assert high - low >= 2 * stats.t.ppf(0.975, 399) * alone * (1 - 1e-9)
        total = found.request_variance + (found.seed_variance or 0)
        narrow += total < alone**2
        assert found.p_value >= 2 * stats.t.sf(abs(found.value) / alone, 399) * (1 - 1e-9)
    assert narrow > 40


def test_one_sided_p_values_agree_with_the_interval() -> None:
    rng = np.random.default_rng(8)
    for _ in range(50):
        arms = [rng.normal(0.02, 0.3, (3, 200)), *(rng.normal(0, 0.3, (3, 200)) for _ in range(2))]
        found = difference(arms[0], arms[1], _clusters(200), others=arms[2:])
        low, high = found.interval(0.9)
        assert (found.p_above < 0.05) == (low > 0)
        assert (found.p_below < 0.05) == (high < 0)


def test_a_single_cluster_says_nothing() -> None:
    scores = np.random.default_rng(1).random((3, 40))
    found = difference(scores, scores / 2, np.zeros(40, dtype=np.int64))
    assert found.interval() == (-2.0, 2.0)
    assert found.p_value == 1


def test_intervals_cover_at_their_level() -> None:
    """In 400 studies with seeds and requests drawn anew, 95 % intervals miss about 5 %."""
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(400):
        requests = rng.normal(0, 0.3, 300)
        first = requests + rng.normal(0, 0.02, (4, 1)) + rng.normal(0, 0.2, (4, 300))
        second = requests + rng.normal(0, 0.02, (4, 1)) + rng.normal(0, 0.2, (4, 300))
        low, high = difference(first, second, _clusters(300)).interval()
        missed += not low <= 0 <= high
    assert missed <= 30


def _folds(rng: np.random.Generator, seeds: int, requests: int) -> tuple[list[Floats], Ints]:
    """Three arms alike, each seed with other requests of the same users, and its own effect."""
    users = np.tile(np.arange(requests), seeds)
    common = rng.normal(0, 1, (seeds, requests))
    arms = [
        side_by_side(
            list(
                common
                + rng.normal(0, 0.2, requests)
                + rng.normal(0, 0.03, (seeds, 1))
                + rng.normal(0, 0.3, (seeds, requests))
            )
        )
        for _ in range(3)
    ]
    return arms, users


def test_folds_stand_side_by_side() -> None:
    matrix = side_by_side([np.ones(2), np.zeros(3)])
    assert matrix.shape == (2, 5)
    assert np.isnan(matrix).tolist() == [[False] * 2 + [True] * 3, [True] * 2 + [False] * 3]
    assert has_folds(matrix)
    assert not has_folds(np.ones((2, 5)))
    assert not has_folds(np.ones((1, 5)))


def test_the_variance_over_folds_of_other_queries_is_that_of_their_means() -> None:
    """It holds the choice of queries and of seeds at once, so that nothing is to be added."""
    rng = np.random.default_rng(11)
    arms = [side_by_side(list(rng.random((4, 100)) + rng.normal(0, 0.2))) for _ in range(3)]
    found = difference(arms[0], arms[1], _clusters(400), others=arms[2:])
    assert found.request_variance == pytest.approx(0, abs=1e-9)
    assert found.interaction == pytest.approx(found.floor_variance)
    means = [np.nanmean(arm, axis=1) for arm in arms]
    own = (means[0] - means[1]).var(ddof=1) / 4
    other = (means[0] + means[1] - 2 * means[2]).var(ddof=1) / 3 / 4
    assert found.seed_variance == pytest.approx(0.75 * own + 0.25 * other)
    assert found.value == pytest.approx(np.mean(means[0] - means[1]))
    two = difference(arms[0], arms[1], _clusters(400))
    assert two.seed_variance == pytest.approx(own), "folds are paired also in two arms alone"


def test_what_users_are_worth_in_all_folds_is_not_lost() -> None:
    """The same users in every fold: more folds do not make their part of the variance smaller."""
    rng = np.random.default_rng(12)
    of_user = rng.normal(0, 1, 200)
    arms = [
        side_by_side([sign * of_user + rng.normal(0, 0.01, 200) for _ in range(5)])
        for sign in (1, -1, 0)
    ]
    found = difference(arms[0], arms[1], np.tile(np.arange(200), 5), others=arms[2:])
    alone = 2 * of_user.std(ddof=1) / np.sqrt(200)
    assert np.sqrt(found.request_variance) == pytest.approx(alone, rel=0.05)
    assert found.degrees > 100


def test_intervals_over_folds_cover_at_their_level() -> None:
    rng = np.random.default_rng(13)
    for seeds in (3, 6):
        missed = 0
        for _ in range(400):
            arms, users = _folds(rng, seeds, 150)
            low, high = difference(arms[0], arms[1], users, others=arms[2:]).interval()
            missed += not low <= 0 <= high
        assert missed <= 34


def test_a_fold_without_any_of_the_requests_is_left_out() -> None:
    rng = np.random.default_rng(14)
    arms = [side_by_side(list(rng.random((4, 30)))) for _ in range(3)]
    some = np.arange(120) < 80  # two folds, most of a third, and nothing of the last
    first, second, third = (arm[:, some] for arm in arms)
    part = difference(first, second, _clusters(80), others=[third])
    assert np.isfinite(part.interval()).all()
    assert part.value == pytest.approx(np.nanmean((arms[0] - arms[1])[:, some]))
