"""Item-item collaborative filtering: items of the same histories are similar."""

from collections.abc import Sequence

import numpy as np

from twofold.encoders.item_vectors import incidence, shared_users
from twofold.records import InputError, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset

_REQUESTS = 256
"""The number of requests that are scored at once, so that their scores fit in the cache."""


class ItemKNN:
    """Item-based collaborative filtering (Deshpande and Karypis, TOIS 2004).

    The similarity of two items is the cosine of their columns of the user-item matrix, shrunk if
    few users have both. An item's score is the sum of its similarities to the items of the history,
    each of which has its `neighbours` most similar items.

    Args:
        dataset: the training histories.
        neighbours: the number of similar items that are kept for each item.
        shrinkage: added to the denominator of the cosine.

    Raises:
        InputError: the dataset has no interactions.
    """

    name = "item-kNN"

    def __init__(
        self, dataset: PreparedDataset, neighbours: int = 100, shrinkage: float = 10.0
    ) -> None:
        if not dataset.training_histories:
            raise InputError(f"{dataset.source}: no interactions, which {self.name} needs")
        self._ranker = CatalogRanker(dataset.catalog.item_ids)
        seen = incidence(dataset.training_histories.values(), len(dataset.catalog))
        similarity = shared_users(seen, neighbours, shrinkage)
        self._similarity = similarity[:, self._ranker.order]

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a history gets no items."""
        rankings = {request.request_id: Ranking((), ()) for request in requests}
        with_history = [request for request in requests if request.history]
        for start in range(0, len(with_history), _REQUESTS):
            batch = with_history[start : start + _REQUESTS]
            histories = [self._ranker.positions(request.history) for request in batch]
            scores = incidence(histories, self._similarity.shape[0]) @ self._similarity
            rankings |= self._ranker.rank(batch, scores.toarray().astype(np.float32), k)
        return Run(self.name, rankings)
