"""Item vectors from examples: what is near in time is near in space, and nothing else is read."""

import numpy as np
import polars as pl
import pytest

from tests.planted import HISTORY_GROUPS, planted_dataset, purity, with_other_held_out
from twofold.encoders.item_vectors import history_factors, ppmi, query_factors
from twofold.encoders.vectors import Vectors, unit
from twofold.studies.interventions import (
    TaskIntervention,
    popularity_matched_permutation,
    target_counts,
)
from twofold.tasks.prepared import PreparedDataset
from twofold.training_examples import Source


def _factors(dataset: PreparedDataset, width: int = 64, seed: int = 0) -> Vectors:
    examples = dataset.task("recommendation").examples
    return history_factors(examples, len(dataset.catalog), width, seed)


def _only(dataset: PreparedDataset, users: list[str]) -> PreparedDataset:
    kept = dataset.interactions.filter(pl.col("user_id").is_in(users))
    return dataset.with_tables(interactions=kept)


def test_items_of_the_same_histories_are_near() -> None:
    assert purity(_factors(planted_dataset(), width=8), HISTORY_GROUPS) > 0.95


def test_vectors_are_of_unit_length_or_zero_and_the_same_for_a_seed() -> None:
    dataset = _only(planted_dataset(), ["u0", "u1"])
    vectors = _factors(dataset, width=16, seed=3)
    seen = np.unique(np.concatenate(list(dataset.training_histories.values())))
    assert vectors.shape == (len(dataset.catalog), 16)
    assert vectors.dtype == np.float32
    known = np.linalg.norm(vectors, axis=1)
    assert known[seen] == pytest.approx(1.0, abs=1e-5)
    assert not np.delete(known, seen).any()
    assert np.array_equal(vectors, _factors(dataset, width=16, seed=3))


def test_more_columns_than_dimensions_are_zero() -> None:
    vectors = _factors(planted_dataset(), width=200)
    assert vectors.shape[1] == 200
    assert not vectors[:, len(vectors) :].any()


def test_ppmi_is_what_counting_by_hand_gives() -> None:
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
    found = ppmi(dataset.task("recommendation").examples, items)
    assert found.toarray() == pytest.approx(wanted)


def test_held_out_events_are_not_read() -> None:
    dataset = planted_dataset()
    changed = _factors(with_other_held_out(dataset))
    assert np.array_equal(_factors(dataset), changed)


def test_one_item_over_and_over_says_nothing() -> None:
    dataset = planted_dataset()
    same = dataset.interactions.with_columns(item_id=pl.lit("i0"))
    assert not _factors(dataset.with_tables(interactions=same)).any()


def test_windows_of_a_long_history_lose_no_more_than_the_pairs_across_their_ends() -> None:
    dataset = planted_dataset()
    source, items = dataset.task("recommendation").source(), len(dataset.catalog)
    whole, cut = (ppmi(s.examples, items).nnz for s in (source, source.windows(8)))
    assert 0.9 * whole < cut <= whole


def test_renamed_targets_and_masked_targets_rename_and_mask_the_factors() -> None:
    dataset = planted_dataset()
    source, items = dataset.task("recommendation").source(), len(dataset.catalog)
    shuffled = TaskIntervention("shuffled", "recommendation").training(source, items, seed=3)
    to = popularity_matched_permutation(target_counts(source, items), seed=3)
    before, after = ppmi(source.examples, items), ppmi(shuffled.examples, items)
    assert after.toarray()[np.ix_(to, to)] == pytest.approx(before.toarray())
    one = Source("recommendation", source.examples[:1])
    capped = TaskIntervention("capped", "recommendation", cap=1).training(source, items, seed=3)
    assert capped.targets < source.targets
    assert ppmi(capped.examples, items).nnz < before.nnz
    assert ppmi(one.examples, items).nnz < before.nnz


def test_an_item_is_the_mean_direction_of_the_queries_that_want_it() -> None:
    dataset = planted_dataset()
    examples, items = dataset.task("search").examples, len(dataset.catalog)
    rng = np.random.default_rng(1)
    queries = unit(rng.normal(size=(len(examples), 6)).astype(np.float32))
    found = query_factors(examples, items, queries)
    for item in range(items):
        asking = [queries[n] for n, e in enumerate(examples) if item in e.targets]
        wanted = unit(np.sum([np.zeros(6), *asking], axis=0)[None])[0]
        assert found[item] == pytest.approx(wanted, abs=1e-5)
