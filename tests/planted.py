"""A dataset whose groups are known: histories stay in one kind of group, queries in another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from twofold.data.formats import Table
from twofold.data.validation import validate
from twofold.encoders.vectors import Vectors
from twofold.records import Ints
from twofold.tasks.prepared import PreparedDataset, TablesInMemory
from twofold.tasks.split import split_dataset

ITEMS = 48
HISTORY_GROUPS = np.arange(ITEMS) % 4
QUERY_GROUPS = np.arange(ITEMS) // 12
TEXT_GROUPS = np.arange(ITEMS) % 3
NO_TITLES = ("",) * ITEMS
_WORDS = ("fox owl elk", "iron zinc gold", "rain snow hail", "oak elm fir")
TITLES = ("velvet jacket", "copper kettle", "wooden puzzle") * (ITEMS // 3)


def planted_dataset(
    titles: Sequence[str] = TITLES,
    queries: bool = True,
    interactions: bool = True,
) -> PreparedDataset:
    """Four groups of histories across four groups of queries across three of titles."""
    rng = np.random.default_rng(5)
    names = [f"i{n}" for n in range(ITEMS)]
    frames = {"items": pl.DataFrame({"item_id": names, "title": list(titles)})}
    if interactions:
        events = [
            (f"u{user}", names[item], str(time))
            for user in range(80)
            for time, item in enumerate(rng.permutation(np.flatnonzero(user % 4 == HISTORY_GROUPS)))
        ]
        frames["interactions"] = pl.DataFrame(
            events, ["user_id", "item_id", "timestamp"], orient="row"
        )
    if queries:
        frames |= _asked(names, rng)
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), "planted")


def _asked(names: list[str], rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows, judged = [], []
    for number in range(120):
        group = number % 4
        words = rng.permutation(_WORDS[group].split())[:2]
        split = ("train", "train", "train", "validation", "test")[number % 5]
        rows.append((f"q{number}", f"{words[0]} {words[1]} {number}", split))
        answers = rng.choice(np.flatnonzero(group == QUERY_GROUPS), 3, replace=False)
        judged += [(f"q{number}", names[answer]) for answer in answers]
    return {
        "queries": pl.DataFrame(rows, ["query_id", "text", "split"], orient="row"),
        "qrels": pl.DataFrame(judged, ["query_id", "item_id"], orient="row"),
    }


def with_other_held_out(dataset: PreparedDataset) -> PreparedDataset:
    """The same training data, with other items and words in validation and test."""
    names = dataset.catalog.item_ids
    other = dict(zip(names, names[1:] + names[:1], strict=True))
    later = dataset.queries.filter(pl.col("split") != "train")
    return PreparedDataset(
        catalog=dataset.catalog,
        tables=TablesInMemory(
            interactions=dataset.interactions.with_columns(
                pl.when(pl.col("split") == "train")
                .then("item_id")
                .otherwise(pl.col("item_id").replace_strict(other))
                .alias("item_id")
            ),
            queries=dataset.queries.with_columns(
                pl.when(pl.col("split") == "train")
                .then("text")
                .otherwise(pl.lit("leak"))
                .alias("text")
            ),
            qrels=dataset.qrels.with_columns(
                pl.when(pl.col("query_id").is_in(later["query_id"].to_list()))
                .then(pl.col("item_id").replace_strict(other))
                .otherwise("item_id")
                .alias("item_id")
            ),
        ),
        protocol=dataset.protocol,
        source=dataset.source,
    )


def purity(vectors: Vectors, groups: Ints) -> float:
    """The share of each vector's nearest others, as many as its group has, that are of it."""
    others = np.bincount(groups).min() - 1
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1)[:, :others]
    return float((groups[nearest] == groups[:, None]).mean())
