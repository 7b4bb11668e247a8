"""Popularity counts the items of its own task's training data, and nothing held out."""

from collections import Counter

import polars as pl

from twofold.baselines.popularity import Popularity
from twofold.records import Request
from twofold.tasks.prepared import PreparedDataset


def _order(counts: Counter[str], catalog: PreparedDataset) -> tuple[str, ...]:
    items = catalog.catalog.item_ids
    return tuple(sorted(items, key=lambda item: (counts[item], item), reverse=True))


def test_recommendation_counts_training_events(catalog: PreparedDataset) -> None:
    train = catalog.interactions.filter(pl.col("split") == "train")
    ranking = Popularity(catalog, "recommendation").retrieve([Request("r")], 60)["r"]
    counts = Counter(train["item_id"])
    assert ranking.item_ids == _order(counts, catalog)
    assert ranking.scores == tuple(float(counts[item]) for item in ranking.item_ids)


def test_search_counts_the_answers_of_training_queries(catalog: PreparedDataset) -> None:
    train = catalog.queries.filter(pl.col("split") == "train").join(catalog.qrels, on="query_id")
    ranking = Popularity(catalog, "search").retrieve([Request("r")], 60)["r"]
    counts = Counter(train["item_id"])
    assert ranking.item_ids == _order(counts, catalog)
    assert ranking.scores == tuple(float(counts[item]) for item in ranking.item_ids)
