"""Hybrid search: matches computed by hand, in a folder, and inside a model's scores."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from twofold.encoders.lexical import LexicalIndex, TrainingQueries
from twofold.encoders.sentence import SentenceEncoder
from twofold.model.hybrid import Hybrid, Neighbours, load_hybrid
from twofold.records import Request
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.scoring import Context, score_items

DOCUMENTS = ["robot robot love", "robot western", "wedding love", "", "western desert"]


def lexical_hybrid(weight: float, index: LexicalIndex) -> Hybrid:
    """A hybrid part of words alone, without training queries."""
    return Hybrid(weight, index, TrainingQueries.of([], [], index.postings.shape[1]))


def _hybrid(sentence: SentenceEncoder | None = None, weight: float = 3.0) -> Hybrid:
    index = LexicalIndex.fit(DOCUMENTS, ["desert wedding"])
    vectors = sentence.encode(DOCUMENTS).astype(np.float16).astype(np.float32) if sentence else None
    return replace(lexical_hybrid(weight, index), sentence=sentence, vectors=vectors)


def test_matching_words_are_weighed_as_by_hand() -> None:
    hybrid = _hybrid()
    words = hybrid.lexical.words
    idf = dict(zip(words.words, words.idf.astype(float), strict=True))
    scores = hybrid.scores(["love robot unknown", "love", "", "unknown"])
    robots, love = (1 + math.log(2)) * idf["robot"], idf["love"]
    document = math.hypot(robots, love)
    norm = math.sqrt(math.hypot(idf["robot"], love) * max(idf.values()))
    by_hand = 3 * (idf["robot"] * robots + love * love) / (norm * document)
    assert scores[0, 0] == pytest.approx(by_hand, rel=1e-5)
    assert scores[1, 2] == pytest.approx(
        3 * love**2 / math.hypot(love, idf["wedding"]) / math.sqrt(love * max(idf.values())),
        rel=1e-5,
    )
    assert not scores[:, 3].any(), "an empty document matches nothing"
    assert not scores[2:].any(), "nor does a query without a known word"


def test_a_second_shared_word_adds(sentence_encoder: SentenceEncoder) -> None:
    one, two = _hybrid().scores(["western", "western desert"])[:, 4]
    assert two > one > 0
    assert _hybrid(sentence_encoder).description["parts"] == ["words", "sentence"]
    assert _hybrid().description["parts"] == ["words"]


def test_cosines_of_sentences_add(sentence_encoder: SentenceEncoder) -> None:
    queries = ["film of love", "robot"]
    both, words = _hybrid(sentence_encoder).scores(queries), _hybrid().scores(queries)
    cosines = sentence_encoder.encode(queries) @ sentence_encoder.encode(DOCUMENTS).T
    np.testing.assert_allclose(both - words, 3 * cosines, atol=1e-2)


@pytest.mark.parametrize("kind", ["words", "both", "bm25", "n-grams"])
def test_a_folder_keeps_the_hybrid_part(
    tmp_path: Path, kind: str, sentence_encoder: SentenceEncoder
) -> None:
    hybrid = _hybrid(sentence_encoder if kind == "both" else None)
    if kind == "bm25":
        hybrid = replace(hybrid, lexical=LexicalIndex.fit(DOCUMENTS, [], "text", "bm25"))
    if kind == "n-grams":
        index = LexicalIndex.fit(DOCUMENTS, [], "text", "bm25", "words and n-grams")
        hybrid = replace(hybrid, lexical=index)
    hybrid.save(tmp_path)
    loaded = load_hybrid(tmp_path, sentence_encoder)
    assert loaded is not None
    assert loaded.description == hybrid.description
    queries = ["love robots", "desert wedding", "wed-ding", ""]
    np.testing.assert_array_equal(loaded.scores(queries), hybrid.scores(queries))
    assert loaded.lexical.scores(["wed-ding"]).any(), "a compound that documents have as a word"


def test_a_folder_without_one_is_read_as_such(tmp_path: Path) -> None:
    assert load_hybrid(tmp_path, None) is None


def test_new_items_get_documents_and_vectors_from_their_neighbours(
    sentence_encoder: SentenceEncoder,
) -> None:
    before = _hybrid(sentence_encoder)
    wanting = ["", "", "love story", "", ""]  # the third vector moves toward its query
    vectors = before.vectors
    assert vectors is not None
    moved = np.asarray(vectors + 0.5 * sentence_encoder.encode(wanting), np.float32)
    before = replace(before, vectors=moved)
    nearest = np.array([[1, 4], [2, 0]])
    shares = np.array([[0.5, 0.5], [0.75, 0.25]], np.float32)
    texts = ["desert wedding", "love"]
    grown = before.with_items(texts, Neighbours(nearest, shares, vectors[nearest]))

    dense, own = (
        before.lexical.postings.toarray(),
        before.lexical.postings_of(texts).toarray(),
    )
    expected = own + np.stack(
        [(dense[:, n] * s).sum(axis=1) for n, s in zip(nearest, shares, strict=True)], axis=1
    )
    expected /= np.linalg.norm(expected, axis=0)
    np.testing.assert_allclose(grown.lexical.postings.toarray()[:, 5:], expected, atol=1e-6)
    np.testing.assert_array_equal(grown.lexical.postings.toarray()[:, :5], dense)

    assert grown.vectors is not None
    same, toward = sentence_encoder.encode(texts) @ grown.vectors[5:].T
    plain = sentence_encoder.encode(texts)
    assert same[0] == pytest.approx(1, abs=1e-3), "no query wants its neighbours"
    story = sentence_encoder.encode(["love story"])[0]
    assert grown.vectors[6] @ story > plain[1] @ story, "the queries that want its neighbour count"
    assert toward[1] > 0.5, "its own text still counts"
    queries = ["desert wedding", "love"]
    np.testing.assert_allclose(grown.scores(queries)[:, :5], before.scores(queries), atol=1e-5)


def test_a_new_item_matches_by_its_own_words() -> None:
    near = Neighbours(np.array([[3, 4], [3, 4]]), np.full((2, 2), 0.5, np.float32))
    grown = _hybrid().with_items(["desert wedding", ""], near)
    scores = grown.scores(["desert wedding", "western"])
    assert scores[0].argmax() == 5
    assert scores[1, 6] > 0, "an item without a word is scores by its neighbours' words"


NEAR = Neighbours(np.array([[3, 4]]), np.full((1, 2), 0.5, np.float32))
"""The neighbours of one new item."""


def _known(**answers: list[int]) -> TrainingQueries:
    """Queries, words joined by _, and their answers."""
    queries = [name.replace("_", " ") for name in answers]
    return TrainingQueries.of(
        queries, [np.array(items) for items in answers.values()], len(DOCUMENTS)
    )


def test_new_items_get_a_boost_at_training_queries() -> None:
    boosted = replace(_hybrid(), known=_known(robots=[0, 1], western=[1, 4]))
    queries = ["Robot!", "Westerns", "love", "unknown"]
    np.testing.assert_array_equal(boosted.scores(queries), _hybrid().scores(queries))
    plain = _hybrid().with_items(["desert"], NEAR).scores(queries)
    grown = boosted.with_items(["desert"], NEAR)
    gained = grown.scores(queries) - plain
    assert not gained[:, :5].any(), "trained items keep their scores"
    assert not gained[2:].any(), "other queries give no boost"
    assert gained[0, 5] > 0, "the same query, in another case and number"
    assert gained[1, 5] > 2 * gained[0, 5], "a neighbour is an answer to this one"
    again = grown.with_items(["western"], NEAR).scores(queries)
    np.testing.assert_array_equal(again[:, 5], grown.scores(queries)[:, 5])


@pytest.mark.parametrize("answers", [{}, {"western": [1, 4], "desert_wedding": [4]}])
def test_a_folder_keeps_the_training_queries(tmp_path: Path, answers: dict[str, list[int]]) -> None:
    hybrid = replace(_hybrid(), known=_known(**answers)).with_items(["desert"], NEAR)
    hybrid.save(tmp_path)
    loaded = load_hybrid(tmp_path, None)
    assert loaded is not None
    queries = ["western", "love", "desert weddings"]
    np.testing.assert_array_equal(loaded.scores(queries), hybrid.scores(queries))


def test_a_model_ranks_and_scores_by_the_sum(retriever: GenerativeRetriever) -> None:
    plain = replace(retriever.model, hybrid=None)
    texts = plain.catalog.texts
    hybrid = lexical_hybrid(7.0, LexicalIndex.fit(texts, []))
    model, query = replace(plain, hybrid=hybrid), texts[4]
    items = np.arange(len(texts))
    context = [Context(np.array([1, 2]), query)]
    logits = score_items(plain, context, items) + hybrid.scores([query])
    expected = logits - np.logaddexp.reduce(logits, axis=1)
    np.testing.assert_allclose(score_items(model, context, items), expected, atol=1e-4)
    names = plain.catalog.item_ids
    request = Request("r", query=query, history=(names[1], names[2]))
    ranking = GenerativeRetriever(model).retrieve([request], len(texts))["r"]
    by_item = dict(zip(ranking.item_ids, ranking.scores, strict=True))
    np.testing.assert_allclose([by_item[name] for name in names], expected[0], atol=1e-4)


def test_a_history_alone_is_ranked_as_without_a_hybrid_part(retriever: GenerativeRetriever) -> None:
    texts = retriever.model.catalog.texts
    hybrid = lexical_hybrid(7.0, LexicalIndex.fit(texts, []))
    names = retriever.model.catalog.item_ids
    requests = [Request("alone", history=(names[3],)), Request("asked", query=texts[0])]
    plain = GenerativeRetriever(replace(retriever.model, hybrid=None)).retrieve(requests[:1], 5)
    mixed = GenerativeRetriever(replace(retriever.model, hybrid=hybrid)).retrieve(requests, 5)
    assert mixed["alone"].item_ids == plain["alone"].item_ids
    assert mixed["alone"].scores == pytest.approx(plain["alone"].scores, abs=1e-5)
    assert mixed["asked"].item_ids[0] == names[0]


@pytest.fixture
def known() -> TrainingQueries:
    """Three items; `robots` is asked twice, and `western` has item 2 as its answer."""
    answers = [np.array([0]), np.array([2]), np.array([1])]
    return TrainingQueries.of(["robots", "western", "Robot"], answers, 3)


def test_equal_queries_have_one_key_and_all_their_answers(known: TrainingQueries) -> None:
    assert len(known.keys) == 2
    assert (np.diff(known.keys.astype(object)) > 0).all()
    assert sorted(np.diff(known.relevant.indptr).tolist()) == [1, 2]


def test_the_boost_is_larger_where_a_neighbour_answers(known: TrainingQueries) -> None:
    near_western, near_nothing = [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]
    neighbours = sp.csr_array(np.array([near_western, near_nothing]).T)
    grown = known.with_items(neighbours)
    scores = np.tile(np.array([1, 1, 1, 0.5, 0.5], np.float32), (3, 1))
    grown.boost(scores, ["Westerns", "robot", "wedding"], trained=3, is_limited=True)
    assert (scores[:, :3] == 1).all()
    assert scores[0, 3:] == pytest.approx([0.78, 0.58])
    assert scores[1, 3:] == pytest.approx([0.58, 0.58])
    assert (scores[2, 3:] == 0.5).all(), "training never saw this query"


def test_a_boost_leads_no_further_than_what_users_chose(known: TrainingQueries) -> None:
    """`robots` has the items 0 and 1 as its answers, and `western` has item 2."""
    grown = known.with_items(sp.csr_array(np.full((3, 2), 1 / 3)))
    scores = np.array([[0.4, 0.6, 0.9, 0.5, 0.7], [0.9, 0.9, 0.0, 0.0, 0.1]], np.float32)
    unlimited = scores.copy()
    grown.boost(scores, ["robot", "western"], trained=3, is_limited=True)
    assert scores[0] == pytest.approx([0.4, 0.6, 0.9, 0.6, 0.7]), "the last was ahead before"
    assert scores[1] == pytest.approx([0.9, 0.9, 0.0, 0.28, 0.38]), "the answer has no match"
    grown.boost(unlimited, ["robot", "western"], trained=3, is_limited=False)
    assert unlimited[0] == pytest.approx([0.4, 0.6, 0.9, 0.78, 0.98])


def test_without_training_queries_nothing_is_boosted() -> None:
    none = TrainingQueries.of([], [], 2).with_items(sp.csr_array(np.ones((2, 1))))
    scores = np.zeros((1, 3), np.float32)
    none.boost(scores, ["robots"], trained=2, is_limited=True)
    assert not scores.any()
