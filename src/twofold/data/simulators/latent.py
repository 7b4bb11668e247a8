"""`simulate:latent-search-helps` and `simulate:latent-recommendation-helps`: items in groups (H2).

Item n belongs to group n // 10 and to that group's half n // 5. One task's training data have pairs
of items within the halves; only the other task's data reveal which halves belong together.
"""

from typing import Any, NamedTuple

import numpy as np

from twofold.data.simulators.world import Frames, frames, user_events
from twofold.records import InputError, Ints

GROUP = 10
"""The number of items in a group."""
_SHOWN = [1, 4]
"""The steps within a half that are in the training data: the neighbours on a ring of five."""


def latent_search_helps(
    rho: float = 1.0,
    groups: int = 100,
    copies: int = 2,
    queries: int = 2,
    tests: int = 4,
    seed: int = 0,
) -> Frames:
    """Histories have pairs within the halves of a group; half of the test targets are in the other
    half.

    A training user's history goes from an item to one of its two neighbours on a ring of five, its
    half of the group; only queries reveal which halves belong together. The queries of an item are
    its name and its group's topic; for a share 1 - `rho` of the items the topic is random each
    time.

    Args:
        rho: share of the items whose queries reveal their group.
        groups: the number of groups, of 10 items each.
        copies: training users for each pair and direction.
        queries: training queries of each item by name, and as many by topic.
        tests: test users whose history begins with each item.
        seed: the random seed.
    """
    world = _world(rho, groups, seed)
    items = range(len(world.name))
    users = _searched_users(world.name, copies, tests)
    searches = []
    for split, each in (("train", queries), ("validation", 1), ("test", 1)):
        for item in items:
            searches += [(f"name{world.word[item]}", item, split)] * each
            for _ in range(each):
                topic = item // GROUP if world.is_told[item] else world.rng.integers(groups)
                searches.append((f"topic{topic}", item, split))
    return frames(world.name, users, *_queries(world, searches))


def _searched_users(name: Any, copies: int, tests: int) -> list[tuple[str, str]]:
    """Interactions of the training users, then of the test users."""
    users: list[tuple[str, str]] = []
    for step in _SHOWN * copies:
        for item in range(len(name)):
            users += user_events(len(users), name, item, _near(item, step))
    for test in range(tests):
        for item in range(len(name)):
            # A step within the half and one across, in turns: neither end was shown with another.
            validation = _far(item, test) if test % 2 else _near(item, 2)
            tested = _near(validation, 2) if test % 2 else _far(item, test)
            users += user_events(len(users), name, item, validation, tested)
    return users


def latent_recommendation_helps(
    rho: float = 1.0, groups: int = 100, copies: int = 2, users: int = 2, seed: int = 0
) -> Frames:
    """Queries pair words with items of the same half of a group; half of the test targets are in
    the other half.

    A group has 10 words too. Training queries pair each word with three items of the word's half of
    the group; only histories reveal which halves belong together. In histories, an item follows its
    companion, an item without queries, or an item of the other half of its group; for a share 1 -
    `rho` of the items only the companion.

    Args:
        rho: share of the items that follow items of the other half of their group.
        groups: the number of groups, of 10 items and 10 words each.
        copies: training queries of each word and item.
        users: training users in whose histories each item follows its companion, and as many in
            which it follows others, up to 4.
        seed: the random seed.
    """
    world = _world(rho, 2 * groups, seed)
    half = len(world.name) // 2
    visited: list[tuple[str, str]] = []
    for step in range(1, users + 1):
        for item in range(half):
            visited += user_events(len(visited), world.name, half + item, item)
            before = _far(item, step) if world.is_told[item] else half + item
            visited += user_events(len(visited), world.name, before, item)
    for item in range(half):
        visited += user_events(len(visited), world.name, half + item, item, _far(item, 0))
    searches = []
    for number in range(half):
        text = f"word{world.word[number]}"
        searches += [(text, _near(number, step), "train") for step in [0, *_SHOWN] * copies]
        # One word in five is for validation.
        split = "validation" if world.rng.random() < 0.2 else "test"
        searches += [(text, _near(number, step), split) for step in (2, 3)]
        searches += [(text, _far(number, step), split) for step in (0, 1)]
    return frames(world.name, visited, *_queries(world, searches))


class _World(NamedTuple):
    """Groups of items whose ids and words do not reveal the group.

    Attributes:
        rng: the random generator for further draws.
        name: item ids, (N,).
        word: the number of each item's word, (N,).
        is_told: whether the other task's data reveal an item's group, (N,).
    """

    rng: np.random.Generator
    name: Any
    word: Ints
    is_told: Any


def _world(rho: float, groups: int, seed: int) -> _World:
    if not 0 <= rho <= 1:
        raise InputError(f"rho={rho}: must lie between 0 and 1")
    rng = np.random.default_rng(seed)
    items = groups * GROUP
    is_told = rng.random(items) < rho
    name = np.array([f"i{n}" for n in rng.permutation(items)], dtype=object)
    return _World(rng, name, rng.permutation(items), is_told)


def _near(item: int, step: int) -> int:
    """The item `step` places on in the same half of its group."""
    half = GROUP // 2
    return item // half * half + (item + step) % half


def _far(item: int, step: int) -> int:
    """The item `step` places on in the other half of its group."""
    half = GROUP // 2
    return _near(item + half if item % GROUP < half else item - half, step)


def _queries(
    world: _World, searches: list[tuple[str, int, str]]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Rows of queries and qrels from (word, item, split); no two queries are equal.

    Their numbers are random: in the order of the items, their digits would reveal the group.
    """
    queries, qrels = [], []
    for number, (word, item, split) in zip(
        world.rng.permutation(len(searches)), searches, strict=True
    ):
        queries.append((f"q{number}", f"{word} request{number}", split))
        qrels.append((f"q{number}", world.name[item]))
    return queries, qrels
