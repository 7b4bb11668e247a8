"""The train, validation and test split.

Invariant: every interaction and query has one split, or none (null) if it must not be used.
"""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from twofold.data.dataset import Dataset, Note
from twofold.data.words import query_key
from twofold.records import SPLITS, Floats, InputError, Ints
from twofold.tasks.arrays import (
    TEST,
    TRAIN,
    VALIDATION,
    SplitNumbers,
    split_names,
    times_of,
)
from twofold.tasks.cutoff import (
    CutoffError,
    late_training_queries,
    read_cutoff,
    untimed_queries,
    unused_events,
)
from twofold.tasks.prepared import PreparedDataset, SplitProtocol, TablesInMemory

REPEATS_ALLOWED = 0.05
"""Seen items are excluded if a smaller share of events repeats a (user, item)."""
TENTHS, VALIDATION_TENTH = 10, 1
"""Queries are divided into tenths by a hash; the first is the test, this one validation."""


def split_dataset(
    dataset: Dataset,
    source: str,
    split: Literal["last", "temporal"] = "last",
    cutoff: float | str | None = None,
) -> PreparedDataset:
    """A dataset with its splits assigned.

    Args:
        dataset: the validated dataset.
        source: the name that the user gave.
        split: how to split it.
        cutoff: for `temporal`, a time in any form that a timestamp may have.

    Raises:
        InputError: nothing is left to split.
        CutoffError: see `resolve_protocol`.
    """
    begins = None if cutoff is None else _first_times(dataset.interactions)
    share = repeat_share(dataset.interactions)
    protocol = resolve_protocol(dataset, split, cutoff, begins, share)
    queries, notes = split_queries(dataset, protocol)
    if not queries.height and not dataset.interactions.height:
        others = (note for note in dataset.notes if not Path(note.place).name.startswith("items"))
        why = f" ({reason})" if (reason := next(others, None)) else ""
        raise InputError(
            f"{source}: no interaction, and no query with a relevant item, is left{why}; add "
            f"interactions or judged queries"
        )
    interactions = split_interactions(dataset, protocol)
    time = protocol.cutoff
    unused = [] if time is None else unused_events([interactions], time)
    return PreparedDataset(
        catalog=dataset.catalog,
        tables=TablesInMemory(interactions, queries, dataset.qrels),
        protocol=protocol,
        source=source,
        notes=(*dataset.notes, *unused, *notes),
        left_out=dataset.left_out,
    )


def resolve_protocol(
    dataset: Dataset,
    split: Literal["last", "temporal"],
    cutoff: float | str | None,
    begins: pl.Series | None,
    repeats: float,
) -> SplitProtocol:
    """How a dataset is split, with the cutoff in the unit of its times.

    Args:
        dataset: a dataset with the first and the last time of all interactions and queries.
        split, cutoff: see `split_dataset`.
        begins: the time of each user's first event, (U,); not used without a cutoff.
        repeats: the result of `repeat_share`.

    Raises:
        CutoffError: the timestamps are only positions, or the cutoff is not a time within the data.
    """
    time = None
    if cutoff is not None:
        if begins is not None and _are_positions(begins):
            raise CutoffError(
                "interactions: the timestamps only number each user's events, so no cutoff in time "
                "exists; use --split last"
            )
        timed = (dataset.interactions["timestamp"], dataset.queries["timestamp"])
        time = read_cutoff(cutoff, *timed)
    return SplitProtocol(split, time, "exclude" if repeats < REPEATS_ALLOWED else "keep")


def repeat_share(interactions: pl.DataFrame) -> float:
    """The share of events whose (user, item) occurred before."""
    if not interactions.height:
        return 0.0
    distinct = interactions.select("user_id", "item_id").unique().height
    return 1.0 - distinct / interactions.height


def _first_times(interactions: pl.DataFrame) -> pl.Series:
    return interactions.group_by("user_id").agg(pl.col("timestamp").min())["timestamp"]


def _are_positions(begins: pl.Series) -> bool:
    """Whether timestamps only number a user's events: absent, or each user starts at 0 or 1."""
    return bool(begins.is_null().any()) or (begins.n_unique() == 1 and begins[0] in (0.0, 1.0))


def split_interactions(dataset: Dataset, protocol: SplitProtocol) -> pl.DataFrame:
    """Interactions in time order within each user, with a column `split`.

    Order is (timestamp, file order); users keep the order of their first row.
    """
    ordered = (
        dataset.interactions.with_row_index("row")
        .with_columns(user=pl.col("row").min().over("user_id"))
        .sort("user", "timestamp", "row")
    )
    counts = ordered["user"].rle().struct.field("len").to_numpy()
    splits = split_events(counts, times_of(ordered["timestamp"]), protocol.cutoff)
    return ordered.with_columns(split=split_names(splits)).drop("row", "user")


