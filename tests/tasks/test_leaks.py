"""No training example holds a held-out event, or anything later of its user.

Logs are drawn with repeats, equal timestamps, users of one to three events, queries with users,
and the same query under two ids.
"""

from pathlib import Path
from typing import NamedTuple

import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twofold.data.formats import Table
from twofold.data.validation import validate
from twofold.data.words import query_key
from twofold.tasks.folds import Folds
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset

ITEMS = [f"i{n}" for n in range(6)]
USERS = [f"u{n}" for n in range(4)]
TIMES = st.integers(100, 106)

events = st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), TIMES), min_size=4)
queries = st.lists(
    st.tuples(
        st.sampled_from(["red car", "Red cars!", "blue", "green tea", "old dog", "x"]),
        st.sampled_from([None, *USERS]),
        st.none() | TIMES,
        st.sampled_from([None, "train", "test"]),
        st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=8,
)


def _dataset(log: list, asked: list, cutoff: float | None) -> PreparedDataset:  # type: ignore[type-arg]
    frames = {
        "items": pl.DataFrame({"item_id": ITEMS, "title": ITEMS}),
        "interactions": pl.DataFrame(
            [(u, i, str(t)) for u, i, t in log],
            schema=["user_id", "item_id", "timestamp"],
            orient="row",
        ),
        "queries": pl.DataFrame(
            [
                (f"q{n}", text, user, None if time is None else str(time), split)
                for n, (text, user, time, split, _) in enumerate(asked)
            ],
            schema=dict.fromkeys(["query_id", "text", "user_id", "timestamp", "split"], pl.String),
            orient="row",
        ),
        "qrels": pl.DataFrame(
            [(f"q{n}", item) for n, query in enumerate(asked) for item in query[4]],
            schema=["query_id", "item_id"],
            orient="row",
        ),
    }
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), "made", "last" if cutoff is None else "temporal", cutoff)


class _User(NamedTuple):
    """What a user's log holds: training events, the first other event's time, other items."""

    events: list[str]
    time: float | None
    items: set[str]


def _held_out(dataset: PreparedDataset) -> dict[str, _User]:
    found: dict[str, _User] = {}
    for (user,), rows in dataset.interactions.group_by(["user_id"]):
        later = rows.filter(pl.col("split").is_null() | (pl.col("split") != "train"))
        found[str(user)] = _User(
            events=rows.filter(pl.col("split") == "train")["item_id"].to_list(),
            time=later.select(pl.col("timestamp").min()).item() if later.height else None,
            items=set(later["item_id"]),
        )
    return found


@settings(max_examples=150)
@given(events, queries, st.none() | st.integers(101, 106).map(float))
def test_no_leak(log: list, asked: list, cutoff: float | None) -> None:  # type: ignore[type-arg]
    if cutoff is not None:
        times = [t for _, _, t in log] + [t for _, _, t, _, _ in asked if t is not None]
        assume(min(times) < cutoff <= max(times))
    _check(_dataset(log, asked, cutoff), cutoff)


many_events = st.lists(
    st.tuples(st.sampled_from(USERS[:2]), st.sampled_from(ITEMS), st.integers(100, 112)),
    min_size=20,
    max_size=40,
)


@settings(max_examples=100)
@given(many_events, queries, st.integers(1, 12))
def test_no_leak_in_any_fold(log: list, asked: list, number: int) -> None:  # type: ignore[type-arg]
    whole = _dataset(log, asked, None)
    _check(Folds(whole, "all").of(number), None)


def _check(dataset: PreparedDataset, cutoff: float | None) -> None:
    held_out = _held_out(dataset)
    names = dataset.catalog.item_ids

    for user, history in dataset.training_histories.items():
        assert [names[n] for n in history] == held_out[user].events
    for split in ("validation", "test"):
        judged = dataset.task("recommendation").requests(split)
        for request in judged.requests:
            trained = held_out[request.request_id].events
            assert list(request.history[: len(trained)]) == trained
            extra = 1 if split == "test" and cutoff is None else None
            if extra is not None:
                assert len(request.history) == len(trained) + extra

    _check_queries(dataset, held_out, cutoff)


def _check_queries(
    dataset: PreparedDataset, held_out: dict[str, _User], cutoff: float | None
) -> None:
    rows = dataset.queries.filter(pl.col("split") == "train")
    try:
        examples = dataset.task("search").source().examples
    except ValueError:
        return
    if cutoff is None or dataset.queries["timestamp"].is_null().all():
        later = dataset.queries.filter(pl.col("split").is_in(["validation", "test"]))
        assert not set(rows["text"].map_elements(query_key, return_dtype=pl.String)) & set(
            later["text"].map_elements(query_key, return_dtype=pl.String)
        )
    names = dataset.catalog.item_ids
    asked = {
        (text, user, time)
        for text, user, time in rows.select("text", "user_id", "timestamp").rows()
    }
    for example in examples:
        history = [names[n] for n in example.history]
        targets = {names[n] for n in example.targets}
        # Some query of this text explains the example without a leak.
        assert any(
            _is_clean(history, targets, held_out.get(user or ""), user, time)
            for text, user, time in asked
            if text == example.query
        )


def _is_clean(
    history: list[str],
    targets: set[str],
    of_user: _User | None,
    user: str | None,
    time: float | None,
) -> bool:
    if user is None or of_user is None:
        return not history
    if targets & of_user.items:
        return False
    if time is None:
        return not history
    if of_user.time is not None and time >= of_user.time:
        return False
    trained = of_user.events
    return history == trained[: len(history)]
