"""H1: does joint training correct what a model takes to be popular?

Compares the popularity of what each arm retrieves with that of the test's targets.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from twofold.evaluation.measures import PRIMARY
from twofold.records import Floats, Ints, Run, Task, other_task
from twofold.studies.arms import control_name
from twofold.studies.results import Results
from twofold.tasks.popularity import kullback_leibler, popularity_distribution
from twofold.tasks.prepared import PreparedDataset

BANDS = ("head", "torso", "tail")
_HEAD, _TAIL = 0.1, 0.5
"""Shares of the catalog: the most popular tenth, the less popular half."""


def popularity_evidence(dataset: PreparedDataset, results: Results) -> dict[str, Any]:
    """By task: how the laws of training, test and each arm's answers share out over the catalog.

    `bands` holds the share of targets or of answers that falls on head, torso and tail; `arms`
    the divergence of the test's law from that of the answers, their Gini coefficient, and the
    share of the catalog that was retrieved at all, each with its value by seed.
    """
    return {task: _of_task(dataset, results, task) for task in dataset.tasks}


def _of_task(dataset: PreparedDataset, results: Results, task: Task) -> dict[str, Any]:
    own = dataset.task(task).popularity
    test, bands = dataset.task(task).test_popularity, popularity_bands(own)
    other = other_task(task)
    positions = dict(dataset.catalog.positions)
    retrieved = {
        arm: [retrieved_counts(run, positions) for run in results.runs(arm, task)]
        for arm in (task, control_name(task), "joint")
    }
    laws = {
        f"training, {task}": own,
        f"training, {other}": dataset.task(other).popularity,
        "test": test,
        **{arm: np.sum(counts, axis=0) for arm, counts in retrieved.items()},
    }
    return {
        "bands": [{"of": name, **_shares(counts, bands)} for name, counts in laws.items()],
        "arms": {
            arm: {
                "divergence": _by_seed([retrieved_divergence(c, test) for c in counts]),
                "gini": _by_seed([gini(c) for c in counts]),
                "coverage": _by_seed([float((c > 0).mean()) for c in counts]),
            }
            for arm, counts in retrieved.items()
        },
    }


def popularity_bands(counts: Ints) -> Ints:
    """The place of each item in `BANDS`, (N,), by its training count.

    Items of one count stay together, where the middle of them belongs.
    """
    above = (stats.rankdata(-counts, method="average") - 0.5) / len(counts)
    place = np.full(len(counts), BANDS.index("torso"))
    place[above < _HEAD] = BANDS.index("head")
    place[above >= 1 - _TAIL] = BANDS.index("tail")
    return place


def retrieved_counts(run: Run, positions: Mapping[str, int]) -> Ints:
    """How often each item stands among the first answers, as many as the primary measure asks
    for, (N,)."""
    counts = np.zeros(len(positions), dtype=np.int64)
    for request_id in run:
        found = run[request_id].item_ids[: PRIMARY.k]
        np.add.at(counts, [positions[item_id] for item_id in found], 1)
    return counts


def retrieved_divergence(retrieved: Ints, test: Ints) -> float:
    """KL(test law || law of what was retrieved), nats, add-one smoothed: small where the model
    knows what is popular.

    Args:
        retrieved, test: counts of each item, (N,).
    """
    return kullback_leibler(popularity_distribution(test), popularity_distribution(retrieved))


def gini(counts: Ints) -> float:
    """0 where all items are retrieved alike, near 1 where few items take all."""
    if not counts.sum():
        return 0.0
    ordered: Floats = np.sort(counts).astype(np.float64)
    below = np.cumsum(ordered) / ordered.sum()
    return float(1 - 2 * below.mean() + 1 / len(counts))


def _shares(counts: Ints, bands: Ints) -> dict[str, float]:
    total = max(1, int(counts.sum()))
    return {name: float(counts[bands == n].sum() / total) for n, name in enumerate(BANDS)}


def _by_seed(values: list[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "by_seed": values}
