"""`simulate:taste`: the same query has different relevant items for different users."""

from collections.abc import Callable

import numpy as np
import polars as pl

from twofold.data.simulators.world import Frames
from twofold.records import InputError

_TRAINING_EVENTS = 16
"""The number of each user's events before the two that are held out."""


def taste(
    strength: float = 1.0,
    tastes: int = 4,
    topics: int = 10,
    items: int = 15,
    users: int = 400,
    queries: int = 6,
    seed: int = 0,
) -> Frames:
    """Users have one of several tastes, which only their histories show, and query topics.

    The relevant items of a query have its topic and its user's taste. Titles contain the topic.
    With the query alone, one item in `tastes` is relevant; with the history before it, all.

    Args:
        strength: share of the events and relevant items that follow the user's taste; the others
            have a random one.
        tastes: the number of tastes.
        topics: the number of topics.
        items: the number of items for every topic and taste.
        users: the number of users, divided equally among the tastes.
        queries: the number of queries of each user, each with its own text.
        seed: the random seed.

    Raises:
        InputError: `strength` is not within 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"strength={strength}: must lie between 0 and 1")
    rng = np.random.default_rng(seed)
    name = rng.permutation(tastes * topics * items).reshape(tastes, topics, items)

    def draw(user: int, topic: int) -> str:
        follows = rng.random() < strength
        chosen = user % tastes if follows else int(rng.integers(tastes))
        return f"i{rng.choice(name[chosen, topic])}"

    events = [
        (f"u{user}", draw(user, int(rng.integers(topics))), str(time))
        for user in range(users)
        for time in range(_TRAINING_EVENTS + 2)
    ]
    titles = [
        (f"i{name[kind, topic, n]}", f"topic{topic}")
        for kind, topic, n in np.ndindex(tastes, topics, items)
    ]
    return {
        "items": pl.DataFrame(titles, ["item_id", "title"], orient="row").sort("item_id"),
        "interactions": pl.DataFrame(events, ["user_id", "item_id", "timestamp"], orient="row"),
        **_searches(rng, draw, users, queries, topics),
    }


def _searches(
    rng: np.random.Generator,
    draw: Callable[[int, int], str],
    users: int,
    queries: int,
    topics: int,
) -> Frames:
    """The tables queries and qrels: `draw` gives the relevant item of a user and a topic."""
    searches, qrels = [], []
    for number, request in enumerate(rng.permutation(users * queries)):
        user, topic = number // queries, int(rng.integers(topics))
        # After some events, which show the taste, and before those that are held out.
        time = rng.uniform(_TRAINING_EVENTS // 2, _TRAINING_EVENTS - 1)
        searches.append((f"q{request}", f"topic{topic} request{request}", f"u{user}", str(time)))
        qrels.append((f"q{request}", draw(user, topic)))
    columns = ["query_id", "text", "user_id", "timestamp"]
    return {
        "queries": pl.DataFrame(searches, columns, orient="row"),
        "qrels": pl.DataFrame(qrels, ["query_id", "item_id"], orient="row"),
    }
