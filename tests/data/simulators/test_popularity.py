"""`simulate:popularity`: the distributions are those that it states."""

from collections import Counter

import numpy as np
import pytest

from twofold.data.simulators.popularity import (
    bayes_optimal_recall,
    distribution_at_divergence,
    zipf_distribution,
)
from twofold.data.sources import read_source
from twofold.records import Floats, InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


def _kl(p: Floats, q: Floats) -> float:
    return float(np.sum(p * np.log(p / q)))


@pytest.mark.parametrize("kl", [0.0, 0.1, 1.0, 3.5])
def test_the_other_distribution_lies_at_the_divergence_asked_for(kl: float) -> None:
    zipf = zipf_distribution(1000)
    other = distribution_at_divergence(zipf, kl)
    assert other.sum() == pytest.approx(1.0)
    assert _kl(zipf, other) == pytest.approx(kl, abs=1e-6)


def test_no_divergence_exceeds_that_of_the_reversed_distribution() -> None:
    with pytest.raises(InputError, match=r"kl=9.0: must lie between 0 and 4\.\d+"):
        read_source("simulate:popularity:kl=9")


def test_the_bayes_optimal_recall_is_what_ranking_by_the_distribution_reaches() -> None:
    """Against 40,000 draws: rank by probability, the first draw filtered where seen items are."""
    zipf = zipf_distribution(200)
    rng = np.random.default_rng(0)
    pairs = np.array([rng.choice(200, 2, replace=False, p=zipf) for _ in range(40_000)])
    first, second = pairs.T
    # Items are in order of probability: after the first is filtered, later items move up by one.
    rank = second - (second > first)
    reached = (rank < 30).mean()
    assert bayes_optimal_recall(zipf, 30, seen_filtered=True) == pytest.approx(reached, abs=0.01)
    assert bayes_optimal_recall(zipf, 30, seen_filtered=False) == pytest.approx(zipf[:30].sum())


def _targets(dataset: PreparedDataset, task: str) -> Counter[int]:
    source = dataset.task(task).source()  # type: ignore[arg-type]
    return Counter(int(t) for example in source.examples for t in example.targets)


@pytest.mark.parametrize("helped", ["recommendation", "search"])
def test_popularity_has_few_targets_and_many_tests(helped: str) -> None:
    dataset = load_dataset(f"simulate:popularity:kl=2,helped={helped},tests=3000")
    for task in dataset.tasks:
        assert sum(_targets(dataset, task).values()) == (300 if task == helped else 1000)
    assert len(dataset.task(helped).requests("test").requests) == 3000  # type: ignore[arg-type]
    assert dataset.protocol.seen == "exclude"
    events = dataset.interactions
    assert events.select("user_id", "item_id").is_unique().all()


def test_at_kl_zero_the_tasks_share_their_popular_items() -> None:
    def share(kl: float) -> float:
        dataset = load_dataset(f"simulate:popularity:kl={kl},tests=500,targets=3000")
        top = [i for i, _ in _targets(dataset, "recommendation").most_common(20)]
        searched = _targets(dataset, "search")
        return sum(searched[i] for i in top) / sum(searched.values())

    assert share(0.0) > 0.4
    assert share(4.0) < 0.1
