"""Hybrid recommendation: matches of a history computed by hand, in a folder, and with new items."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twofold.encoders.item_vectors import SimilarityKind, similar_texts, similarities
from twofold.encoders.vectors import Vectors, unit
from twofold.model.hybrid import (
    HistoryMatch,
    Neighbours,
    SimilarItems,
    history_matches,
    load_history_match,
    with_popularity,
    with_repeats,
    with_second,
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
    return HistoryMatch(weight, (_similar("following", similarity, decay),))


def _similar(
    kind: SimilarityKind, similarity: Floats | Vectors, decay: float, share: float = 1.0
) -> SimilarItems:
    return SimilarItems(kind, decay, sp.csr_array(similarity.astype(np.float32)), share)


SIMILARITIES = arrays.arrays(np.float32, (ITEMS, ITEMS), elements=st.floats(0, 1, width=16))


@given(SIMILARITIES, HISTORIES, st.sampled_from([0.3, 1.0]))
def test_recent_items_count_more_and_the_best_match_has_the_weight(
    similarity: Floats, histories: list[list[int]], decay: float
) -> None:
    scores = _match(similarity, 3.0, decay).scores([np.array(items) for items in histories])
    for history, own in zip(histories, scores, strict=True):
        recent = history[::-1][:50]
        sums = sum(decay**age * similarity[item].astype(float) for age, item in enumerate(recent))
        best = np.max(sums)
        np.testing.assert_allclose(own, 3 * sums / best if best else 0 * own, atol=1e-5)


@given(SIMILARITIES, SIMILARITIES, HISTORIES)
def test_a_second_similarity_has_a_decay_and_a_share_of_its_own(
    counted: Floats, texts: Floats, histories: list[list[int]]
) -> None:
    rows = [np.array(items) for items in histories]
    both = HistoryMatch(
        2.0, (_similar("following", counted, 0.3), _similar("texts", texts, 1.0, share=0.5))
    )
    expected = _match(counted, 2.0, 0.3).scores(rows) + _match(texts, 1.0, 1.0).scores(rows)
    np.testing.assert_allclose(both.scores(rows), expected, atol=1e-5)


@given(SIMILARITIES, HISTORIES)
def test_repeats_add_the_logarithm_of_the_items_own_events(
    similarity: Floats, histories: list[list[int]]
) -> None:
    rows = [np.array(items, np.int64) for items in histories]
    match = _match(similarity, 2.0)
    added = replace(match, repeats=0.5).scores(rows) - match.scores(rows)
    events = [np.bincount(items, minlength=ITEMS) for items in rows]
    np.testing.assert_allclose(added, 2.0 * 0.5 * np.log(1 + np.array(events)), atol=1e-5)


def test_all_events_of_a_long_history_are_repeats() -> None:
    match = replace(_match(np.zeros((ITEMS, ITEMS)), 1.0), repeats=1.0)
    scores = match.scores([np.array([3] * 7 + [1] * 100)])
    np.testing.assert_allclose(scores, np.log([[1, 101, 1, 8, 1]]), rtol=1e-6)


@given(SIMILARITIES, HISTORIES)
def test_popularity_adds_the_logarithm_of_an_items_training_events(
    similarity: Floats, histories: list[list[int]]
) -> None:
    rows = [np.array(items, np.int64) for items in histories]
    match, events = _match(similarity, 2.0), np.array([0, 1, 9, 99, 3])
    tried = with_popularity(match, events)
    assert [one.description["popularity"] for one in tried] == [0.5, 1.0, 2.0]
    for one, share in zip(tried, (0.5, 1.0, 2.0), strict=True):
        added = one.scores(rows) - match.scores(rows)
        expected = 2.0 * share * np.log(1 + events) / np.log(100)
        np.testing.assert_allclose(added, np.tile(expected, (len(rows), 1)), atol=1e-5)


def test_a_request_without_a_history_has_no_match() -> None:
    nothing = np.zeros(0, np.int64)
    assert not _match(np.ones((ITEMS, ITEMS))).scores([nothing, nothing]).any()
    rows = _match(np.eye(ITEMS)).scores([nothing, np.array([3])])
    assert rows.tolist() == [[0] * 5, [0, 0, 0, 2, 0]]


def test_new_items_have_the_matches_of_their_neighbours() -> None:
    counted = np.array([[0, 1, 0.5], [0.2, 0, 0], [0, 0.4, 0]])
    near = Neighbours(np.array([[0, 2]]), np.array([[0.75, 0.25]], np.float32))
    by = _similar("following", counted, 0.5), _similar("texts", counted.T, 1.0, share=0.5)
    grown = HistoryMatch(2.0, by).with_items(near)
    for one, similarity in zip(grown.by, (counted, counted.T), strict=True):
        table = one.similarity.toarray()
        np.testing.assert_allclose(table[:3, :3], similarity, atol=1e-6)
        np.testing.assert_allclose(table[:3, 3], similarity @ [0.75, 0, 0.25], atol=1e-6)
        np.testing.assert_allclose(table[3, :3], [0.75, 0, 0.25] @ similarity, atol=1e-6)
    assert [one.description for one in grown.by] == [one.description for one in by]
    assert grown.popularity is None


def test_new_items_are_as_popular_as_their_neighbours() -> None:
    near = Neighbours(np.array([[0, 2]]), np.array([[0.75, 0.25]], np.float32))
    match = replace(_match(np.eye(3)), popularity=np.array([0.4, 2.0, 0.8], np.float32))
    popularity = match.with_items(near).popularity
    assert popularity is not None
    np.testing.assert_allclose(popularity, [0.4, 2.0, 0.8, 0.5], rtol=1e-6)
    assert popularity.dtype == np.float32


def _text_vectors(items: int) -> Vectors:
    """Vectors of made-up texts; the last item has none."""
    vectors = unit(np.random.default_rng(0).normal(size=(items, 8))).astype(np.float32)
    vectors[-1] = 0.0
    return vectors


def _matches(dataset: PreparedDataset) -> list[HistoryMatch]:
    """All that validation may choose, a second similarity in addition to each first one."""
    items = len(dataset.catalog)
    examples = dataset.task("recommendation").examples
    tables = similarities(examples, items, _text_vectors(items))
    counted = history_matches(tables)
    with_two = [match for one in counted for match in with_second(one, tables)]
    popular = with_popularity(with_two[0], dataset.task("recommendation").popularity)
    return [*counted, *with_two, *with_repeats(with_two[0]), *popular]


def test_a_folder_keeps_it(catalog: PreparedDataset, tmp_path: Path) -> None:
    histories = [np.array([3, 1, 4]), np.array([1, 5])]
    matches = _matches(catalog)
    assert len({len(match.by) for match in matches}) == 2
    for number, match in enumerate(matches):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert load_history_match(folder) is None
        match.save(folder)
        loaded = load_history_match(folder)
        assert loaded is not None
        assert loaded.description == match.description
        entries = sum(one.similarity.nnz for one in match.by)
        size = (folder / "history_match.safetensors").stat().st_size
        assert size < 8 * entries + 8 * len(catalog.catalog) + 1000
        np.testing.assert_array_equal(loaded.scores(histories), match.scores(histories))


def test_each_other_similarity_is_tried_as_the_second_one(catalog: PreparedDataset) -> None:
    """With the decay of the first one and with 1."""
    tried: dict[tuple[str, float], set[tuple[str, float, float]]] = {}
    for match in _matches(catalog):
        first, *second = match.by
        seconds = tried.setdefault((first.kind, first.decay), set())
        seconds |= {(one.kind, one.decay, one.share) for one in second}
    assert len(tried) == 5
    for (kind, decay), seconds in tried.items():
        others = {"following", "shared users", "texts"} - {kind}
        assert seconds == set(product(others, {decay, 1.0}, {0.5, 1.0}))


def test_the_items_that_follow_are_those_of_training(catalog: PreparedDataset) -> None:
    examples = catalog.task("recommendation").examples
    following = similarities(examples, len(catalog.catalog))["following"].toarray()
    pairs = np.zeros_like(following)
    for history in catalog.training_histories.values():
        for place, item in enumerate(history):
            for apart in range(1, min(5, place) + 1):
                pairs[history[place - apart], item] += 1 / apart
    expected = pairs / (np.sqrt(np.outer(pairs.sum(axis=1), pairs.sum(axis=0))) + 10)
    np.testing.assert_allclose(following, expected, atol=1e-6)


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
    match = replace(_matches(catalog)[0], weight=4.0)
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
