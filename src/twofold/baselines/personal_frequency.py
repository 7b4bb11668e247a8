"""What a user had before, most frequent first: the baseline where items repeat."""

from collections.abc import Sequence

import numpy as np

from twofold.records import Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset

_REQUESTS = 256
"""The number of requests that are scored at once."""


class PersonalFrequency:
    """The items of the history by how often they occur in it, and then the most popular ones.

    It is GP-TopFreq of Li et al. (ACM TOIS 2023), who found it above most neural models of shopping
    baskets. Where seen items are excluded, it is popularity.

    Args:
        dataset: the training histories, whose popularity decides between equal counts.
        decay: the weight of an item of the history, as a multiple of that of the next one.
    """

    name = "personal frequency"

    def __init__(self, dataset: PreparedDataset, decay: float = 1.0) -> None:
        self._ranker = CatalogRanker(dataset.catalog.item_ids)
        counts = dataset.task("recommendation").popularity.astype(np.float32)
        # Less than 1, the count of the last item of a history.
        self._popularity = counts / (counts.sum() + 1)
        self._decay = decay

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; without a history, the most popular items."""
        rankings: dict[str, Ranking] = {}
        for start in range(0, len(requests), _REQUESTS):
            batch = requests[start : start + _REQUESTS]
            scores = np.tile(self._popularity, (len(batch), 1))
            for row, request in zip(scores, batch, strict=True):
                history = self._ranker.positions(request.history)
                ages = np.arange(len(history))[::-1]
                np.add.at(row, history, self._decay**ages)
            rankings |= self._ranker.rank(batch, scores[:, self._ranker.order], k)
        return Run(self.name, rankings)
