"""Every retriever: ranks the full catalog, excludes what is excluded, keeps the tie rule."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twofold.baselines.bm25 import BM25
from twofold.baselines.documents import Documents
from twofold.baselines.item_knn import ItemKNN
from twofold.baselines.popularity import Popularity
from twofold.baselines.vectors import BiEncoder, HistoryMean
from twofold.data.dataset import Catalog
from twofold.encoders.text_encoder import TextEncoder, resolve_encoder
from twofold.records import InputError, Request, Retriever
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import resolve_config
from twofold.training.train import train


def _encoder(data: PreparedDataset) -> TextEncoder:
    found = resolve_encoder("tfidf", data.catalog.texts, data.queries["text"].to_list())
    assert found is not None
    return found


_made: list[GenerativeRetriever] = []


def _semantic(data: PreparedDataset) -> GenerativeRetriever:
    """A hardly trained model: the contract holds whatever it has learned."""
    if not _made:
        config = resolve_config(
            "quick",
            backbone="decoder:tiny",
            identifiers="semantic",
            max_steps=4,
            min_validations=1,
            text_vocab_size=400,
            precision="float32",
        )
        with tempfile.TemporaryDirectory() as folder:
            _made.append(train(data, out=Path(folder) / "m", config=config, device="cpu"))
    return _made[0]


Make = Callable[[PreparedDataset, GenerativeRetriever], Retriever]

RETRIEVERS: dict[str, Make] = {
    "popularity (search)": lambda data, _: Popularity(data, "search"),
    "popularity (recommendation)": lambda data, _: Popularity(data, "recommendation"),
    "BM25 (text)": lambda data, _: BM25(data, "text"),
    "BM25 (queries)": lambda data, _: BM25(data, "queries"),
    "BM25 (text and queries)": lambda data, _: BM25(data, "text and queries"),
    "item-kNN": lambda data, _: ItemKNN(data),
    "history mean": lambda data, _: HistoryMean(data, _encoder(data)),
    "bi-encoder": lambda data, _: BiEncoder(data, _encoder(data)),
    "documents": lambda data, _: Documents(data, _encoder(data)),
    "generative": lambda _, model: model,
    "generative, semantic IDs": lambda data, _: _semantic(data),
}
"""Each answers every request that it can read, and gives the others no item."""
NEEDS_HISTORY = {"item-kNN", "history mean"}
QUERY = "dark western film"
REQUESTS = [
    Request("query", query=QUERY),
    Request("history", history=("film-1", "film-2")),
    Request("both", query=QUERY, history=("film-3",)),
    Request("filtered", query=QUERY, exclude=frozenset({"film-4", "film-5"})),
    Request("nonsense", query="zzzz qqqq"),
]


@pytest.fixture(params=RETRIEVERS)
def any_retriever(
    request: pytest.FixtureRequest, catalog: PreparedDataset, retriever: GenerativeRetriever
) -> Retriever:
    return RETRIEVERS[request.param](catalog, retriever)


def _readable(retriever: Retriever, **changes: Any) -> Request:
    """A request that this retriever answers."""
    if retriever.name in NEEDS_HISTORY:
        return Request("r", history=("film-1", "film-2"), **changes)
    return Request("r", query=QUERY, **changes)


def test_every_request_has_a_ranking_in_order(any_retriever: Retriever) -> None:
    run = any_retriever.retrieve(REQUESTS, 10)
    assert list(run) == [request.request_id for request in REQUESTS]
    for request_id in run:
        ranking = run[request_id]
        assert len(ranking) <= 10
        assert len(set(ranking.item_ids)) == len(ranking.item_ids) == len(ranking.scores)
        pairs = list(zip(ranking.scores, ranking.item_ids, strict=True))
        assert pairs == sorted(pairs, reverse=True)


def test_what_is_excluded_does_not_come_back_and_the_rest_keeps_its_order(
    any_retriever: Retriever, catalog: PreparedDataset
) -> None:
    whole = any_retriever.retrieve([_readable(any_retriever)], len(catalog.catalog))["r"]
    exclude = frozenset(whole.item_ids[:3])
    rest = any_retriever.retrieve([_readable(any_retriever, exclude=exclude)], 10)["r"]
    assert rest.item_ids == whole.item_ids[3:13]


def test_the_whole_catalog_is_ranked_unless_words_are_missing(
    any_retriever: Retriever, catalog: PreparedDataset
) -> None:
    size = len(catalog.catalog)
    found = any_retriever.retrieve([_readable(any_retriever)], size)["r"]
    assert set(found.item_ids) <= set(catalog.catalog.item_ids)
    assert len(found) == size or any_retriever.name.startswith("BM25")


def test_company_does_not_change_an_answer(any_retriever: Retriever) -> None:
    together = any_retriever.retrieve(REQUESTS, 10)
    for request in REQUESTS:
        alone = any_retriever.retrieve([request], 10)[request.request_id]
        assert alone.item_ids == together[request.request_id].item_ids
        assert alone.scores == pytest.approx(together[request.request_id].scores, abs=1e-4)


def test_bm25_needs_a_word(catalog: PreparedDataset) -> None:
    blank = catalog.catalog.items.select("item_id", title=pl.lit("A"))
    wordless = dataclasses.replace(catalog, catalog=Catalog.of(blank))
    with pytest.raises(InputError, match="no item has a word"):
        BM25(wordless, "text")


def test_no_requests_give_an_empty_run(any_retriever: Retriever) -> None:
    assert len(any_retriever.retrieve([], 10)) == 0
