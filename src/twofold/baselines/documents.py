"""The lexical and dense match of a query with items' documents, without a generative model."""

from collections.abc import Sequence

from twofold.data.words import is_blank
from twofold.encoders.vectors import TextEncoder
from twofold.model.hybrid import build_hybrid
from twofold.records import InputError, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset

_REQUESTS = 256
"""The number of requests that are scored at once."""


class Documents:
    """The hybrid part of the arms without the model: items by the match of their documents with a
    query.

    Args:
        dataset: the items, and the training queries of their documents.
        encoder: the arms' text encoder; a sentence encoder in it adds the dense match.

    Raises:
        InputError: the documents contain no word.
    """

    def __init__(self, dataset: PreparedDataset, encoder: TextEncoder | None) -> None:
        self.name = "documents"
        self._ranker = CatalogRanker(dataset.catalog.item_ids)
        part = build_hybrid(dataset, encoder)
        if part is None:
            raise InputError(f"{dataset.source}: no document has a word, which {self.name} needs")
        self._part = part

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a query gets no items."""
        with_query = [request for request in requests if not is_blank(request.query or "")]
        rankings = {request.request_id: Ranking((), ()) for request in requests}
        for start in range(0, len(with_query), _REQUESTS):
            batch = with_query[start : start + _REQUESTS]
            scores = self._part.scores([request.query or "" for request in batch])
            rankings |= self._ranker.rank(batch, scores[:, self._ranker.order], k)
        return Run(self.name, rankings)
