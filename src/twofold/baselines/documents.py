"""What a query shares with items' documents: the hybrid part of the arms, without the model."""

from collections.abc import Sequence

from twofold.encoders.text_encoder import TextEncoder
from twofold.records import InputError, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset
from twofold.training.fit_hybrid import hybrid_part

_REQUESTS = 256


class Documents:
    """Items by what their text and training queries have in common with a query.

    Args:
        dataset: whose items are found.
        encoder: of the arms; its sentence encoder counts beside the words.

    Raises:
        InputError: there is no word to find an item by.
    """

    def __init__(self, dataset: PreparedDataset, encoder: TextEncoder | None) -> None:
        self.name = "documents"
        self._ranker = CatalogRanker(dataset.catalog.item_ids)
        part = hybrid_part(dataset, encoder)
        if part is None:
            raise InputError(f"{dataset.source}: no word occurs twice for {self.name} to go by")
        self._part = part

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a query gets no answer."""
        asked = [request for request in requests if (request.query or "").strip()]
        found = {request.request_id: Ranking((), ()) for request in requests}
        for start in range(0, len(asked), _REQUESTS):
            batch = asked[start : start + _REQUESTS]
            scores = self._part.scores([request.query or "" for request in batch])
            found |= self._ranker.rank(batch, scores[:, self._ranker.order], k)
        return Run(self.name, found)
