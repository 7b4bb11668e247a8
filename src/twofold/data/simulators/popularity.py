"""`simulate:popularity`: item popularity is the only signal (H1), and the Bayes-optimal Recall is
known.
"""

from typing import Any

import numpy as np
from scipy.optimize import brentq

from twofold.data.simulators.world import Frames, frames, user_events
from twofold.records import Floats, InputError

ZIPF_EXPONENT = 1.1


def popularity(
    kl: float = 0.0,
    helped: str = "recommendation",
    items: int = 1000,
    targets: int = 300,
    added: int = 1000,
    tests: int = 20_000,
    seed: int = 0,
) -> Frames:
    """Targets of the `helped` task follow one Zipf distribution in training and test.

    The distribution of the other task's training targets has a divergence of `kl` nats. Histories
    are uniform noise and no two queries are equal, so only the popularity of targets can be
    learned.

    Args:
        kl: KL(tested distribution || the other task's distribution), in nats.
        helped: `recommendation` or `search`.
        items: N, the size of the catalog.
        targets: training targets of the helped task; they must be few, so that it can be helped.
        added: training targets of the other task.
        tests: test requests of the helped task.
        seed: the random seed.

    Raises:
        InputError: `helped` is no task, there are fewer than three items, or their distribution
            cannot have the divergence `kl`.
    """
    if helped not in ("recommendation", "search"):
        raise InputError(f"helped='{helped}': is recommendation or search")
    if items < 3:
        raise InputError(f"items={items}: must be at least 3")
    rng = np.random.default_rng(seed)
    tested = zipf_distribution(items)
    other = distribution_at_divergence(tested, kl)
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    few = max(500, tests // 10)
    if helped == "search":
        sizes = {"train": targets, "validation": few, "test": tests}
        queries, qrels = _queries(rng, tested, name, sizes)
        events = _events(rng, other, name, added, few)
    else:
        sizes = {"train": added, "validation": few, "test": few}
        queries, qrels = _queries(rng, other, name, sizes)
        events = _events(rng, tested, name, targets, tests)
    return frames(name, events, queries, qrels)


def zipf_distribution(items: int) -> Floats:
    """Probabilities in proportion to rank^-1.1, (N,), the most popular first."""
    weights = np.arange(1, items + 1, dtype=np.float64) ** -ZIPF_EXPONENT
    probabilities: Floats = weights / weights.sum()
    return probabilities


def distribution_at_divergence(start: Floats, kl: float) -> Floats:
    """The mixture q of `start` and its reverse with KL(start || q) = `kl` nats.

    Raises:
        InputError: `kl` is negative, or larger than the divergence of the reverse.
    """
    backwards = start[::-1]

    def divergence(share: float) -> float:
        mixed = (1 - share) * start + share * backwards
        return float(np.sum(start * np.log(start / mixed)))

    if kl == 0:
        return start
    if not 0 < kl <= divergence(1.0):
        raise InputError(f"kl={kl}: must lie between 0 and {divergence(1.0):.3f}")
    share = float(brentq(lambda x: divergence(x) - kl, 0.0, 1.0))
    mixed: Floats = (1 - share) * start + share * backwards
    return mixed


def bayes_optimal_recall(probabilities: Floats, k: int, seen_filtered: bool) -> float:
    """The Bayes-optimal Recall@k, by the true distribution of the targets.

    It is the sum of the `k` largest probabilities. If seen items are filtered, the validation item
    is drawn first and cannot be the target, so it is the mean over the validation item. The noise
    item cannot be the target either; ignoring this changes the result by less than 1 in N.

    Args:
        probabilities: the probability of each item as the target, (N,).
        k: length of the ranking.
        seen_filtered: whether items of the history are filtered.
    """
    if not seen_filtered:
        return float(np.sort(probabilities)[::-1][:k].sum())
    largest = np.sort(probabilities)[::-1][: k + 1]
    order = np.argsort(-probabilities)
    is_largest = np.isin(np.arange(len(probabilities)), order[:k])
    # Without one of the k largest, the next item moves up; without another item nothing changes.
    reached = np.where(is_largest, largest.sum() - probabilities, largest[:k].sum())
    return float(np.sum(probabilities * reached / (1 - probabilities)))


def _queries(
    rng: np.random.Generator, probabilities: Floats, name: Any, sizes: dict[str, int]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    queries: list[tuple[str, str, str]] = []
    qrels: list[tuple[str, str]] = []
    for split, size in sizes.items():
        for target in rng.choice(len(probabilities), size=size, p=probabilities):
            number = len(queries)
            queries.append((f"q{number}", f"request{number}", split))
            qrels.append((f"q{number}", name[target]))
    return queries, qrels


def _events(
    rng: np.random.Generator, probabilities: Floats, name: Any, targets: int, tests: int
) -> list[tuple[str, str]]:
    """Users with two events, noise and a target, are for training; those with three are for
    testing.

    No user has an item twice, so the seen filter never removes a target.
    """
    items = len(probabilities)
    rows: list[tuple[str, str]] = []
    for number in range(targets + tests):
        size = 1 if number < targets else 2
        drawn = rng.choice(items, size=size, replace=False, p=probabilities).tolist()
        noise = int(rng.integers(items - size))
        for taken in sorted(drawn):
            noise += noise >= taken
        rows += user_events(number, name, noise, *drawn)
    return rows
