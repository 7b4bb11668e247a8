"""What won and lost cases have in common: pairs of items that only the other task knows (H2), and
the popularity of the target (H1).

A request's *sources* are the items that speak for its answer: in recommendation its history; in
search the right answers to the training queries that share its rarest word. A case is *told* where
a source and a target stand in a pair that only the other task's training data join. How often that
is so by chance, a target put in the right one's place that is about as popular says: where the two
shares are equal, the pairs explain nothing.
"""

from typing import Any

import numpy as np
from scipy import stats

from twofold.data.text import normalise_query
from twofold.evaluation.measures import PRIMARY
from twofold.records import Floats, Ints, Request, Task, other_task
from twofold.studies.analyses.pairs import Pairs
from twofold.studies.analyses.representation import matched_pairs
from twofold.studies.results import Results
from twofold.studies.verdict import LEVEL
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.popularity import combined_popularity
from twofold.tasks.prepared import PreparedDataset

_SOURCES = 200
"""Items that speak for an answer, at most: the last of a history."""


def wins_evidence(dataset: PreparedDataset, results: Results, pairs: Pairs) -> dict[str, Any]:
    """By task: the share of told cases among those that joint wins, loses and ties against the
    plain arm, and a regression of the gain of each item."""
    found: dict[str, Any] = {}
    popularity = combined_popularity(dataset)
    for task in dataset.tasks:
        judged = dataset.task(task).requests("test")
        gain = _gains(results, task)
        told, by_chance = _told(dataset, judged, pairs, popularity)
        found[task] = {
            "only_known_to": other_task(task),
            **{
                name: {**_share(told[chosen]), "by_chance": _mean(by_chance[chosen])}
                for name, chosen in (("won", gain > 0), ("lost", gain < 0), ("tied", gain == 0))
            },
            "regression": _regression(dataset, judged, gain, pairs),
        }
    return found


def _gains(results: Results, task: Task) -> Floats:
    """Joint minus plain of each request, averaged over the seeds, (R,)."""
    joint, plain = (results.matrix(arm, task, str(PRIMARY)) for arm in ("joint", task))
    found: Floats = joint.mean(axis=0) - plain.mean(axis=0)
    return found


def _share(told: Any) -> dict[str, Any]:
    """Cases, and the share that is told with Wilson's interval."""
    size, count = len(told), int(told.sum())
    if not size:
        return {"requests": 0, "told": None, "interval": None}
    interval = stats.binomtest(count, size).proportion_ci(LEVEL, method="wilson")
    return {"requests": size, "told": count / size, "interval": [interval.low, interval.high]}


def _mean(told: Any) -> float | None:
    return float(told.mean()) if len(told) else None


def _told(
    dataset: PreparedDataset, judged: JudgedRequests, pairs: Pairs, popularity: Ints
) -> tuple[Any, Any]:
    """Whether the other task alone joins a source with a target, and with one as popular, (R,)."""
    known = pairs.known_only_to[other_task(judged.task)]
    sources = _Sources(dataset)
    positions = dataset.catalog.positions
    items = np.arange(len(popularity))
    other = matched_pairs(np.stack([items, items], axis=1), popularity)[:, 0]
    told = np.zeros((2, len(judged.requests)), dtype=bool)
    for row, request in enumerate(judged.requests):
        joined = known[sources.of(request)]
        right = [positions[item_id] for item_id in judged.qrels[request.request_id]]
        told[:, row] = [joined[:, targets].nnz > 0 for targets in (right, other[right])]
    return told[0], told[1]


class _Sources:
    """The items that speak for the answer to a request."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._positions = dataset.catalog.positions
        self._answers = dataset.task("search").answers_by_query
        self._queries: dict[str, list[str]] = {}
        for key in self._answers:
            for word in set(key.split()):
                self._queries.setdefault(word, []).append(key)

    def of(self, request: Request) -> Ints:
        """Catalog positions."""
        if request.query is None:
            last = request.history[-_SOURCES:]
            return np.array([self._positions[item_id] for item_id in last], dtype=np.int64)
        words = [w for w in normalise_query(request.query).split() if w in self._queries]
        if not words:
            return np.zeros(0, dtype=np.int64)
        rarest = min(words, key=lambda word: (len(self._queries[word]), word))
        queries = self._queries[rarest][:_SOURCES]
        return np.concatenate([self._answers[key] for key in queries])[:_SOURCES]


def _regression(
    dataset: PreparedDataset, judged: JudgedRequests, gain: Floats, pairs: Pairs
) -> dict[str, Any] | None:
    """Weighted least squares of the mean gain of each target item on the logs of its popularity
    in each task and of the pairs that only the other task knows, each standardised; robust errors.
    """
    n, positions = len(dataset.catalog), dataset.catalog.positions
    total, weight = np.zeros(n), np.zeros(n)
    for row, request in enumerate(judged.requests):
        for item_id in judged.qrels[request.request_id]:
            total[positions[item_id]] += gain[row]
            weight[positions[item_id]] += 1
    asked = np.flatnonzero(weight)
    known = pairs.known_only_to[other_task(judged.task)]
    columns = {
        **{
            f"log popularity in {task}": np.log1p(dataset.task(task).popularity)
            for task in dataset.tasks
        },
        f"log pairs only {other_task(judged.task)} knows": np.log1p(np.diff(known.indptr)),
    }
    usable = {name: c[asked] for name, c in columns.items() if c[asked].std() > 0}
    if len(asked) <= 2 * (len(usable) + 1) or not usable:
        return None
    standard = [(c - c.mean()) / c.std() for c in usable.values()]
    design = np.stack([np.ones(len(asked)), *standard], axis=1)
    values, errors = weighted_least_squares(design, total[asked] / weight[asked], weight[asked])
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * errors
    return {
        "items": len(asked),
        "coefficients": {
            name: {"value": float(v), "interval": [float(v - h), float(v + h)]}
            for name, v, h in zip(usable, values[1:], half[1:], strict=True)
        },
    }


def weighted_least_squares(
    design: Floats, outcome: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Coefficients and their heteroscedasticity-robust (HC1) standard errors.

    Args:
        design: (M, P).
        outcome: (M,).
        weights: (M,).
    """
    inverse = np.linalg.pinv(design.T @ (design * weights[:, None]))
    values = inverse @ (design.T @ (weights * outcome))
    residuals = weights * (outcome - design @ values)
    middle = design.T @ (design * residuals[:, None] ** 2)
    m, p = design.shape
    return values, np.sqrt(np.diag(inverse @ middle @ inverse) * m / (m - p))
