"""H2: cosines, matched pairs and attributes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.data.dataset import Catalog
from twofold.studies.analyses.representation import (
    _of_pairs,
    first_attribute,
    matched_pairs,
    pair_cosines,
)
from twofold.tasks.folds import Folds
from twofold.tasks.prepared import PreparedDataset


@settings(max_examples=30)
@given(st.integers(20, 400), st.integers(0, 5))
def test_matched_items_are_others_and_about_as_popular(n: int, seed: int) -> None:
    popularity = np.random.default_rng(seed).permutation(n)
    place = np.empty(n, dtype=np.int64)
    place[np.argsort(-popularity, kind="stable")] = np.arange(n)
    pairs = np.stack([np.arange(n), np.roll(np.arange(n), 1)], axis=1)
    matched = matched_pairs(pairs, popularity, seed)
    steps = np.abs(place[matched] - place[pairs])
    assert steps.min() >= 1
    assert steps.max() <= max(2, round(0.01 * n))
    assert (matched[:, 0] != matched[:, 1]).all()


def test_equally_popular_items_are_matched_at_random() -> None:
    """Neighbours in the catalog may be alike: a group of ten must not match itself."""
    items = np.arange(1000)
    matched = matched_pairs(np.stack([items, items], axis=1), np.full(1000, 7))
    assert np.mean(matched[:, 0] // 10 == items // 10) < 0.05


def test_an_embedding_is_parallel_to_itself() -> None:
    embeddings = np.random.default_rng(0).normal(size=(10, 4))
    same, other = np.array([[3, 3], [7, 7]]), np.array([[3, 7]])
    assert pair_cosines(embeddings, same) == pytest.approx(1.0)
    expected = (
        embeddings[3]
        @ embeddings[7]
        / np.linalg.norm(embeddings[3])
        / np.linalg.norm(embeddings[7])
    )
    assert pair_cosines(embeddings, other) == pytest.approx(expected)


def test_the_attribute_is_one_of_few_values(catalog: PreparedDataset) -> None:
    attribute = first_attribute(catalog.catalog)
    assert attribute is not None
    assert attribute.name == "genre"
    plain = Catalog.of(catalog.catalog.items.select("item_id", "title"))
    assert first_attribute(plain) is None


def test_pairs_are_looked_up_in_models_that_learned_from_them(catalog: PreparedDataset) -> None:
    """The pairs are those of fold 0: what it holds out others learn, and the other way round."""
    embeddings = {"joint": [np.full((60, 2), float(seed)) for seed in range(3)]}
    folded, fixed = Folds(catalog, "all"), Folds(catalog, "none")
    assert folded.any
    assert [own[0, 0] for own in _of_pairs(embeddings, folded)["joint"]] == [0]
    assert [own[0, 0] for own in _of_pairs(embeddings, fixed)["joint"]] == [0, 1, 2]
