"""The data report: the contents of a dataset, and what may bias numbers computed on it.

`report_text` writes it as Markdown.
"""

from array import array
from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from twofold.data.reading.time_values import ARE_TIMES, seconds_in, time_range
from twofold.data.words import query_key, words
from twofold.records import SPLITS, Ints
from twofold.tasks.arrays import TEST, TRAIN, VALIDATION, SplitNumbers
from twofold.tasks.popularity import jensen_shannon, kullback_leibler, popularity_distribution
from twofold.tasks.prepared import PreparedDataset, height, in_parts

NEAR_DUPLICATE = 0.8
"""The smallest Jaccard overlap of words at which two queries count as near-duplicates."""

_NEAR_COPY = 3600.0
"""In seconds: events of one user and item within this time may be one event written twice."""

_CHUNK, _COMPARED = 1000, 100_000_000
"""The largest numbers of test queries, and of pairs with training queries, compared at once."""

_MOST_PAIRS, _MOST_TEST, _MOST_TRAINED = 2_000_000_000, 2_000, 1_000_000
"""With more pairs of a test and a training query than the first number, samples of the other two
sizes are compared."""

Report = dict[str, Any]


def data_report(dataset: PreparedDataset) -> Report:
    """Sizes, splits, overlap and divergence of the tasks, events, leaks, near-duplicates."""
    events, queries = _events(dataset), _query_leaks(dataset)
    seen = queries.pop("test_queries_seen")
    return {
        "source": dataset.source,
        "digest": dataset.digest,
        "tasks": list(dataset.tasks),
        "split": dataset.protocol.split,
        "sizes": _sizes(dataset),
        "splits": _splits(dataset, seen),
        "repeat_share": events.pop("repeat_share"),
        "events": events,
        "seen": dataset.protocol.seen,
        "overlap": _overlap(dataset),
        "divergence": _divergence(dataset),
        "queries": queries,
        "left_out": [str(note) for note in dataset.notes],
    }


def _sizes(dataset: PreparedDataset) -> Report:
    """The numbers of items, users, interactions, queries and judgments."""
    events = dataset.columns.events
    users = len(events.users)
    unused = users - events.users_of(np.array([TRAIN, VALIDATION, TEST]))
    held_out = events.users_of(np.array([VALIDATION, TEST]))
    return {
        "items": len(dataset.catalog),
        "items_with_text": sum(bool(text) for text in dataset.catalog.texts),
        "items_without_title": int((dataset.catalog.items["title"] == "").sum()),
        "users": users,
        "users_that_only_train": users - held_out - unused,
        "users_not_used": unused,
        "interactions": len(events.items),
        "queries": height(dataset.tables.scan("queries")),
        "qrels": height(dataset.tables.scan("qrels")),
    }


def _splits(dataset: PreparedDataset, seen: int) -> Report:
    """The sizes of the splits; `seen` test queries have the text of a training query."""

    def count(numbers: SplitNumbers) -> dict[str, int]:
        not_used, *counts = (int((numbers == number).sum()) for number in range(-1, len(SPLITS)))
        return dict(zip(map(str, SPLITS), counts, strict=True)) | {"not used": not_used}

    splits: Report = {
        "interactions": count(dataset.columns.events.splits),
        "queries": count(dataset.columns.queries.splits),
    }
    if dataset.protocol.split == "temporal" and len(dataset.columns.queries.splits):
        splits["test_queries_seen_in_training"] = seen
        splits["test_queries_unseen"] = splits["queries"]["test"] - seen
    return splits


