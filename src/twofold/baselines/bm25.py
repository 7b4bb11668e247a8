"""BM25 over what is written of an item: its text, the training queries it answers, or both."""

from collections.abc import Sequence
from typing import Literal

import bm25s
import numpy as np

from twofold.evaluation.runs import rank
from twofold.records import InputError, Ranking, Request, Run
from twofold.tasks.examples import training_examples
from twofold.tasks.prepared import PreparedDataset

Field = Literal["text", "queries", "text and queries"]
FIELDS: tuple[Field, ...] = ("text", "queries", "text and queries")


class BM25:
    """Lucene's BM25 (k1 = 1.5, b = 0.75) by bm25s; words in lower case, English stop words cut.

    Only items that share a word with the query come back, so a request may get fewer than `k`.

    Raises:
        InputError: no item has a word.
    """

    def __init__(self, dataset: PreparedDataset, field: Field) -> None:
        self.name = f"BM25 ({field})"
        self._item_ids = dataset.catalog.item_ids
        words = _words(_documents(dataset, field))
        if not any(words):
            raise InputError(f"{dataset.source}: no item has a word for {self.name} to find it by")
        self._index = bm25s.BM25()
        self._index.index(words, show_progress=False)

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a query gets no answer."""
        return Run(self.name, {request.request_id: self._rank(request, k) for request in requests})

    def _rank(self, request: Request, k: int) -> Ranking:
        if not (request.query or "").strip():
            return Ranking((), ())
        words = [w for w in _words([request.query or ""])[0] if w in self._index.vocab_dict]
        if not words:
            return Ranking((), ())
        scores = self._index.get_scores(words)
        found = [(self._item_ids[n], float(scores[n])) for n in np.flatnonzero(scores > 0)]
        best = rank(pair for pair in found if pair[0] not in request.exclude)
        return Ranking(best.item_ids[:k], best.scores[:k])


def _words(texts: list[str]) -> list[list[str]]:
    words: list[list[str]] = bm25s.tokenize(
        texts, stopwords="en", return_ids=False, show_progress=False
    )
    return words


def _documents(dataset: PreparedDataset, field: Field) -> list[str]:
    parts: list[list[str]] = [[text] for text in dataset.catalog.texts]
    if field == "queries":
        parts = [[] for _ in parts]
    if field != "text":
        for example in training_examples(dataset, "search"):
            for target in example.targets:
                parts[target].append(example.query or "")
    return [" ".join(part) for part in parts]
