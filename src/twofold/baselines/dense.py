"""Dense retrieval: the item texts nearest to a query, or to the mean of a history."""

from collections.abc import Mapping, Sequence

import numpy as np

from twofold.data.words import is_blank
from twofold.encoders.vectors import TextEncoder
from twofold.records import Floats, InputError, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset

_REQUESTS = 256
"""The number of requests that are scored at once."""
_LAST = 20
"""The number of items of a history that `FrozenEncoder` reads."""


class _Nearest:
    """Items by the cosine between the embeddings of their text and of the request.

    Raises:
        InputError: no item text has a word that the encoder knows.
    """

    def __init__(self, name: str, dataset: PreparedDataset, encoder: TextEncoder) -> None:
        self.name = name
        self._ranker = CatalogRanker(dataset.catalog.item_ids)
        # Products in double precision round to the same float32 in a batch of any size, so ties
        # stay ties.
        self._items = encoder.encode(dataset.catalog.texts).astype(np.float64)
        if not self._items.any():
            raise InputError(f"{dataset.source}: no item has a text, which {name} needs")

    def _rankings(self, requests: Sequence[Request], vectors: Floats, k: int) -> dict[str, Ranking]:
        columns = self._items[self._ranker.order].T
        rankings: dict[str, Ranking] = {}
        for start in range(0, len(requests), _REQUESTS):
            batch = slice(start, start + _REQUESTS)
            scores = (vectors[batch] @ columns).astype(np.float32)
            rankings |= self._ranker.rank(requests[batch], scores, k)
        return rankings

    def _run(self, requests: Sequence[Request], rankings: Mapping[str, Ranking]) -> Run:
        """The run of all requests; one without a ranking gets no items."""
        nothing = Ranking((), ())
        return Run(self.name, {r.request_id: rankings.get(r.request_id, nothing) for r in requests})


class BiEncoder(_Nearest):
    """One encoder for query and item text, compared by cosine."""

    def __init__(
        self, dataset: PreparedDataset, encoder: TextEncoder, name: str = "bi-encoder"
    ) -> None:
        super().__init__(name, dataset, encoder)
        self._encoder = encoder

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a query gets no items."""
        with_query = [request for request in requests if not is_blank(request.query or "")]
        vectors = self._encoder.encode([request.query or "" for request in with_query])
        rankings = self._rankings(with_query, vectors.astype(np.float64), k)
        return self._run(requests, rankings)


class HistoryMean(_Nearest):
    """The mean embedding of a history's last items, compared by cosine.

    Args:
        last: the number of items of the history that are used; all if None.
    """

    def __init__(
        self, dataset: PreparedDataset, encoder: TextEncoder, last: int | None = None
    ) -> None:
        super().__init__("history mean", dataset, encoder)
        self._last = last

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a history gets no items."""
        with_history = [request for request in requests if request.history]
        vectors = np.zeros((len(with_history), self._items.shape[1]))
        for place, request in enumerate(with_history):
            history = self._ranker.positions(request.history)
            vectors[place] = self._items[history[-(self._last or len(history)) :]].mean(axis=0)
        rankings = self._rankings(with_history, vectors, k)
        return self._run(requests, rankings)


class FrozenEncoder(_Nearest):
    """One encoder for both tasks, trained on neither: the mean embedding of a request's query and
    of the last items of its history, compared with the items by cosine.
    """

    def __init__(self, dataset: PreparedDataset, encoder: TextEncoder) -> None:
        super().__init__("frozen encoder", dataset, encoder)
        self._encoder = encoder

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request with neither a query nor a history gets no
        items.
        """
        usable = [r for r in requests if r.history or not is_blank(r.query or "")]
        vectors = np.zeros((len(usable), self._items.shape[1]))
        queries = [n for n, r in enumerate(usable) if not is_blank(r.query or "")]
        vectors[queries] = self._encoder.encode([usable[n].query or "" for n in queries])
        for place, request in enumerate(usable):
            history = self._ranker.positions(request.history)[-_LAST:]
            if len(history):
                vectors[place] += self._items[history].mean(axis=0)
        rankings = self._rankings(usable, vectors, k)
        return self._run(requests, rankings)