def _events(dataset: PreparedDataset) -> Report:
    """Repeats, near-copies and equal times among the events, and those that are not used.

    Returns:
        `repeat_share`; `near_copies`, the number of events with the same user and item as one
        within an hour before, and `near_copies_held_out`, the held-out ones of them, both None if
        the timestamps are not times; `tied`, the number of events at the time of another event of
        their user, and `held_out_by_file_order`, the number of held-out events that were chosen
        among equal times by their place in the file, both None without timestamps; `not_used`;
        the `first` and `last` time, and whether these `are_times` or positions; and the events of
        a user: their median number, and the user with most of them.
    """
    counts: Counter[str] = Counter()
    times: list[float] = []
    for events in dataset.columns.events.frames():
        counts.update(_counts(events))
        of_part = time_range([events["timestamp"]])
        times += of_part or ()
    size, with_times = counts["events"], counts["given"]
    real = with_times > 0 and counts["seconds"] / with_times >= ARE_TIMES
    timed = size > 0 and size == with_times

    def of_timed(name: str, wanted: bool = True) -> int | None:
        return counts[name] if timed and wanted else None

    return {
        "repeat_share": 1.0 - counts["distinct"] / size if size else 0.0,
        "near_copies": of_timed("near", real),
        "near_copies_held_out": of_timed("near_held_out", real),
        "tied": of_timed("tied"),
        "held_out_by_file_order": of_timed("held_out_by_file_order"),
        "not_used": counts["not_used"],
        "first": min(times, default=None),
        "last": max(times, default=None),
        "are_times": real,
        **_of_users(dataset),
    }


def _of_users(dataset: PreparedDataset) -> Report:
    """The median number of a user's events, and the user with most of them."""
    events = dataset.columns.events
    counts = np.diff(events.starts)
    if not len(counts):
        return {"median": 0, "most": 0, "most_of": None}
    most = int(counts.argmax())
    return {
        "median": int(np.median(counts)),
        "most": int(counts[most]),
        "most_of": events.users[most],
    }


def _counts(events: pl.DataFrame) -> dict[str, int]:
    """The counts of some users' events, which are in time order within each user."""
    times = events["timestamp"]
    near, tied = _near_copies(events), _tied(events)
    pairs = np.sort(events["user_id"].to_numpy() << 32 | events["item_id"].to_numpy())
    held_out = events["split"].is_in(["validation", "test"]).fill_null(False)
    return {
        "events": events.height,
        "given": events.height - times.null_count(),
        "seconds": seconds_in(times),
        "distinct": int(np.count_nonzero(np.diff(pairs, prepend=-1))),
        "near": int(near.sum()),
        "near_held_out": int((near & held_out).sum()),
        "tied": int(tied.sum()),
        "held_out_by_file_order": _by_file_order(events.filter(tied)),
        "not_used": events["split"].null_count(),
    }


def _tied(events: pl.DataFrame) -> pl.Series:
    """Whether each event has the time of another event of its user; events are in time order."""
    same = pl.all_horizontal(pl.col("user_id", "timestamp").eq_missing(pl.all().shift(1)))
    return events.select("user_id", "timestamp").select(same | same.shift(-1)).to_series()


def _near_copies(events: pl.DataFrame) -> pl.Series:
    """Whether each event has the user and item of one within an hour before, in time order."""
    by_pair = (
        events.select("user_id", "item_id", "timestamp")
        .with_row_index("row")
        .sort("user_id", "item_id", "timestamp", "row")
    )
    before = pl.col("user_id", "item_id", "timestamp").shift(1).name.prefix("last_")
    same = (pl.col("user_id") == pl.col("last_user_id")) & (
        pl.col("item_id") == pl.col("last_item_id")
    )
    soon = pl.col("timestamp") - pl.col("last_timestamp") <= _NEAR_COPY
    near = by_pair.with_columns(before).select("row", near=(same & soon).fill_null(False))
    return near.sort("row")["near"]


def _by_file_order(tied: pl.DataFrame) -> int:
    """The number of held-out events at the time of an event of their user with another split.

    Args:
        tied: the events at the time of another event of their user.
    """
    other = (pl.col("split").fill_null("").n_unique() > 1).over("user_id", "timestamp")
    held_out = pl.col("split").is_in(["validation", "test"]).fill_null(False)
    return tied.filter(held_out & other).height


def _overlap(dataset: PreparedDataset) -> Report:
    """The overlap of the tasks' training items; the paper's blog has 84 % and 30 % for podcasts."""
    search = dataset.task("search").popularity > 0
    recommendation = dataset.task("recommendation").popularity > 0
    both = int((search & recommendation).sum())
    return {
        "items_in_both": both,
        "items_in_search_only": int((search & ~recommendation).sum()),
        "items_in_recommendation_only": int((recommendation & ~search).sum()),
        "items_in_neither": int((~search & ~recommendation).sum()),
        "searched_also_recommended": both / max(1, int(search.sum())),
        "recommended_also_searched": both / max(1, int(recommendation.sum())),
    }