def split_events(counts: Ints, times: Floats, cutoff: float | None) -> SplitNumbers:
    """The number of each event's split, (E,).

    Without a cutoff, a user's last event is test and the one before it validation; one or two
    events are only training. With a cutoff, the first event from it on is test, and later ones are
    not used; the last event before it is validation, unless it is the user's first.

    Args:
        counts: the number of events of each user, (U,), none of them 0.
        times: timestamps, in the order of time within each user, (E,).
        cutoff: the result of `read_cutoff`.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    if cutoff is None:
        splits = np.full(len(times), TRAIN, dtype=np.int8)
        tested = ends[counts >= 3] - 1
        validated = tested - 1
    else:
        early = times < cutoff
        splits = np.where(early, TRAIN, -1).astype(np.int8)
        starts = ends - counts
        before = np.add.reduceat(early, starts, dtype=np.int64)
        tested = (starts + before)[(before > 0) & (before < counts)]
        validated = (starts + before)[before > 1] - 1
    splits[validated], splits[tested] = VALIDATION, TEST
    return splits


def split_queries(dataset: Dataset, protocol: SplitProtocol) -> tuple[pl.DataFrame, list[Note]]:
    """Queries with relevant items, with `split` and the normalised text in `key`.

    A given split is kept. Other queries are split 80/10/10 by a hash of the normalised text, or by
    time under a temporal protocol. A query whose normalised text is also in a later split is left
    out, so that no test query is ever trained on, unless only the cutoff put that text there.
    """
    judged = dataset.queries.join(dataset.qrels, on="query_id", how="semi")
    key = pl.col("text").map_elements(query_key, return_dtype=pl.String)
    queries = judged.with_columns(key=key, given=pl.col("split"))
    timed = protocol.cutoff is not None and queries["timestamp"].is_not_null().any()
    if timed:
        assigned = split_by_cutoff(queries["timestamp"], protocol.cutoff or 0.0)
    else:
        assigned = pl.col("key").map_elements(hash_split, return_dtype=pl.String)
    queries = queries.with_columns(split=pl.coalesce("given", assigned))
    order = {split: number for number, split in enumerate(SPLITS)}
    # A log repeats its queries over time; a query that was held out on purpose is never trained on.
    binding = pl.col("given" if timed else "split").replace_strict(order, default=-1)
    rank = pl.col("split").replace_strict(order)
    kept = pl.when(rank >= binding.max().over("key")).then("split")
    by_time = []
    if protocol.cutoff is not None:
        by_time = [*untimed_queries(queries), *late_training_queries(queries, protocol.cutoff)]
    made_up = [] if timed else _without_split(queries)
    queries = queries.with_columns(split=kept).drop("given")
    return queries, [*by_time, *made_up, *_repeats(queries)]


def _without_split(queries: pl.DataFrame) -> list[Note]:
    """A note on the queries without a given split, if others have one."""
    without = queries.filter(pl.col("given").is_null())
    if without.height in (0, queries.height):
        return []
    drawn = without["split"].value_counts().sort("split", descending=True).rows()
    shown = ", ".join(f"{count:,} {split}" for split, count in drawn)
    place = f"query '{without['query_id'][0]}'"
    problem = "it names no split, and others do"
    remedy = "give it one, or leave it out"
    effect = f"split by a hash of the text: {shown}"
    return [Note(without.height, place, problem, remedy, "query", effect)]


def _repeats(queries: pl.DataFrame) -> list[Note]:
    left_out = queries.filter(pl.col("split").is_null())
    if not left_out.height:
        return []
    problem = "its text repeats that of a query in a later split"
    place = f"query '{left_out['query_id'][0]}'"
    return [Note(left_out.height, place, problem, "give both the same split")]


def split_by_cutoff(times: pl.Series, cutoff: float) -> pl.Expr:
    """Queries from `cutoff` on are test, the last tenth before it validation, all others train.

    Args:
        times: the timestamps of all queries.
        cutoff: the result of `read_cutoff`.
    """
    early = times.filter(times < cutoff)
    start = early.quantile(0.9, "higher")
    time = pl.col("timestamp")
    return (
        pl.when(time >= cutoff)
        .then(pl.lit("test"))
        .when(time >= (cutoff if start is None else start))
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )


def hash_split(key: str) -> str:
    """The split of a query by its normalised text."""
    tenth = hash_tenth(key)
    return "test" if tenth == 0 else "validation" if tenth == VALIDATION_TENTH else "train"


def hash_tenth(key: str) -> int:
    """The tenth, 0 to 9, of a normalised text."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % TENTHS
