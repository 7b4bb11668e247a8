"""A made world in which the same words mean different items to different people."""

import numpy as np
import polars as pl

from twofold.records import InputError

_EVENTS = 16
"""Of a user; two more are held out."""


def taste(
    strength: float = 1.0,
    tastes: int = 4,
    topics: int = 10,
    items: int = 15,
    users: int = 400,
    queries: int = 6,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Users have one of several tastes, which only their histories show, and ask for topics.

    What a query wants is an item of its topic and of the taste of the one who asks. Titles tell
    the topic. A query alone finds one item in `tastes`; with the history before it, all.

    Args:
        strength: share of the events and answers that follow the user's taste; the others are of
            any taste.
        tastes: kinds of users.
        topics: what is asked for.
        items: of every topic and taste.
        users: as many of each taste.
        queries: of a user, each with a text of its own.
        seed: of everything that is drawn.
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
        for time in range(_EVENTS + 2)
    ]
    asked, answers = [], []
    for number, request in enumerate(rng.permutation(users * queries)):
        user, topic = number // queries, int(rng.integers(topics))
        # After some events, so that the taste is known, and before those that are held out.
        time = rng.uniform(_EVENTS // 2, _EVENTS - 1)
        asked.append((f"q{request}", f"topic{topic} request{request}", f"u{user}", str(time)))
        answers.append((f"q{request}", draw(user, topic)))
    listed = [
        (f"i{name[kind, topic, n]}", f"topic{topic}")
        for kind, topic, n in np.ndindex(tastes, topics, items)
    ]
    return {
        "items": pl.DataFrame(listed, ["item_id", "title"], orient="row").sort("item_id"),
        "interactions": pl.DataFrame(events, ["user_id", "item_id", "timestamp"], orient="row"),
        "queries": pl.DataFrame(asked, ["query_id", "text", "user_id", "timestamp"], orient="row"),
        "qrels": pl.DataFrame(answers, ["query_id", "item_id"], orient="row"),
    }