def _divergence(dataset: PreparedDataset) -> Report | None:
    """The divergences of the two tasks' popularity distributions.

    None with one task only, or if a task has no training targets.
    """
    if len(dataset.tasks) < 2 or not all(dataset.task(t).popularity.any() for t in dataset.tasks):
        return None
    train = {t: popularity_distribution(dataset.task(t).popularity) for t in dataset.tasks}
    test = {t: popularity_distribution(dataset.task(t).test_popularity) for t in dataset.tasks}
    return {
        "jensen_shannon_train": jensen_shannon(train["search"], train["recommendation"]),
        **{
            f"kl_test_{of}_from_train_{given}": kullback_leibler(test[of], train[given])
            for of in dataset.tasks
            for given in dataset.tasks
        },
    }


def _query_leaks(dataset: PreparedDataset) -> Report:
    """Test queries that are near training queries, and queries that equal a title."""
    splits = dataset.columns.queries.splits
    test, trained = (np.flatnonzero(splits == SPLITS.index(name)) for name in ("test", "train"))
    compared, others, looked_at = test, trained, {}
    if len(test) * len(trained) > _MOST_PAIRS:
        compared, others = _drawn(test, _MOST_TEST), _drawn(trained, _MOST_TRAINED)
        looked_at = {"near_duplicates_looked_at": len(compared)}
    titles = {query_key(title) for title in dataset.catalog.items["title"] if title}
    named = pl.Series([sorted(titles)], dtype=pl.List(pl.String))
    equal, start, hashes = 0, 0, []
    keys: tuple[list[str], list[str]] = [], []
    for part in in_parts(dataset.tables.scan("queries").select("key")):
        of_part = part["key"]
        equal += int(of_part.is_in(named).sum())
        hashes.append(of_part.hash().to_numpy())
        for rows, listed in zip((compared, others), keys, strict=True):
            low, high = np.searchsorted(rows, (start, start + len(of_part)))
            listed += of_part.gather(rows[low:high] - start).to_list()
        start += len(of_part)
    near, example = _near_duplicates(*keys)
    # Equal texts have equal hashes, so the texts need not be kept in memory.
    all_hashes = np.concatenate(hashes)
    seen = np.isin(all_hashes[test], all_hashes[trained])
    return {
        "test_queries_seen": int(seen.sum()),
        "left_out_of_training": len(trained) - len(dataset.task("search").examples),
        "near_duplicates_of_training": near,
        **looked_at,
        "near_duplicate_example": example,
        "same_text_as_training": len(np.unique(all_hashes[test][seen])),
        "equal_to_a_title": equal,
    }


def _drawn(queries: Ints, most: int) -> Ints:
    """At most `most` of the queries: the same sample every time."""
    if len(queries) <= most:
        return queries
    return queries[np.sort(np.random.default_rng(0).choice(len(queries), most, replace=False))]


def _near_duplicates(test: list[str], trained: list[str]) -> tuple[int, list[str] | None]:
    """The number of test queries that are near-duplicates of a training query, and an example."""
    if not test or not trained:
        return 0, None
    number: dict[str, int] = {}
    numbers, starts = array("q"), array("q", [0])
    for key in chain(test, trained):
        numbers.extend(_words(key, number))
        starts.append(len(numbers))
    lengths = np.diff(np.array(starts))
    ones = sp.csr_array(
        (np.ones(len(numbers)), np.array(numbers), np.array(starts)),
        shape=(len(lengths), len(number)),
    )
    duplicates, example = 0, None
    others = ones[len(test) :].T.tocsr()
    chunk = max(1, min(_CHUNK, _COMPARED // len(trained)))
    for start in range(0, len(test), chunk):
        shared = (ones[start : min(start + chunk, len(test))] @ others).tocoo()
        union = lengths[start + shared.row] + lengths[len(test) + shared.col] - shared.data
        near = np.flatnonzero(shared.data >= NEAR_DUPLICATE * union)
        duplicates += len(np.unique(shared.row[near]))
        if len(near) and example is None:
            example = [test[start + shared.row[near[0]]], trained[shared.col[near[0]]]]
    return duplicates, example


def _words(key: str, number: dict[str, int]) -> list[int]:
    """The numbers of a query's words; a new word gets the next number."""
    return [number.setdefault(word, len(number)) for word in sorted(set(words(key)))]
