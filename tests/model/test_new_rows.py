"""Rows of new items: found by their words, and in nobody's way."""

import numpy as np
import polars as pl
import pytest
import torch

from twofold.data.dataset import Catalog
from twofold.encoders.encoders import Vectors
from twofold.model.new_rows import fit_rows, states_of_others
from twofold.retrieval.generative import GenerativeRetriever

NEW = Catalog.of(
    pl.DataFrame(
        {
            "item_id": ["new-1", "new-2"],
            "title": ["Robots in love", "The wedding"],
            "text": ["A dark science fiction film about robots.", ""],
        }
    )
)


def shares(retriever: GenerativeRetriever, states: Vectors, rows: Vectors) -> Vectors:
    """p of each new item beside the catalog's, (S, M)."""
    known = torch.from_numpy(states) @ retriever.model.backbone.code_rows().detach().T
    new = torch.from_numpy(states @ rows.T)
    rest = torch.logsumexp(known, dim=1, keepdim=True)
    return torch.sigmoid(new - rest).numpy()


@pytest.fixture(scope="module")
def start(retriever: GenerativeRetriever) -> Vectors:
    width = retriever.model.backbone.code_rows().shape[1]
    drawn = np.random.default_rng(0).normal(size=(2, width))
    return np.asarray(0.1 * drawn, dtype=np.float32)


def test_a_row_moves_to_its_words_and_away_from_others(
    retriever: GenerativeRetriever, start: Vectors
) -> None:
    before = {name: w.clone() for name, w in retriever.model.backbone.state_dict().items()}
    others = states_of_others(retriever.model)
    fitted = fit_rows(retriever.model, start, NEW, others)
    encode = retriever.model.vocabulary.encode_request
    batch = retriever.model.vocabulary.collate(
        [encode(np.zeros(0, np.int64), title) for title in NEW.items["title"]]
    )
    with torch.inference_mode():
        own = retriever.model.backbone.states(batch).numpy()
    found, was = shares(retriever, own, fitted), shares(retriever, own, start)
    taken = shares(retriever, others, fitted).mean(axis=0)
    for item in (0, 1):
        # More of its own requests than before, beside what it takes of those for other items.
        assert found[item, item] > taken[item]
        assert (
            found[item, item] / taken[item]
            > was[item, item] / shares(retriever, others, start).mean(axis=0)[item]
        )
    for name, weights in retriever.model.backbone.state_dict().items():
        torch.testing.assert_close(weights, before[name], rtol=0, atol=0)


def test_rows_repeat_and_company_moves_them_little(
    retriever: GenerativeRetriever, start: Vectors
) -> None:
    others = states_of_others(retriever.model)
    again = fit_rows(retriever.model, start, NEW, others)
    np.testing.assert_array_equal(fit_rows(retriever.model, start, NEW, others), again)
    alone = fit_rows(retriever.model, start[:1], Catalog.of(NEW.items[:1]), others)
    # Words are weighed by their rarity among the items given, so alone it is near, not equal.
    cosine = (alone[0] @ again[0]) / np.linalg.norm(alone[0]) / np.linalg.norm(again[0])
    assert cosine > 0.8
