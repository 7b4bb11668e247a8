"""`simulate:mixed`: small worlds in which all factors that affect joint training vary."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from twofold.data.simulators.world import Frames, frames, user_events
from twofold.records import Floats, InputError, Ints

_FAVOURITES = 2
"""The number of groups that a user likes."""
_WORDS = 3
"""The number of words of a topic."""
_HELD_OUT = 2
"""The number of a user's events that are not for training."""


def mixed(
    items: int = 300,
    groups: int = 20,
    users: int = 400,
    events: int = 6,
    queries: int = 400,
    tests: int = 400,
    overlap: float = 1.0,
    tilt: float = 0.0,
    agreement: float = 1.0,
    signal: float = 0.8,
    zipf: float = 0.8,
    names: float = 0.3,
    text: float = 0.0,
    seed: int = 0,
) -> Frames:
    """Users like groups of items, queries are about topics, and topics agree with groups or not.

    Args:
        items: the size of the catalog.
        groups: the number of groups, and of topics.
        users: the number of users; each has `events` training events and two that are held out.
        events: training events of a user.
        queries: training queries.
        tests: test queries; there are a quarter as many validation queries.
        overlap: share of the items that are targets of both tasks; the others are targets of one
            task.
        tilt: how much the popularity orders of search and recommendation differ, 0 to 1.
        agreement: share of the items with the topic of their group; the others have a random topic.
        signal: share of events and relevant items that follow the group or topic; the others follow
            only popularity.
        zipf: the exponent with which popularity falls with the rank.
        names: share of the queries that contain their item's name.
        text: share of the items whose title contains topic and name.
        seed: the random seed.

    Raises:
        InputError: `overlap`, `tilt` or `agreement` is not within 0 and 1, or there are fewer than
            two items or groups.
    """
    for name, share in (("overlap", overlap), ("tilt", tilt), ("agreement", agreement)):
        if not 0 <= share <= 1:
            raise InputError(f"{name}={share}: must lie between 0 and 1")
    if min(items, groups) < 2:
        raise InputError(f"items={items}, groups={groups}: each must be at least 2")
    rng = np.random.default_rng(seed)
    world = _world(rng, items, groups, overlap, tilt, agreement, zipf)
    rows: list[tuple[str, str]] = []
    for number, chosen in enumerate(_histories(rng, world, users, events + _HELD_OUT, signal)):
        rows += user_events(number, world.name, *chosen)
    drawn, qrels = _queries(
        rng, world, {"train": queries, "validation": tests // 4, "test": tests}, signal, names
    )
    made = frames(world.name, rows, drawn, qrels)
    told = rng.random(items) < text
    titles = [_words(rng, world, n) + f" {_own(n)}" if told[n] else "" for n in range(items)]
    made["items"] = made["items"].with_columns(pl.Series("title", titles))
    return made


class _World(NamedTuple):
    """The items.

    Attributes:
        name: item ids, (N,).
        group: which users like an item, (N,).
        topic: which queries are about an item, (N,).
        liked, wanted: the probability of an item in recommendation and in search, (N,).
    """

    name: Any
    group: Ints
    topic: Ints
    liked: Floats
    wanted: Floats


def _world(
    rng: np.random.Generator,
    items: int,
    groups: int,
    overlap: float,
    tilt: float,
    agreement: float,
    zipf: float,
) -> _World:
    """The items, their groups and topics, and the popularity of each in both tasks."""
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    group = rng.permutation(np.arange(items) % groups)
    topic = np.where(rng.random(items) < agreement, group, rng.integers(groups, size=items))
    order = rng.random(items)
    other = (1 - tilt) * order + tilt * rng.random(items)
    place = rng.random(items)
    of_both = place < overlap
    liked = _popularity(order, zipf) * (of_both | (place < (1 + overlap) / 2))
    wanted = _popularity(other, zipf) * (of_both | (place >= (1 + overlap) / 2))
    return _World(name, group, topic, liked / liked.sum(), wanted / wanted.sum())


def _popularity(order: Floats, zipf: float) -> Floats:
    rank = np.argsort(np.argsort(order)) + 1
    weights: Floats = rank.astype(np.float64) ** -zipf
    return weights


def _histories(
    rng: np.random.Generator, world: _World, users: int, size: int, signal: float
) -> Ints:
    """The events of each user, no item twice, (U, `size`)."""
    groups = int(world.group.max()) + 1
    chances = np.empty((users, len(world.name)))
    for user in range(users):
        likes = np.isin(world.group, rng.choice(groups, _FAVOURITES, replace=False))
        own = world.liked * likes
        chances[user] = (1 - signal) * world.liked + signal * own / max(own.sum(), 1e-12)
    # The largest of log-probabilities with Gumbel noise are a draw without replacement.
    with np.errstate(divide="ignore"):
        keys = np.log(chances) + rng.gumbel(size=chances.shape)
    drawn = np.argsort(-keys, axis=1)[:, :size]
    return rng.permuted(drawn, axis=1)


def _queries(
    rng: np.random.Generator,
    world: _World,
    sizes: dict[str, int],
    signal: float,
    names: float,
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Queries and qrels: a query names its item, or has words of its topic or of a random one."""
    queries, qrels = [], []
    splits = [split for split, size in sizes.items() for _ in range(size)]
    wanted = rng.choice(len(world.name), size=len(splits), p=world.wanted)
    numbers = rng.permutation(len(splits))
    for number, split, item in zip(numbers, splits, wanted, strict=True):
        if rng.random() < names:
            text = _own(item)
        elif rng.random() < signal:
            text = _words(rng, world, item)
        else:
            text = _words(rng, world, int(rng.integers(len(world.name))))
        queries.append((f"q{number}", f"{text} request{number}", split))
        qrels.append((f"q{number}", world.name[item]))
    return queries, qrels


def _words(rng: np.random.Generator, world: _World, item: int) -> str:
    return f"topic{world.topic[item]}word{rng.integers(_WORDS)}"


def _own(item: int) -> str:
    return f"name{item}"
