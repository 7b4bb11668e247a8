"""Embeddings of new items: retrieved by their words, at little cost to other items."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.overrides import TorchFunctionMode

from twofold.additions import embeddings as new_embeddings
from twofold.additions.embeddings import NegativeRequests, fit_embeddings, log_sum_exp
from twofold.additions.fields import new_items_table
from twofold.additions.placement import ItemPlacer, with_items
from twofold.data.dataset import Catalog
from twofold.encoders.vectors import Vectors
from twofold.retrieval.generative import GenerativeRetriever, load_model

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
    """p of each new item against the whole catalog, (S, M)."""
    known = torch.from_numpy(states) @ retriever.model.backbone.output_embeddings().detach().T
    new = torch.from_numpy(states @ rows.T)
    rest = torch.logsumexp(known, dim=1, keepdim=True)
    return torch.sigmoid(new - rest).numpy()


@pytest.fixture(scope="module")
def start(retriever: GenerativeRetriever) -> Vectors:
    width = retriever.model.backbone.output_embeddings().shape[1]
    drawn = np.random.default_rng(0).normal(size=(2, width))
    return np.asarray(0.1 * drawn, dtype=np.float32)


def test_an_embedding_moves_to_its_words_at_little_cost_to_negatives(
    retriever: GenerativeRetriever, start: Vectors
) -> None:
    before = {name: w.clone() for name, w in retriever.model.backbone.state_dict().items()}
    negatives = NegativeRequests.of(retriever.model)
    fitted = fit_embeddings(retriever.model, start, NEW, negatives)
    encode = retriever.model.vocabulary.encode_request
    batch = retriever.model.vocabulary.collate(
        [encode(np.zeros(0, np.int64), title) for title in NEW.items["title"]]
    )
    with torch.inference_mode():
        own = retriever.model.backbone.states(batch).numpy()
    found, was = shares(retriever, own, fitted), shares(retriever, own, start)
    taken = shares(retriever, negatives.states, fitted).mean(axis=0)
    for item in (0, 1):
        # Not against what it takes: of a model this small one similar negative decides that mean.
        assert found[item, item] > 5 * was[item, item]
        assert taken[item] < 0.1 / len(retriever.model.catalog)
    for name, weights in retriever.model.backbone.state_dict().items():
        torch.testing.assert_close(weights, before[name], rtol=0, atol=0)


def test_embeddings_repeat_and_other_new_items_move_them_little(
    retriever: GenerativeRetriever, start: Vectors
) -> None:
    negatives = NegativeRequests.of(retriever.model)
    again = fit_embeddings(retriever.model, start, NEW, negatives)
    np.testing.assert_array_equal(fit_embeddings(retriever.model, start, NEW, negatives), again)
    alone = fit_embeddings(retriever.model, start[:1], Catalog.of(NEW.items[:1]), negatives)
    # Words are weighed by their rarity among the items given, so alone it is near, not equal.
    cosine = (alone[0] @ again[0]) / np.linalg.norm(alone[0]) / np.linalg.norm(again[0])
    assert cosine > 0.8


def test_log_sums_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    states, rows = torch.randn(50, 8) * 20, torch.randn(70, 8) * 20
    expected = torch.logsumexp(states @ rows.T, dim=1)
    for held in (1, 70 * 7, 1 << 22):
        monkeypatch.setattr(new_embeddings, "_MAX_SCORES", held)
        torch.testing.assert_close(log_sum_exp(states, rows), expected)


class Products(TorchFunctionMode):
    """Counts the requests that any product scores against all embeddings of a model."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows
        self.scored = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        products = (torch.mm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)
        if func in products and found.shape[1:] == (self._rows,):
            self.scored += len(found)
        return found


def test_only_requests_for_a_new_item_are_scored_again(model_folder: Path) -> None:
    """Not the thousands of negatives, which are the same for every new item."""
    model = load_model(model_folder).model
    texts = ItemPlacer.of(model)
    for number in range(2):
        row = {"item_id": f"new-{number}", "title": "Robots in love"}
        items = new_items_table(model.catalog, [row])
        with Products(len(model.catalog)) as products:
            placement = texts.place(model, items)
        assert 0 < products.scored <= 17  # a title and sixteen snippets
        model = with_items(model, items, placement)


def test_log_sums_follow_appended_codes(model_folder: Path) -> None:
    model = load_model(model_folder).model
    before = NegativeRequests.of(model)
    items = new_items_table(model.catalog, [{"item_id": "new", "title": "Robots in love"}])
    model = with_items(model, items, ItemPlacer.of(model).place(model, items))
    after = before.extended(model)
    rows = model.backbone.output_embeddings().detach()
    expected = torch.logsumexp(torch.from_numpy(before.states) @ rows.T, dim=1)
    assert after.num_codes == before.num_codes + 1 == len(rows)
    assert (after.log_sums > before.log_sums).any()
    torch.testing.assert_close(torch.from_numpy(after.log_sums), expected)
