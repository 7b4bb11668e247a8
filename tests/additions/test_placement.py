"""Placement of new items: votes of neighbours on semantic IDs, and the map from texts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from tests.model.random_model import grid, random_model
from twofold.additions.fields import new_items_table
from twofold.additions.placement import (
    ItemPlacer,
    UnplaceableError,
    are_free,
    identifiers_by_vote,
    with_items,
)
from twofold.identifiers.identifiers import Identifiers, shared
from twofold.model.hybrid import HistoryMatch, SimilarItems
from twofold.records import Request
from twofold.retrieval.generative import GenerativeRetriever, load_model

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 2]])
SPACES = shared(Identifiers("semantic", CODES, (2, 3)))


def test_neighbours_vote_level_by_level_and_the_last_code_is_free() -> None:
    neighbours, weights = np.array([[0, 1, 2]]), np.array([[0.3, 0.3, 0.4]], np.float32)
    placed = identifiers_by_vote(SPACES, ["new"], neighbours, weights)
    # .6 for the first code 0, where 2 alone is free on the last level.
    assert placed["search"].tolist() == placed["recommendation"].tolist() == [[0, 2]]


def test_new_items_do_not_share_an_identifier() -> None:
    neighbours, weights = np.array([[0, 2], [0, 2]]), np.array([[0.6, 0.4]] * 2, np.float32)
    placed = identifiers_by_vote(SPACES, ["a", "b"], neighbours, weights)
    assert placed["search"].tolist() == [[0, 2], [1, 1]]


def test_an_item_without_a_free_identifier_is_named() -> None:
    neighbours, weights = np.array([[0], [0]]), np.ones((2, 1), np.float32)
    with pytest.raises(UnplaceableError, match="item 'b': no identifier is free near items"):
        identifiers_by_vote(SPACES, ["a", "b"], neighbours, weights)


def test_a_known_text_is_mapped_to_where_training_put_it(model_folder: Path) -> None:
    model = load_model(model_folder).model
    title = model.catalog.items["title"][0]
    items = new_items_table(model.catalog, [{"item_id": "twin", "title": title}])
    before = model.backbone.output_embeddings().detach().numpy().copy()
    model = with_items(model, items, ItemPlacer.of(model).place(model, items))
    new = model.backbone.output_embeddings().detach().numpy()[-1]
    cosines = before @ new / np.linalg.norm(before, axis=1) / np.linalg.norm(new)
    assert cosines[0] > np.quantile(cosines, 0.9)


def test_an_item_without_a_known_word_is_refused(model_folder: Path) -> None:
    model = load_model(model_folder).model
    items = new_items_table(model.catalog, [{"item_id": "wordless", "title": "Qwrtz"}])
    with pytest.raises(UnplaceableError, match="its text has no word that the model") as refusal:
        ItemPlacer.of(model).place(model, items)
    assert refusal.value.item_ids == ["wordless"]


def test_an_identifier_is_free_that_no_item_and_no_new_item_before_it_has(
    semantic_folder: Path,
) -> None:
    model = load_model(semantic_folder).model
    taken = model.vocabulary.spaces.search.codes[:1]
    other = taken.copy()
    other[0, -1] = model.vocabulary.spaces.search.codes[:, -1].max() + 1
    codes = np.vstack([taken, other, other])
    assert are_free(model, {"search": codes, "recommendation": codes}).tolist() == [
        False,
        True,
        False,
    ]


def test_a_new_item_leaves_one_level_codes_to_their_owners() -> None:
    """A code of a semantic ID is no catalog position, even where one level is unique."""
    drawn = np.random.default_rng(0).permutation(64)[:20]
    model = random_model(shared(Identifiers("semantic", drawn[:, None], (64,))), "decoder:tiny", 0)
    requests = [Request(str(n), query="space opera", history=(f"item-{n:03d}",)) for n in range(5)]
    before = GenerativeRetriever(model).retrieve(requests, 20)
    new = new_items_table(model.catalog, [{"item_id": "new", "title": "item-003", "kind": "red"}])
    nearest, shares = np.array([[3, 4]]), np.array([[0.9, 0.1]], np.float32)
    grown = with_items(
        model, new, identifiers_by_vote(model.vocabulary.spaces, ["new"], nearest, shares)
    )
    after = GenerativeRetriever(grown).retrieve(requests, 21)
    for request in requests:
        answer = after[request.request_id].item_ids
        assert [item for item in answer if item != "new"] == list(
            before[request.request_id].item_ids
        )
        assert "new" in answer


def test_with_semantic_ids_a_new_item_matches_the_histories_of_its_neighbours() -> None:
    spaces = shared(grid(6, 6, step=2))
    follows = np.zeros((18, 18), np.float32)
    follows[0, 7] = 1
    match = HistoryMatch(100.0, (SimilarItems("following", 1.0, sp.csr_array(follows)),))
    model = replace(random_model(spaces, "decoder:tiny", 0), history_match=match)
    new = new_items_table(model.catalog, [{"item_id": "new", "title": "item-007", "kind": "red"}])
    near = {"neighbours": np.array([[7, 3]]), "shares": np.array([[0.75, 0.25]], np.float32)}
    placed = identifiers_by_vote(spaces, ["new"], near["neighbours"], near["shares"])
    grown = GenerativeRetriever(with_items(model, new, {**near, **placed}), beams=10)
    asked = [Request("0", history=("item-000",)), Request("1", history=("item-001",))]
    found = grown.retrieve(asked, 2)
    assert found["0"].item_ids == ("item-007", "new")
    assert found["1"].scores[0] < 0, "nothing follows this item"
