"""BM25 against the formula written out by hand, over each of its documents."""

import dataclasses
import math

import polars as pl
import pytest

from tests.conftest import WriteFolder
from twofold.baselines.bm25 import BM25
from twofold.data.dataset import Catalog
from twofold.records import InputError, Request
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset

K1, B = 1.5, 0.75
ITEMS = "item_id,title\na,red red fox\nb,red dog\nc,blue fox runs fast\nd,cat\n"
QUERIES = (
    "query_id,text,split\nq1,wolf tale,train\nq2,fox,validation\nq3,wolf,test\nq4,cat fox,train\n"
)
QRELS = "query_id,item_id\nq1,d\nq2,a\nq3,a\nq4,a\n"


@pytest.fixture
def dataset(write_folder: WriteFolder) -> PreparedDataset:
    return load_dataset(write_folder(items=ITEMS, queries=QUERIES, qrels=QRELS, interactions=None))


def test_scores_are_lucenes_bm25(dataset: PreparedDataset) -> None:
    documents = {"a": "red red fox", "b": "red dog", "c": "blue fox runs fast", "d": "cat"}
    words = {item: text.split() for item, text in documents.items()}
    mean_length = sum(map(len, words.values())) / len(words)

    def value(item: str, query: list[str]) -> float:
        total = 0.0
        for word in query:
            holding = sum(word in document for document in words.values())
            idf = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            count = words[item].count(word)
            total += idf * count / (count + K1 * (1 - B + B * len(words[item]) / mean_length))
        return total

    ranking = BM25(dataset, "text", K1, B).retrieve([Request("r", query="Red fox")], 4)["r"]
    assert set(ranking.item_ids) == {"a", "b", "c"}
    for item, score in zip(ranking.item_ids, ranking.scores, strict=True):
        assert score == pytest.approx(value(item, ["red", "fox"]), rel=1e-5)


@pytest.mark.parametrize(
    ("field", "query", "items"),
    [
        ("text", "wolf", ()),
        ("queries", "wolf", ("d",)),
        ("queries", "red", ()),
        ("queries", "cat", ("a",)),
        ("text and queries", "cat", ("d", "a")),
    ],
)
def test_a_document_holds_text_or_training_queries_or_both(
    dataset: PreparedDataset, field: str, query: str, items: tuple[str, ...]
) -> None:
    """q3, a test query, asks for a by "wolf": no document may hold it."""
    retriever = BM25(dataset, field)  # type: ignore[arg-type]
    ranking = retriever.retrieve([Request("r", query=query)], 4)["r"]
    assert set(ranking.item_ids) == set(items)


def test_a_catalog_without_a_word_is_an_error(catalog: PreparedDataset) -> None:
    blank = catalog.catalog.items.select("item_id", title=pl.lit(" "))
    wordless = dataclasses.replace(catalog, catalog=Catalog.of(blank))
    with pytest.raises(InputError, match="no item has a word"):
        BM25(wordless, "text")


def test_ngrams_match_another_form_of_a_word(dataset: PreparedDataset) -> None:
    request = Request("r", query="foxes")
    assert not BM25(dataset, "text").retrieve([request], 4)["r"].item_ids
    ranking = BM25(dataset, "text", with_ngrams=True).retrieve([request], 4)["r"]
    assert set(ranking.item_ids) == {"a", "c"}


def test_a_compound_matches_however_it_is_typed(write_folder: WriteFolder) -> None:
    """As for the models that it is compared with; one whose parts match counts them alone."""
    items = "item_id,title\na,Wi-Fi router\nb,xmen\nc,red router\nd,wi\ne,fi\n"
    folder = write_folder(items=items, queries=QUERIES, qrels=QRELS, interactions=None)
    retriever = BM25(load_dataset(folder), "text")
    queries = ("wifi", "x-men", "wi-fi", "wi fi")
    run = retriever.retrieve([Request(query, query=query) for query in queries], 4)
    assert run["wifi"].item_ids == ("a",)
    assert run["x-men"].item_ids == ("b",)
    assert run["wi-fi"] == run["wi fi"]
