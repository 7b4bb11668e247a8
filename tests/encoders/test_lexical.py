"""The lexical index: BM25 as bm25s has it, and which documents and weights are chosen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import bm25s
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from twofold.data.formats import Table
from twofold.data.validation import validate
from twofold.data.words import words
from twofold.encoders.lexical import (
    Candidate,
    Field,
    LexicalIndex,
    Terms,
    Weighting,
    _folds,
    _values,
    chosen_index,
)
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset
from twofold.training_examples import Example, Examples

TEXTS = st.lists(st.sampled_from(["robot", "love", "war", "desert", "red"]), max_size=6).map(
    " ".join
)


@given(st.lists(TEXTS, min_size=2, max_size=8).filter(any), st.lists(TEXTS, min_size=1, max_size=3))
def test_bm25_is_that_of_bm25s(documents: Sequence[str], queries: Sequence[str]) -> None:
    index = LexicalIndex.fit(documents, queries, weighting="bm25")
    reference = bm25s.BM25(k1=0.9, b=0.4)
    reference.index([words(text) for text in documents], show_progress=False)
    expected = [
        reference.get_scores(known)
        if (known := [word for word in words(query) if word in reference.vocab_dict])
        else np.zeros(len(documents))
        for query in queries
    ]
    scores = index.scores(queries) * index.words.idf.max()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


WEIGHTINGS: tuple[Weighting, ...] = ("tfidf", "bm25")
START = 1_600_000_000


def _dataset(
    titles: Mapping[str, str],
    queries: Sequence[tuple[str, str, str]],
    test_queries: int = 0,
    grades: Sequence[tuple[int, str, int]] = (),
) -> PreparedDataset:
    """From titles by item, and queries as text, split and the item that answers.

    Where the last queries are for the test, all are split by time: one is asked each second.
    `grades` are further relevant items: the number of the query, the item, and its relevance.
    """
    ids = [f"q{number}" for number in range(len(queries))]
    frames = {
        "items": pl.DataFrame({"item_id": list(titles), "title": list(titles.values())}),
        "queries": pl.DataFrame(
            {
                "query_id": ids,
                "text": [text for text, _, _ in queries],
                "split": [split for _, split, _ in queries],
                "timestamp": [str(START + second) for second in range(len(queries))],
            }
        ),
        "qrels": pl.DataFrame(
            {
                "query_id": [*ids, *(ids[number] for number, _, _ in grades)],
                "item_id": [item for *_, item in queries] + [item for _, item, _ in grades],
                "relevance": ["1"] * len(queries) + [str(grade) for *_, grade in grades],
            }
        ),
    }
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    if test_queries:
        cutoff = float(START + len(queries) - test_queries)
        return split_dataset(validate(tables), "made", "temporal", cutoff)
    return split_dataset(validate(tables), "made")


def _chosen(dataset: PreparedDataset) -> LexicalIndex:
    index = chosen_index(dataset, dataset.task("search").examples)
    assert index is not None
    return index


ITEMS = [f"item-{number}" for number in range(40)]
TITLES = {item: f"made by maker{number}" for number, item in enumerate(ITEMS)}


def _split(number: int) -> str:
    return "train" if number < 36 else "validation"


MAKERS = [(f"maker{number}", "train", item) for number, item in enumerate(ITEMS[:36])]
MISLEADING = [
    (" ".join([f"maker{number + 1}"] * 3), "train", item) for number, item in enumerate(ITEMS[:36])
]
"""An item is wanted by a query for its maker, and by one for the maker of the next item."""


def test_queries_that_mislead_stay_out_of_the_documents() -> None:
    later = [(f"maker{number}", "validation", ITEMS[number]) for number in range(36, 40)]
    assert _chosen(_dataset(TITLES, [*MAKERS, *MISLEADING, *later])).field == "text"


def test_queries_that_come_again_are_in_the_documents() -> None:
    """In a log that is split by time, validation asks the queries of training again."""
    queries = [(text, "", item) for text, _, item in [*MAKERS, *MISLEADING]]
    log = [*queries, *queries[36:42], *queries[36:40]]
    dataset = _dataset(TITLES, log, test_queries=4)
    judged = dataset.task("search").requests("validation").requests
    assert {request.query for request in judged} < {text for text, _, _ in MISLEADING}
    assert _chosen(dataset).field == "text and queries"


def test_queries_that_say_what_texts_do_not_are_in_the_documents() -> None:
    """Three queries ask for an item by the same word, which its title lacks."""
    asked = [
        (f"{word} secret{number // 4}", _split(number), ITEMS[number // 4])
        for number, word in enumerate(["old", "new", "best", "any"] * 10)
    ]
    assert _chosen(_dataset(TITLES, asked)).field == "text and queries"


def test_a_query_is_judged_by_documents_without_any_form_of_it() -> None:
    """A word that one query alone has would find its answer in a document that holds the query."""
    queries = [
        (f"unique{number} {text}", split, item)
        for number, (text, split, item) in enumerate([*MAKERS, *MISLEADING])
    ]
    forms = [(f"{text.upper()}!", split, item) for text, split, item in queries]
    assert _chosen(_dataset(TITLES, [*queries, *forms])).field == "text"


def test_bm25_is_chosen_where_documents_differ_in_length() -> None:
    """The length of a document counts less in BM25 than in a cosine."""
    padding = " ".join(f"padding{number}" for number in range(60))
    titles = {
        item: f"maker{number // 2} kind{number % 2} {padding * (number % 2)}"
        for number, item in enumerate(ITEMS)
    }
    asked = [
        (f"maker{number // 2} kind{number % 2} padding1", _split(number), item)
        for number, item in enumerate(ITEMS)
    ]
    assert _chosen(_dataset(titles, asked)).weighting == "bm25"


STEMS = [
    f"{a}{b}{c}"
    for a in "brvz"
    for b in ("ano", "ilu")
    for c in ("gat", "mek", "pol", "tir", "sub")
]


@pytest.mark.parametrize("ending", ["ski", ""])
def test_ngrams_are_chosen_unless_they_are_worse(ending: str) -> None:
    """If all queries have the documents' words, both are equal in cross-validation."""
    titles = {item: f"{stem} lamp" for item, stem in zip(ITEMS, STEMS, strict=True)}
    asked = [
        (f"{stem}{ending} lamp", _split(number), ITEMS[number]) for number, stem in enumerate(STEMS)
    ]
    index = _chosen(_dataset(titles, asked))
    assert index.terms == "words and n-grams"
    assert index.scores([f"{STEMS[3]}{ending}"])[0].argmax() == 3
    assert index.scores([f"{STEMS[3]}oq"])[0].argmax() == 3


