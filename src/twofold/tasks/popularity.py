"""Popularity: counts of items, their distribution over the catalog, and divergences."""

import numpy as np

from twofold.records import Floats, Ints
from twofold.tasks.prepared import PreparedDataset


def combined_popularity(dataset: PreparedDataset) -> Ints:
    """How often each item occurs in the training data of all tasks together, (N,)."""
    counts: Ints = np.sum([dataset.task(task).popularity for task in dataset.tasks], axis=0)
    return counts


def popularity_distribution(counts: Ints) -> Floats:
    """Counts as probabilities over the catalog, (N,), add-one smoothed."""
    smoothed = np.asarray(counts + 1.0, dtype=np.float64)
    distribution: Floats = smoothed / smoothed.sum()
    return distribution


def kullback_leibler(p: Floats, q: Floats) -> float:
    """KL(p || q) in nats; both distributions are positive and sum to one."""
    return float(np.sum(p * np.log(p / q)))


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon divergence in nats, between 0 and log 2."""
    middle = (p + q) / 2
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2
