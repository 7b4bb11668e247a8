"""Popularity distributions and their divergences."""

import numpy as np
import pytest

from twofold.tasks.popularity import (
    combined_popularity,
    jensen_shannon,
    kullback_leibler,
    popularity_distribution,
)
from twofold.tasks.prepared import PreparedDataset


def test_divergences_agree_with_scipy() -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    p, q = (popularity_distribution(rng.integers(0, 50, 30)) for _ in range(2))
    assert kullback_leibler(p, q) == pytest.approx(entropy(p, q))
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2)


def test_combined_popularity_is_the_sum_over_the_tasks(catalog: PreparedDataset) -> None:
    search, recommendation = (catalog.task(task).popularity for task in catalog.tasks)
    assert combined_popularity(catalog).tolist() == (search + recommendation).tolist()