def test_ngrams_are_chosen_where_no_query_has_a_word_of_a_document() -> None:
    """`BranogatLamp` is asked for as `branogatlamps`: as words, nothing matches."""
    titles = {item: f"{stem}Lamp" for item, stem in zip(ITEMS, STEMS, strict=True)}
    asked = [(f"{stem}lamps", _split(number), ITEMS[number]) for number, stem in enumerate(STEMS)]
    index = _chosen(_dataset(titles, asked))
    assert index.terms == "words and n-grams"
    assert index.scores([f"{STEMS[3]}lamps"])[0].argmax() == 3


def test_words_are_chosen_where_ngrams_mislead() -> None:
    """A query has a short word of the item that it asks for, and a form of another item's word."""
    codes = [f"{a}{b}" for a in "brvzk" for b in "1234"]
    titles = dict(zip(ITEMS, [*codes, *(f"{stem}er" for stem in STEMS[:20])], strict=True))
    asked = [
        (f"{code} {STEMS[number]}", "train" if number < 18 else "validation", ITEMS[number])
        for number, code in enumerate(codes)
    ]
    assert _chosen(_dataset(titles, asked)).terms == "words"


def test_a_misspelled_word_matches_by_its_ngrams_in_about_one_scale() -> None:
    documents = ["beyonce halo", "radiohead creep", "bjork army of me"]
    for weighting in WEIGHTINGS:
        plain = LexicalIndex.fit(documents, [], "text", weighting)
        index = LexicalIndex.fit(documents, [], "text", weighting, "words and n-grams")
        assert index.scores(["radiohaed"])[0].argmax() == 1
        assert not plain.scores(["radiohaed"]).any()
        assert not index.words.has_known_word("radiohaed")
        ratio = index.scores(["radiohead"]).max() / plain.scores(["radiohead"]).max()
        assert 0.5 < ratio < 2


