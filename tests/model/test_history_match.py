"""Hybrid recommendation: matches of a history computed by hand, in a folder, and with new items."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twofold.encoders.item_vectors import similar_texts
from twofold.encoders.vectors import Vectors, unit
from twofold.model.hybrid import (
    HistoryMatch,
    Neighbours,
    history_matches,
    load_history_match,
)
from twofold.records import Floats, Request
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.scoring import Context, score_items
from twofold.tasks.prepared import PreparedDataset

ITEMS = 5
HISTORIES = st.lists(
    st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=60), min_size=1, max_size=4
)


def _match(similarity: Floats, weight: float = 2.0, decay: float = 0.5) -> HistoryMatch:
    return HistoryMatch(weight, "following", decay, sp.csr_array(similarity.astype(np.float32)))


@given(
    arrays.arrays(np.float32, (ITEMS, ITEMS), elements=st.floats(0, 1, width=16)),
    HISTORIES,
    st.sampled_from([0.3, 1.0]),
)
def test_recent_items_count_more_and_the_best_match_has_the_weight(
    similarity: Floats, histories: list[list[int]], decay: float
) -> None:
    scores = _match(similarity, 3.0, decay).scores([np.array(items) for items in histories])
    for history, own in zip(histories, scores, strict=True):
        recent = history[::-1][:50]
        sums = sum(decay**age * similarity[item].astype(float) for age, item in enumerate(recent))
        best = np.max(sums)
        np.testing.assert_allclose(own, 3 * sums / best if best else 0 * own, atol=1e-5)


def test_a_request_without_a_history_has_no_match() -> None:
    nothing = np.zeros(0, np.int64)
    assert not _match(np.ones((ITEMS, ITEMS))).scores([nothing, nothing]).any()
    rows = _match(np.eye(ITEMS)).scores([nothing, np.array([3])])
    assert rows.tolist() == [[0] * 5, [0, 0, 0, 2, 0]]


def test_new_items_have_the_matches_of_their_neighbours() -> None:
    similarity = np.array([[0, 1, 0.5], [0.2, 0, 0], [0, 0.4, 0]])
    near = Neighbours(np.array([[0, 2]]), np.array([[0.75, 0.25]], np.float32))
    grown = _match(similarity).with_items(near).similarity.toarray()
    np.testing.assert_allclose(grown[:3, :3], similarity, atol=1e-6)
    np.testing.assert_allclose(grown[:3, 3], similarity @ [0.75, 0, 0.25], atol=1e-6)
    np.testing.assert_allclose(grown[3, :3], [0.75, 0, 0.25] @ similarity, atol=1e-6)


def _text_vectors(items: int) -> Vectors:
    """Vectors of made-up texts; the last item has none."""
    vectors = unit(np.random.default_rng(0).normal(size=(items, 8))).astype(np.float32)
    vectors[-1] = 0.0
    return vectors


@pytest.mark.parametrize("number", range(10))
def test_a_folder_keeps_it(number: int, catalog: PreparedDataset, tmp_path: Path) -> None:
    match = history_matches(catalog, _text_vectors(len(catalog.catalog)))[number]
    assert load_history_match(tmp_path) is None
    match.save(tmp_path)
    loaded = load_history_match(tmp_path)
    assert loaded is not None
    assert loaded.description == match.description
    entries = sum(table.nnz for table in (match.similarity, match.texts) if table is not None)
    size = (tmp_path / "history_match.safetensors").stat().st_size
    assert size < 8 * entries + 8 * len(catalog.catalog) + 1000
    histories = [np.array([3, 1, 4]), np.array([1, 5])]
    np.testing.assert_array_equal(loaded.scores(histories), match.scores(histories))


def test_the_items_that_follow_are_those_of_training(catalog: PreparedDataset) -> None:
    following = history_matches(catalog)[0].similarity.toarray()
    pairs = np.zeros_like(following)
    for history in catalog.training_histories.values():
        for place, item in enumerate(history):
            for apart in range(1, min(5, place) + 1):
                pairs[history[place - apart], item] += 1 / apart
    expected = pairs / (np.sqrt(np.outer(pairs.sum(axis=1), pairs.sum(axis=0))) + 10)
    np.testing.assert_allclose(following, expected, atol=1e-6)


def test_texts_that_are_similar_add_to_what_is_counted(catalog: PreparedDataset) -> None:
    vectors = _text_vectors(len(catalog.catalog))
    matches = history_matches(catalog, vectors)
    counted = [match for match in matches if match.texts is None]
    with_texts = [match for match in matches if match.texts is not None]
    cosines = np.maximum(vectors @ vectors.T, 0.0)
    np.fill_diagonal(cosines, 0.0)
    history = np.array([3, 1, 4])
    for alone, match in zip(counted, with_texts, strict=True):
        assert (match.kind, match.decay) == (alone.kind, alone.decay)
        by_text = match.decay ** np.array([2, 1, 0]) @ cosines[history]
        expected = alone.scores([history])[0] + 0.5 * by_text / by_text.max()
        np.testing.assert_allclose(match.scores([history])[0], expected, atol=1e-5)


def test_the_most_similar_texts_are_kept_for_each_item() -> None:
    vectors = _text_vectors(50)
    kept = similar_texts(vectors, 7).toarray()
    cosines = np.maximum(vectors @ vectors.T, 0.0)
    np.fill_diagonal(cosines, 0.0)
    for row, expected in zip(kept, cosines, strict=True):
        best = np.sort(expected)[::-1][:7]
        np.testing.assert_allclose(np.sort(row)[::-1][:7], best, atol=1e-6)
        assert np.count_nonzero(row) == np.count_nonzero(best)


def test_it_is_added_to_log_p_of_recommendation_alone(
    catalog: PreparedDataset, retriever: GenerativeRetriever
) -> None:
    alone = replace(retriever.model, history_match=None)
    match = replace(history_matches(catalog)[0], weight=4.0)
    matched = replace(alone, history_match=match)
    history, items = np.array([2, 7, 9]), np.arange(len(catalog.catalog))
    (before,), (after,) = (
        score_items(model, [Context(history, None)], items) for model in (alone, matched)
    )
    moved = before + match.scores([history])[0]
    moved -= np.log(np.exp(moved).sum()) - np.log(np.exp(before).sum())
    np.testing.assert_allclose(after, moved, atol=1e-4)
    both = [score_items(model, [Context(history, "robots")], items) for model in (alone, matched)]
    np.testing.assert_array_equal(both[0], both[1])
    request = Request("r", history=tuple(catalog.catalog.item_ids[item] for item in history))
    ranked = GenerativeRetriever(matched).retrieve([request], len(items))["r"].item_ids
    assert ranked[0] == catalog.catalog.item_ids[int(after.argmax())]
