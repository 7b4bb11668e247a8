"""Made datasets, as ordinary tables: worlds whose law is known.

Every world is a function of its parameters, written `simulate:NAME` or
`simulate:NAME:key=value,key=value`. The worlds after Penha et al. (RecSys 2024) are
reconstructions: the paper describes them, and published no code.

- `popularity` (H1): popularity is the only signal, and the law of the other task's training
  targets lies `kl` nats away from the law that is tested.
- `latent-search-helps` and `latent-recommendation-helps` (H2): every item is equally popular, and
  items come in groups of which one task's training data show a part. The test asks for the rest,
  which the other task's data tell with probability `rho`.

In `taste`, a query means other items to other users.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import brentq

from twofold.data.formats import Table
from twofold.data.simulators.film_catalog import catalog
from twofold.data.simulators.taste import taste
from twofold.records import Floats, InputError, Ints

Frames = dict[str, pl.DataFrame]

ZIPF_EXPONENT = 1.1
GROUP = 10
"""Items of a group in the latent worlds."""
_SHOWN = [1, 4]
"""Steps within half a group that training shows: the neighbours on a ring of five."""


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
    added: int = 1000,
    tests: int = 20_000,
    seed: int = 0,
) -> Frames:
    """H1. Targets of the `helped` task follow Zipf's law in training and test.

    The other task's training targets follow a law `kl` nats away. Histories are uniform noise and
    no two queries are alike, so that a target's popularity is all there is to learn.

    Args:
        kl: KL(tested law || the other task's law), in nats.
        helped: `recommendation` or `search`.
        items: N, the size of the catalog.
        targets: training targets of the helped task: few, or there is nothing to help.
        added: training targets of the other task.
        tests: test requests of the helped task.
        seed: of everything that is drawn.
    """
    if helped not in ("recommendation", "search"):
        raise InputError(f"helped='{helped}': is recommendation or search")
    rng = np.random.default_rng(seed)
    law, other = zipf_law(items), law_at_divergence(zipf_law(items), kl)
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    few = max(500, tests // 10)
    if helped == "search":
        queries = {"train": targets, "validation": few, "test": tests}
        asked, answers = _popular_queries(rng, law, name, queries)
        users = _popular_users(rng, other, name, added, few)
    else:
        queries = {"train": added, "validation": few, "test": few}
        asked, answers = _popular_queries(rng, other, name, queries)
        users = _popular_users(rng, law, name, targets, tests)
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
    rng: np.random.Generator, law: Floats, name: Any, sizes: dict[str, int]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    asked: list[tuple[str, str, str]] = []
    answers: list[tuple[str, str]] = []
    for split, size in sizes.items():
        for target in rng.choice(len(law), size=size, p=law):
            number = len(asked)
            asked.append((f"q{number}", f"request{number}", split))
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
    rho: float = 1.0,
    groups: int = 100,
    copies: int = 2,
    queries: int = 2,
    tests: int = 4,
    seed: int = 0,
) -> Frames:
    """H2. Histories show pairs within the halves of a group; half of the test wants the other half.

    Training users go from an item to its two neighbours on a ring of five, its half of the group:
    that the halves belong together only queries tell. An item is asked for by its name, and by
    its group's topic; for a share 1 - `rho` of the items by a random topic each time.

    Args:
        rho: share of the items whose queries name their group.
        groups: of 10 items each.
        copies: training users of each pair and direction.
        queries: training queries of each item by name, and as many by topic.
        tests: test users that start from each item.
        seed: of everything that is drawn.
    """
    rng, name, word, told = _latent(rho, groups, seed)
    items = range(len(name))
    users: list[tuple[str, str]] = []
    for step in _SHOWN * copies:
        for item in items:
            users += _user(len(users), name, item, _near(item, step))
    for test in range(tests):
        for item in items:
            # A step within the half and one across, in turns: neither end was shown with another.
            first = _far(item, test) if test % 2 else _near(item, 2)
            last = _near(first, 2) if test % 2 else _far(item, test)
            users += _user(len(users), name, item, first, last)
    asked = []
    for split, each in (("train", queries), ("validation", 1), ("test", 1)):
        for item in items:
            asked += [(f"name{word[item]}", item, split)] * each
            for _ in range(each):
                topic = item // GROUP if told[item] else rng.integers(groups)
                asked.append((f"topic{topic}", item, split))
    return _frames(name, users, *_queries(rng, name, asked))


def latent_recommendation_helps(
    rho: float = 1.0, groups: int = 100, copies: int = 2, users: int = 2, seed: int = 0
) -> Frames:
    """H2. Queries show words with items of the same half of a group; half of the test wants the
    other half.

    A group has 10 words too. Training queries find three items by each word, in the word's half of
    the group: that the halves belong together only histories tell. Users come to an item from its
    companion, an item that nobody asks for, and from the other half of its group; for a share
    1 - `rho` of the items from the companion alone.

    Args:
        rho: share of the items that users reach from the other half of their group.
        groups: of 10 items and 10 words each.
        copies: training queries of each word and item.
        users: training users that come to each item from its companion, and as many from others,
            up to 4.
        seed: of everything that is drawn.
    """
    rng, name, word, told = _latent(rho, 2 * groups, seed)
    half = len(name) // 2
    visited: list[tuple[str, str]] = []
    for step in range(1, users + 1):
        for item in range(half):
            visited += _user(len(visited), name, half + item, item)
            before = _far(item, step) if told[item] else half + item
            visited += _user(len(visited), name, before, item)
    for item in range(half):
        visited += _user(len(visited), name, half + item, item, _far(item, 0))
    asked = []
    for number in range(half):
        asked_of = f"word{word[number]}"
        asked += [(asked_of, _near(number, step), "train") for step in [0, *_SHOWN] * copies]
        # One word in five is for validation.
        split = "validation" if rng.random() < 0.2 else "test"
        asked += [(asked_of, _near(number, step), split) for step in (2, 3)]
        asked += [(asked_of, _far(number, step), split) for step in (0, 1)]
    return _frames(name, visited, *_queries(rng, name, asked))


def _latent(rho: float, groups: int, seed: int) -> tuple[np.random.Generator, Any, Ints, Any]:
    """Random numbers; and of every item its id, the number of its word, and whether the helping
    task tells its group, each (N,).

    Item n belongs to group n // 10, and to that group's half n // 5; ids and words do not tell.
    """
    if not 0 <= rho <= 1:
        raise InputError(f"rho={rho}: must lie between 0 and 1")
    rng = np.random.default_rng(seed)
    items = groups * GROUP
    told = rng.random(items) < rho
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    return rng, name, rng.permutation(items), told


def _near(item: int, step: int) -> int:
    """The item `step` places on in the same half of its group."""
    half = GROUP // 2
    return item // half * half + (item + step) % half


def _far(item: int, step: int) -> int:
    """The item `step` places on in the other half of its group."""
    half = GROUP // 2
    return _near(item + half if item % GROUP < half else item - half, step)


def _queries(
    rng: np.random.Generator, name: Any, asked: list[tuple[str, int, str]]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Rows of queries and qrels from (word, item, split); no two queries are equal.

    Their numbers are random: in the order of the items, their digits would tell the group.
    """
    queries, answers = [], []
    for number, (word, item, split) in zip(rng.permutation(len(asked)), asked, strict=True):
        queries.append((f"q{number}", f"{word} request{number}", split))
        answers.append((f"q{number}", name[item]))
    return queries, answers


def _user(number: int, name: Any, *events: int) -> list[tuple[str, str]]:
    return [(f"u{number}", name[event]) for event in events]


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
    "taste": taste,
}
