"""The most popular items of one task's training data, the same for every request."""

from collections.abc import Sequence

import numpy as np

from twofold.records import Ranking, Request, Run, Task
from twofold.tasks.prepared import PreparedDataset


class Popularity:
    """Items by their number of occurrences in the training data of `task`."""

    def __init__(self, dataset: PreparedDataset, task: Task) -> None:
        self.name = f"popularity ({task})"
        counts = dataset.task(task).popularity
        item_ids = dataset.catalog.item_ids
        order = sorted(range(len(item_ids)), key=lambda n: (counts[n], item_ids[n]), reverse=True)
        self._item_ids = [item_ids[n] for n in order]
        self._counts = np.asarray(counts[order], dtype=np.float64).tolist()

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`."""
        return Run(self.name, {request.request_id: self._rank(request, k) for request in requests})

    def _rank(self, request: Request, k: int) -> Ranking:
        item_ids: list[str] = []
        scores: list[float] = []
        for item_id, count in zip(self._item_ids, self._counts, strict=True):
            if len(item_ids) == k:
                break
            if item_id not in request.exclude:
                item_ids.append(item_id)
                scores.append(count)
        return Ranking(tuple(item_ids), tuple(scores))
