"""Item-kNN against the same written out by hand."""

import numpy as np
import pytest

from twofold.baselines.item_knn import ItemKNN
from twofold.encoders import item_vectors
from twofold.records import Request
from twofold.tasks.prepared import PreparedDataset

NEIGHBOURS, SHRINKAGE = 5, 3.0


@pytest.mark.parametrize("entries", [1, 500, 4_000_000])
def test_scores_are_sums_of_shrunk_cosines_to_the_nearest_items(
    catalog: PreparedDataset, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether similarities are computed an item at a time, in blocks, or all at once."""
    monkeypatch.setattr(item_vectors, "_ENTRIES", entries)
    size = len(catalog.catalog)
    seen = np.zeros((len(catalog.training_histories), size))
    for row, items in enumerate(catalog.training_histories.values()):
        seen[row, items] = 1
    together = seen.T @ seen
    norms = np.sqrt(np.diag(together))
    similarity = together / (np.outer(norms, norms) + SHRINKAGE)
    np.fill_diagonal(similarity, 0)
    least = np.sort(similarity, axis=1)[:, -NEIGHBOURS, None]
    similarity[similarity < least] = 0

    history = ("film-1", "film-2", "film-3")
    positions = [catalog.catalog.positions[item] for item in history]
    expected = similarity[positions].sum(axis=0)
    retriever = ItemKNN(catalog, NEIGHBOURS, SHRINKAGE)
    ranking = retriever.retrieve([Request("r", history=history)], size)["r"]
    for item, score in zip(ranking.item_ids, ranking.scores, strict=True):
        assert score == pytest.approx(expected[catalog.catalog.positions[item]], abs=1e-6)
