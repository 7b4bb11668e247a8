"""BM25 over an item's text, the training queries for which it is relevant, or both."""

from collections.abc import Sequence
from typing import Literal

import bm25s
import numpy as np

from twofold.data.words import document_terms, joined, terms
from twofold.records import InputError, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.training_data import item_documents

Field = Literal["text", "queries", "text and queries"]
FIELDS: tuple[Field, ...] = ("text", "queries", "text and queries")


class BM25:
    """Lucene's BM25 by bm25s, on the words of `twofold.data.words` or on words and n-grams.

    As in the lexical match of models, a document's compound is one more word of it, so that `wifi`
    finds Wi-Fi.

    Only items that share a term with the query are returned, so a request may get fewer than `k`.

    Args:
        dataset: the items, and the training queries.
        field: the content of an item's document.
        k1: saturation of the term frequency: how much a repeated word adds.
        b: length normalisation: how much the score of a long document is reduced.
        with_ngrams: whether words and their character n-grams are matched, instead of words alone.

    Raises:
        InputError: no item has a word.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        field: Field,
        k1: float = 1.5,
        b: float = 0.75,
        *,
        with_ngrams: bool = False,
    ) -> None:
        self.name = f"BM25 ({field})"
        self._with_ngrams = with_ngrams
        self._ranker = CatalogRanker(dataset.catalog.item_ids)
        cut = [document_terms(t, with_ngrams=with_ngrams) for t in _documents(dataset, field)]
        if not any(cut):
            raise InputError(f"{dataset.source}: no item has a word, which {self.name} needs")
        self._index = bm25s.BM25(k1=k1, b=b)
        self._index.index(cut, show_progress=False)

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a query gets no items."""
        rankings: dict[str, Ranking] = {}
        for request in requests:
            rankings |= self._rank(request, k)
        return Run(self.name, rankings)

    def _rank(self, request: Request, k: int) -> dict[str, Ranking]:
        query, vocabulary = request.query or "", self._index.vocab_dict
        query_terms = terms(query, with_ngrams=self._with_ngrams)
        known = [term for term in query_terms if term in vocabulary] + joined(query, vocabulary)
        if not known:
            return {request.request_id: Ranking((), ())}
        scores = self._index.get_scores(known)[self._ranker.order].astype(np.float32)
        scores[scores <= 0] = -np.inf
        return self._ranker.rank([request], scores[None], k)


def _documents(dataset: PreparedDataset, field: Field) -> list[str]:
    texts = dataset.catalog.texts
    if field == "text":
        return list(texts)
    documents = item_documents(dataset.catalog.texts, dataset.task("search").queries_by_item)
    if field == "queries":
        return [document[len(text) :] for document, text in zip(documents, texts, strict=True)]
    return documents