COMPOUNDS = [("Wi-Fi router", "wifi"), ("Brano XR-200", "xr200"), ("Live by AC/DC", "acdc")]


@pytest.mark.parametrize("terms", ["words", "words and n-grams"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_compound_matches_however_it_is_typed(weighting: Weighting, terms: Terms) -> None:
    """As one word for its parts, and as parts for one word that the documents have."""
    others = ["live router", "men in a van"]
    apart = LexicalIndex.fit([*(title for title, _ in COMPOUNDS), *others], [], "text", weighting)
    joined = LexicalIndex.fit(
        [*(f"{typed} zed" for _, typed in COMPOUNDS), *others], [], "text", weighting, terms
    )
    for number, (title, typed) in enumerate(COMPOUNDS):
        assert apart.words.has_known_word(typed)
        assert np.flatnonzero(apart.scores([typed])[0]).tolist() == [number]
        query = title.split()[-1] if number else title.split()[0]
        assert joined.words.has_known_word(query)
        assert joined.scores([query])[0].argmax() == number
    assert not apart.words.has_known_word("liveby")


@pytest.mark.parametrize("letter", "ʻʽʾʿʼ'’")
def test_a_letter_typed_as_an_apostrophe_or_not_at_all_matches(letter: str) -> None:
    documents = [f"Hawai{letter}i by bus", "Maui by bus", "a quiet i"]
    index = LexicalIndex.fit(documents, [], "text")
    for query in ("hawaii", "hawai'i", "Hawai’i", "HAWAIʻI"):
        assert index.words.has_known_word(query)
        assert index.scores([query])[0].argmax() == 0


def test_a_query_with_the_documents_compound_counts_it_once() -> None:
    """Its parts match already; as a third word it would count more than other words."""
    index = LexicalIndex.fit(["wi-fi router", "red lamp"], [], "text", "bm25")
    np.testing.assert_array_equal(index.scores(["wi-fi lamp"]), index.scores(["wi fi lamp"]))


def test_a_compound_of_a_new_item_is_known() -> None:
    index = LexicalIndex.fit(["red robot", "red desert"], [], "text")
    grown = index.with_items(["robot XR-777"], sp.csr_array(np.zeros((2, 1))))
    for query in ("XR777", "xr-777"):
        assert grown.scores([query])[0].argmax() == 2


def test_equal_documents_are_ranked_as_in_runs() -> None:
    """By item_id, descending as strings: the first of many equal ones is item-9."""
    titles = dict.fromkeys(ITEMS, "red shirt") | {"z": "blue hat"}
    for item, value in (("item-9", 1.0), ("item-0", 0.0)):
        dataset = _dataset(titles, [(f"red{' red' * n}", "train", item) for n in range(10)])
        examples = dataset.task("search").examples
        candidate: Candidate = ("text", "bm25", "words")
        assert _values(dataset, examples, [candidate]) == {candidate: value}


def test_validation_queries_that_come_again_count_the_grades_of_their_items() -> None:
    """The first of two relevant items has the lower grade."""
    titles = {"a": "red shirt", "b": "blue red", "c": "hat"}
    queries = [("red shirt", "", "a"), ("hat", "", "c"), ("red shirt", "", "a"), ("hat", "", "c")]
    dataset = _dataset(titles, queries, test_queries=1, grades=[(2, "b", 3)])
    assert [
        request.query for request in dataset.task("search").requests("validation").requests
    ] == ["red shirt"]
    ideal, reached = 3 + 1 / np.log2(3), 1 + 3 / np.log2(3)
    examples = dataset.task("search").examples
    values = _values(dataset, examples, [("text", "bm25", "words")])
    assert values["text", "bm25", "words"] == pytest.approx(reached / ideal)


@pytest.mark.parametrize(
    ("queries", "folds", "judged"), [(20, 5, 20), (2400, 3, 999), (6000, 1, 1000)]
)
def test_about_a_thousand_training_queries_are_judged(
    queries: int, folds: int, judged: int
) -> None:
    """Each is judged once, by documents without any form of it."""
    texts = [f"query {number}" for number in range(queries)]
    none, one = np.zeros(0, np.int64), np.zeros(1, np.int64)
    examples = Examples.of(
        [Example(history=none, query=text, targets=one, visible=one) for text in texts]
    )
    made = list(_folds(examples, texts))
    chosen = [text for fold in made for text in fold.queries]
    assert len(made) == folds
    assert len(chosen) == len(set(chosen))
    assert judged - folds <= len(chosen) <= judged
    for fold in made:
        assert not set(fold.queries) & set(fold.examples.texts())
        assert len(fold.queries) + len(fold.examples) <= queries


def test_a_word_of_training_queries_alone_is_known() -> None:
    for weighting in WEIGHTINGS:
        index = LexicalIndex.fit(["red shirt", "blue hat"], ["xmas gift"], "text", weighting)
        assert index.words.has_known_word("xmas")
        assert not index.scores(["xmas"]).any()
        assert index.words.idf.max() == pytest.approx(index.words.idf[0], rel=0.5)


def test_without_words_in_texts_the_documents_are_queries() -> None:
    asked = [(f"thing {number}", _split(number), item) for number, item in enumerate(ITEMS)]
    assert _chosen(_dataset(dict.fromkeys(ITEMS, ""), asked)).field == "text and queries"
    one = _dataset(dict.fromkeys(ITEMS, ""), [("one", "train", ITEMS[0])])
    assert _chosen(one).scores(["one"])[0].argmax() == one.catalog.positions[ITEMS[0]]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_new_items_have_their_neighbours_queries_where_documents_hold_any(
    weighting: Weighting,
) -> None:
    documents = ["robot", "robot asked asked", "desert"]
    shares = sp.csr_array(np.array([[0.0], [1.0], [0.0]]))
    fields: tuple[Field, ...] = ("text", "text and queries")
    for field in fields:
        index = LexicalIndex.fit(documents, [], field, weighting)
        grown = index.with_items(["desert"], shares)
        asked, desert = grown.scores(["asked", "desert"])
        assert (asked[3] > 0) == (field == "text and queries")
        assert desert[3] > 0
        np.testing.assert_array_equal(
            grown.scores(["asked", "desert"])[:, :3], index.scores(["asked", "desert"])
        )


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("terms", ["words", "words and n-grams"])
def test_new_items_are_found_by_words_that_no_document_had(
    weighting: Weighting, terms: Terms
) -> None:
    """A product number is in no older text, and what customers type first."""
    documents, shares = ["red robot", "robot asked", "red desert"], np.array([[0.5], [0.5], [0.0]])
    fields: tuple[Field, ...] = ("text", "text and queries")
    for field in fields:
        index = LexicalIndex.fit(documents, ["asked"], field, weighting, terms)
        grown = index.with_items(["robot XR777"], sp.csr_array(shares))
        assert grown.words.has_known_word("xr777")
        assert not index.words.has_known_word("xr777")
        (number,) = grown.scores(["XR777"])
        assert number[3] > 0
        assert not number[:3].any()
        queries = ["robot", "red asked", "desert red"]
        np.testing.assert_array_equal(grown.scores(queries)[:, :3], index.scores(queries))
        again = grown.with_items(["desert XR777"], sp.csr_array(np.zeros((4, 1))))
        assert (again.scores(["xr777"])[0, 3:] > 0).all()
