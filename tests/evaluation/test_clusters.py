"""The variance of a mean of clustered requests."""

import numpy as np
import pytest
from scipy import special

from twofold.evaluation.clusters import Clusters
from twofold.evaluation.significance import mean


def test_clusters_of_one_size_give_the_standard_error_of_their_means() -> None:
    rng = np.random.default_rng(0)
    values, numbers = rng.random((1, 120)), np.repeat(np.arange(30), 4)
    clusters = Clusters(numbers)
    found = clusters.covariance(clusters.influence(values))[0, 0]
    assert found == pytest.approx(values.reshape(30, 4).mean(axis=1).var(ddof=1) / 30)
    assert clusters.degrees == pytest.approx(29)


def test_the_variance_is_the_jackknife_s() -> None:
    """Leaving out one cluster at a time, as counted by hand."""
    rng = np.random.default_rng(1)
    numbers = np.repeat(np.arange(12), rng.integers(1, 20, 12))
    values = rng.random((1, len(numbers)))
    without = np.array([values[0, numbers != number].mean() for number in range(12)])
    by_hand = ((without - values.mean()) ** 2).sum() * 11 / 12
    clusters = Clusters(numbers)
    assert clusters.covariance(clusters.influence(values))[0, 0] == pytest.approx(by_hand)


def test_the_covariance_of_several_means() -> None:
    rng = np.random.default_rng(2)
    values, clusters = rng.random((3, 200)), Clusters(np.arange(200))
    found = clusters.covariance(clusters.influence(values))
    assert found == pytest.approx(np.cov(values) / 200)


def test_one_large_cluster_leaves_few_degrees_of_freedom() -> None:
    numbers = np.repeat(np.arange(101), [100, *[1] * 100])
    assert Clusters(numbers).degrees == pytest.approx(1 / (0.5**2 + 100 / 200**2) - 1)
    assert Clusters(np.zeros(5, dtype=np.int64)).degrees == 1


@pytest.mark.parametrize(("groups", "requests"), [(20, 400), (50, 500), (200, 1000)])
def test_intervals_of_zipf_clusters_cover(groups: int, requests: int) -> None:
    """The largest of 20 users has a quarter of the requests; a user's requests are alike."""
    rng = np.random.default_rng(3)
    sizes = np.maximum(1, np.round(requests / np.arange(1, groups + 1) / special.zeta(1.6)))
    numbers = np.repeat(np.arange(groups), sizes.astype(int))
    missed = 0
    for _ in range(1000):
        values = rng.normal(0, 0.5, groups)[numbers] + rng.normal(0, 1, len(numbers))
        low, high = mean(values[None], numbers).interval()
        missed += not low <= 0 <= high
    assert 30 <= missed <= 70
