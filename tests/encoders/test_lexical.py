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
from twofold.encoders.lexical import LexicalIndex, chosen_index
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset

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
    scores = index.scores(queries) * index.words.rarity.max()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


START = 1_600_000_000


def _dataset(
    titles: Mapping[str, str],
    queries: Sequence[tuple[str, str, str]],
    test_queries: int = 0,
) -> PreparedDataset:
    """From titles by item, and queries as text, split and the item that answers.

    Where the last queries are for the test, all are split by time: one is asked each second.
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
        "qrels": pl.DataFrame({"query_id": ids, "item_id": [item for _, _, item in queries]}),
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


def test_a_query_is_judged_by_documents_without_it() -> None:
    """A word that is in one query alone would find its answer in a document that holds it."""
    asked = [
        (f"unique{number} maker{number} maker{(number + 1) % 40}", _split(number), item)
        for number, item in enumerate(ITEMS)
    ]
    forms = [(f"UNIQUE{number}s!", "train", item) for number, item in enumerate(ITEMS[:36])]
    assert _chosen(_dataset(TITLES, [*asked, *forms])).field == "text"


def test_without_words_in_texts_the_documents_are_queries() -> None:
    asked = [(f"thing {number}", _split(number), item) for number, item in enumerate(ITEMS)]
    assert _chosen(_dataset(dict.fromkeys(ITEMS, ""), asked)).field == "text and queries"
    one = _dataset(dict.fromkeys(ITEMS, ""), [("one", "train", ITEMS[0])])
    assert _chosen(one).scores(["one"])[0].argmax() == one.catalog.positions[ITEMS[0]]


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_new_items_have_their_neighbours_queries_where_documents_hold_any(weighting: str) -> None:
    documents = ["robot", "robot asked asked", "desert"]
    shares = sp.csr_array(np.array([[0.0], [1.0], [0.0]]))
    for field in ("text", "text and queries"):
        index = LexicalIndex.fit(documents, [], field, weighting)  # type: ignore[arg-type]
        grown = index.with_items(["desert"], shares)
        asked, desert = grown.scores(["asked", "desert"])
        assert (asked[3] > 0) == (field == "text and queries")
        assert desert[3] > 0
        np.testing.assert_array_equal(
            grown.scores(["asked", "desert"])[:, :3], index.scores(["asked", "desert"])
        )
