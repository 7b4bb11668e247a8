"""Made datasets, as ordinary tables: worlds whose law is known.

Every world is a function of its parameters, written `simulate:NAME` or
`simulate:NAME:key=value,key=value`. The worlds after Penha et al. (RecSys 2024) are
reconstructions: the paper describes them, and published no code.

- `popularity` (H1): popularity is the only signal, and the law of the other task's training
  targets lies `kl` nats away from the law that is tested.
- `latent-search-helps` and `latent-recommendation-helps` (H2): every item is equally popular, and
  what the test asks of one task is in the other's training data with probability `rho`.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import brentq

from twofold.data.film_catalog import catalog
from twofold.data.formats import Table
from twofold.records import Floats, InputError, Ints

Frames = dict[str, pl.DataFrame]

ZIPF_EXPONENT = 1.1
GROUP = 10
"""Items of a group in `latent-search-helps`."""
_AMBIGUOUS = 50
"""Items that an ambiguous query may mean."""


def tables(text: str) -> dict[str, list[Table]]:
    """The tables of `NAME` or `NAME:key=value,...`.

    Raises:
        InputError: no such simulator or parameter, or a value that does not fit.
    """
    name, _, given = text.partition(":")
    if name not in SIMULATORS:
        known = ", ".join(SIMULATORS)
        raise InputError(f"simulate:{name}: no such simulator; there is {known}")
    frames = SIMULATORS[name](**_parameters(name, given))
    folder = Path(f"simulate:{text}")
    return {table: [Table(folder / f"{table}.csv", rows)] for table, rows in frames.items()}


def _parameters(name: str, given: str) -> dict[str, Any]:
    """Values of the types that the simulator's own defaults have."""
    defaults = {p.name: p.default for p in inspect.signature(SIMULATORS[name]).parameters.values()}
    found: dict[str, Any] = {}
    for part in filter(None, given.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            known = ", ".join(defaults)
            raise InputError(f"simulate:{name}: no parameter '{key}'; there is {known}")
        try:
            found[key] = type(defaults[key])(value)
        except ValueError as error:
            raise InputError(f"simulate:{name}: {key}='{value}' is no number") from error
    return found


def zipf_law(items: int) -> Floats:
    """Probabilities in proportion to rank^-1.1, shape (N,), the most popular first."""
    weights = np.arange(1, items + 1, dtype=np.float64) ** -ZIPF_EXPONENT
    law: Floats = weights / weights.sum()
    return law


def law_at_divergence(law: Floats, kl: float) -> Floats:
    """The mixture q of `law` and its reverse with KL(law || q) = `kl` nats.

    Raises:
        InputError: `kl` is negative, or beyond that of the reverse itself.
    """
    backwards = law[::-1]

    def divergence(share: float) -> float:
        mixed = (1 - share) * law + share * backwards
        return float(np.sum(law * np.log(law / mixed)))

    if kl == 0:
        return law
    if not 0 < kl <= divergence(1.0):
        raise InputError(f"kl={kl}: must lie between 0 and {divergence(1.0):.3f}")
    share = float(brentq(lambda x: divergence(x) - kl, 0.0, 1.0))
    mixed: Floats = (1 - share) * law + share * backwards
    return mixed


def popularity(
    kl: float = 0.0,
    helped: str = "recommendation",
    items: int = 1000,
    targets: int = 300,
    tests: int = 20_000,
    seed: int = 0,
) -> Frames:
    """H1. Targets of the `helped` task follow Zipf's law in training and test.

    The other task's training targets follow a law `kl` nats away. Histories are uniform noise.
    Where recommendation is helped, queries are strings of their own; where search is, each query
    is a word that 50 items share and a string of its own, and the target is drawn among the 50.

    Args:
        kl: KL(tested law || the other task's law), in nats.
        helped: `recommendation` or `search`.
        items: N, the size of the catalog.
        targets: training targets of each task: few, or there is nothing to help.
        tests: test requests of the helped task.
        seed: of everything that is drawn.
    """
    if helped not in ("recommendation", "search"):
        raise InputError(f"helped='{helped}': is recommendation or search")
    rng = np.random.default_rng(seed)
    law, other = zipf_law(items), law_at_divergence(zipf_law(items), kl)
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    group = rng.permutation(items) // _AMBIGUOUS if helped == "search" else None
    of_search, of_users = (law, other) if helped == "search" else (other, law)
    few = max(500, tests // 20)
    asked, answers = _popular_queries(
        rng, of_search, name, group, {"train": targets, "validation": few // 2,
                                      "test": tests if helped == "search" else few},
    )  # fmt: skip
    users = _popular_users(rng, of_users, name, targets, few if helped == "search" else tests)
    return _frames(name, users, asked, answers)


def bayes_ceiling(law: Floats, k: int, seen_filtered: bool) -> float:
    """Recall@k of who knows the law of `popularity`: the sum of its `k` largest probabilities.

    Where seen items are filtered, the validation item is drawn first and cannot be the target: the
    mean over it. That the noise item is not the target either is worth less than 1 in N.
    """
    if not seen_filtered:
        return float(np.sort(law)[::-1][:k].sum())
    largest = np.sort(law)[::-1][: k + 1]
    order = np.argsort(-law)
    first = np.isin(np.arange(len(law)), order[:k])
    # Without an item of the k largest the next one moves up; without another nothing changes.
    found = np.where(first, largest.sum() - law, largest[:k].sum())
    return float(np.sum(law * found / (1 - law)))


def _popular_queries(
    rng: np.random.Generator, law: Floats, name: Any, group: Ints | None, sizes: dict[str, int]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    asked: list[tuple[str, str, str]] = []
    answers: list[tuple[str, str]] = []
    for split, size in sizes.items():
        for target in rng.choice(len(law), size=size, p=law):
            number = len(asked)
            word = "" if group is None else f"topic{group[target]} "
            asked.append((f"q{number}", f"{word}request{number}", split))
            answers.append((f"q{number}", name[target]))
    return asked, answers


def _popular_users(
    rng: np.random.Generator, law: Floats, name: Any, targets: int, tests: int
) -> list[tuple[str, str]]:
    """Users of two events, noise and a target, train; those of three are tested.

    No user has an item twice, so that the filter of seen items takes no target away.
    """
    rows: list[tuple[str, str]] = []
    for number in range(targets + tests):
        size = 1 if number < targets else 2
        drawn = rng.choice(len(law), size=size, replace=False, p=law).tolist()
        noise = int(rng.integers(len(law) - size))
        for taken in sorted(drawn):
            noise += noise >= taken
        rows += _user(number, name, noise, *drawn)
    return rows


def latent_search_helps(
    rho: float = 1.0, groups: int = 100, copies: int = 2, queries: int = 4, seed: int = 0
) -> Frames:
    """H2. Groups of 10 items; histories show 3 of the 9 steps between members, tests the others.

    Training users go from an item to one 1, 2 or 3 places on in its group; test users take other
    steps. A training query names its item's group with probability `rho`, else a random one. So
    each item is as popular as any other, in both tasks.

    Args:
        rho: how often queries tell the group.
        groups: of 10 items each.
        copies: training users of each pair that is shown.
        queries: training queries of each item.
        seed: of everything that is drawn.
    """
    _require_share(rho)
    rng = np.random.default_rng(seed)
    items = groups * GROUP
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    users: list[tuple[str, str]] = []
    for item in range(items):
        for step in (1, 2, 3) * copies:
            users += _user(len(users), name, item, _on(item, step))
        # No pair of these three is one that training shows, in that order.
        users += _user(len(users), name, item, _on(item, 4), _on(item, 8))
    asked: list[tuple[str, str, str]] = []
    answers: list[tuple[str, str]] = []
    for split, each in (("train", queries), ("validation", 1), ("test", 1)):
        for item in np.repeat(np.arange(items), each).tolist():
            told = item // GROUP if rng.random() < rho else int(rng.integers(groups))
            asked.append((f"q{len(asked)}", f"topic{told} request{len(asked)}", split))
            answers.append((asked[-1][0], name[item]))
    return _frames(name, users, asked, answers)


def latent_recommendation_helps(
    rho: float = 1.0, pairs: int = 500, copies: int = 3, queries: int = 3, seed: int = 0
) -> Frames:
    """H2. A topic is relevant to the pair (a, b): training queries find a, test queries want b.

    Histories hold the pair, in both orders, with probability `rho`; else a with the partner of
    another topic, so that each item stays as popular as any other.

    Args:
        rho: how often histories tell the pair.
        pairs: of items; a fifth of them is for validation.
        copies: training users of each pair and order.
        queries: training queries of each topic.
        seed: of everything that is drawn.
    """
    _require_share(rho)
    rng = np.random.default_rng(seed)
    name = np.array([f"i{n}" for n in rng.permutation(2 * pairs)], dtype=object)
    users: list[tuple[str, str]] = []
    for _ in range(copies):
        first, second = np.arange(pairs), np.arange(pairs)
        apart = np.flatnonzero(rng.random(pairs) >= rho)
        shuffled = rng.permutation(apart)
        second[shuffled] = np.roll(shuffled, 1)
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            users += _user(len(users), name, a, pairs + b)
            users += _user(len(users), name, pairs + b, a)
    for _ in range(pairs):
        users += _user(len(users), name, *rng.choice(2 * pairs, 3, replace=False).tolist())
    asked: list[tuple[str, str, str]] = []
    answers: list[tuple[str, str]] = []
    for topic in range(pairs):
        held_out = "validation" if topic % 5 == 0 else "test"
        for split, item in (*[("train", topic)] * queries, (held_out, pairs + topic)):
            asked.append((f"q{len(asked)}", f"topic{topic} request{len(asked)}", split))
            answers.append((asked[-1][0], name[item]))
    return _frames(name, users, asked, answers)


def _on(item: int, step: int) -> int:
    """The item `step` places on in the same group."""
    return item // GROUP * GROUP + (item + step) % GROUP


def _user(number: int, name: Any, *events: int) -> list[tuple[str, str]]:
    return [(f"u{number}", name[event]) for event in events]


def _require_share(rho: float) -> None:
    if not 0 <= rho <= 1:
        raise InputError(f"rho={rho}: must lie between 0 and 1")


def _frames(
    name: Any,
    users: list[tuple[str, str]],
    asked: list[tuple[str, str, str]],
    answers: list[tuple[str, str]],
) -> Frames:
    return {
        "items": pl.DataFrame({"item_id": name, "title": [""] * len(name)}).cast(pl.String),
        "interactions": pl.DataFrame(users, schema=["user_id", "item_id"], orient="row"),
        "queries": pl.DataFrame(asked, schema=["query_id", "text", "split"], orient="row"),
        "qrels": pl.DataFrame(answers, schema=["query_id", "item_id"], orient="row"),
    }


SIMULATORS: dict[str, Callable[..., Frames]] = {
    "catalog": catalog,
    "popularity": popularity,
    "latent-search-helps": latent_search_helps,
    "latent-recommendation-helps": latent_recommendation_helps,
}
