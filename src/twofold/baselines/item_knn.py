"""Item-item collaborative filtering: items of the same histories are similar."""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp

from twofold.records import Floats, InputError, Ints, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker
from twofold.tasks.prepared import PreparedDataset

_REQUESTS = 256
"""The number of requests that are scored at once, so that their scores fit in the cache."""
_ENTRIES = 4_000_000
"""The number of pairs of items whose similarity is computed at once. All pairs of a catalog of
6,252 items took 1.07 GiB."""


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
        seen = _incidence(list(dataset.training_histories.values()), len(dataset.catalog))
        similarity = _similarity(seen, neighbours, shrinkage)
        self._similarity = similarity[:, self._ranker.order]

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`; a request without a history gets no items."""
        rankings = {request.request_id: Ranking((), ()) for request in requests}
        with_history = [request for request in requests if request.history]
        for start in range(0, len(with_history), _REQUESTS):
            batch = with_history[start : start + _REQUESTS]
            histories = [self._ranker.positions(request.history) for request in batch]
            scores = _incidence(histories, self._similarity.shape[0]) @ self._similarity
            rankings |= self._ranker.rank(batch, scores.toarray().astype(np.float32), k)
        return Run(self.name, rankings)


def _incidence(histories: Sequence[Ints], items: int) -> sp.csr_array:
    """Which history contains which item, (histories, items), ones and zeros."""
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    columns = np.concatenate(histories)
    shape = len(histories), items
    counted = sp.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    counted.data[:] = 1.0
    return counted


def _similarity(seen: sp.csr_array, neighbours: int, shrinkage: float) -> sp.csr_array:
    """Each row's `neighbours` largest cosines, without the item itself."""
    histories: sp.csr_array = seen.T.tocsr()
    norms: Floats = np.sqrt(np.diff(histories.indptr))
    parts = []
    for start, stop in _blocks(histories @ np.diff(seen.indptr)):
        together = (histories[start:stop] @ seen).tocsr()
        rows = start + np.repeat(np.arange(stop - start), np.diff(together.indptr))
        together.data /= norms[rows] * norms[together.indices] + shrinkage
        together.data[rows == together.indices] = 0.0
        parts.append(_largest(together, neighbours))
    similarity: sp.csr_array = sp.vstack(parts, format="csr")
    return similarity


def _blocks(entries: Floats) -> Iterator[tuple[int, int]]:
    """Consecutive rows, as (start, stop), with at most `_ENTRIES` entries together or one row.

    Args:
        entries: an upper bound of the number of entries of each row.
    """
    before = np.concatenate([[0], np.cumsum(entries)])
    start = 0
    while start < len(entries):
        most = np.searchsorted(before, before[start] + _ENTRIES, side="right") - 1
        stop = max(start + 1, int(most))
        yield start, stop
        start = stop


def _largest(similarity: sp.csr_array, neighbours: int) -> sp.csr_array:
    """The same rows with their `neighbours` largest entries, and others equal to the smallest."""
    for start, stop in zip(similarity.indptr[:-1], similarity.indptr[1:], strict=True):
        row = similarity.data[start:stop]
        if len(row) > neighbours:
            row[row < np.partition(row, -neighbours)[-neighbours]] = 0.0
    similarity.eliminate_zeros()
    return similarity
