"""Item vectors from histories: what is near in time is near in space, and nothing else is read."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from tests.planted import HISTORY_GROUPS, planted_dataset, purity, with_other_held_out
from twofold.encoders.factorisation import item_factors, nearness
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset


def _only(dataset: PreparedDataset, users: list[str]) -> PreparedDataset:
    kept = dataset.interactions.filter(pl.col("user_id").is_in(users))
    return dataclasses.replace(dataset, interactions=kept)


def test_items_of_the_same_histories_are_near() -> None:
    assert purity(item_factors(planted_dataset(), width=8), HISTORY_GROUPS) > 0.95


def test_vectors_are_of_unit_length_or_zero_and_the_same_for_a_seed() -> None:
    dataset = _only(planted_dataset(), ["u0", "u1"])
    vectors = item_factors(dataset, width=16, seed=3)
    seen = np.unique(np.concatenate(list(dataset.training_histories.values())))
    assert vectors.shape == (len(dataset.catalog), 16)
    assert vectors.dtype == np.float32
    known = np.linalg.norm(vectors, axis=1)
    assert known[seen] == pytest.approx(1.0, abs=1e-5)
    assert not np.delete(known, seen).any()
    assert np.array_equal(vectors, item_factors(dataset, width=16, seed=3))


def test_more_columns_than_dimensions_are_zero() -> None:
    vectors = item_factors(planted_dataset(), width=200)
    assert vectors.shape[1] == 200
    assert not vectors[:, len(vectors) :].any()


def test_nearness_is_what_counting_by_hand_gives() -> None:
    dataset = _only(planted_dataset(), ["u0", "u1", "u4"])
    items = len(dataset.catalog)
    counts = np.zeros((items, items))
    for history in dataset.training_histories.values():
        for late in range(len(history)):
            for early in range(max(0, late - 5), late):
                counts[history[early], history[late]] += 1 / (late - early)
    counts += counts.T
    np.fill_diagonal(counts, 0)
    context = counts.sum(axis=0) ** 0.75
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.log(counts / np.outer(counts.sum(axis=1), context / context.sum()))
    wanted = np.where(counts > 0, np.maximum(wanted, 0), 0)
    assert nearness(dataset).toarray() == pytest.approx(wanted)


def test_held_out_events_are_not_read() -> None:
    dataset = planted_dataset()
    changed = item_factors(with_other_held_out(dataset))
    assert np.array_equal(item_factors(dataset), changed)


def test_one_item_over_and_over_says_nothing() -> None:
    dataset = planted_dataset()
    same = dataset.interactions.with_columns(item_id=pl.lit("i0"))
    assert not item_factors(dataclasses.replace(dataset, interactions=same)).any()


def test_missing_histories_are_named() -> None:
    with pytest.raises(InputError, match="no usable training example for recommendation"):
        item_factors(planted_dataset(interactions=False))
