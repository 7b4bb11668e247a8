"""Exact top-k with the tie rule of runs: equal scores by `item_id`, descending as strings."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from twofold.evaluation.measures import tie_order
from twofold.records import InputError, Ints, Ranking, Request


def top_k(scores: npt.NDArray[np.float32], k: int) -> tuple[Ints, npt.NDArray[np.float32]]:
    """The `k` largest scores of each row, best first; of equal ones, the leftmost.

    Args:
        scores: (B, N), columns in tie order; -inf where an item is not allowed.
        k: how many; at most N are returned.

    Returns:
        columns (B, k) and their scores (B, k).
    """
    width = scores.shape[1]
    k = min(k, width)
    if k == width:
        columns = np.argsort(-scores, axis=1, kind="stable")
        return columns, np.take_along_axis(scores, columns, axis=1)
    largest = torch.topk(torch.from_numpy(scores), k, dim=1, sorted=False).values
    threshold = largest.amin(dim=1, keepdim=True).numpy()
    kept = scores >= threshold
    if np.count_nonzero(kept) > k * len(scores):
        # Among the columns that equal the k-th largest value, the leftmost stay.
        equal = scores == threshold
        room = k - (scores > threshold).sum(axis=1, keepdims=True)
        kept &= ~equal | (np.cumsum(equal, axis=1) <= room)
    columns = np.nonzero(kept)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


class CatalogRanker:
    """Turns scores of the whole catalog into rankings: exclusions, ties, the first `k`.

    Args:
        item_ids: the catalog's item ids, in its order.
    """

    def __init__(self, item_ids: Sequence[str]) -> None:
        self.order = tie_order(item_ids)
        self._item_ids = np.asarray(item_ids, dtype=object)
        self._column = np.argsort(self.order)
        self._positions = {item_id: n for n, item_id in enumerate(item_ids)}

    def positions(self, item_ids: Iterable[str]) -> Ints:
        """The catalog positions of items.

        Raises:
            InputError: an item is not in the catalog.
        """
        try:
            return np.array([self._positions[i] for i in item_ids], dtype=np.int64)
        except KeyError as error:
            raise InputError(
                f"item '{error.args[0]}' is not in the catalog of {len(self._positions)} items; "
                f"use an item_id of the items table"
            ) from error

    def rank(
        self,
        requests: Sequence[Request],
        scores: npt.NDArray[np.float32],
        k: int,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> dict[str, Ranking]:
        """The `k` best items that each request allows.

        Args:
            requests: B requests.
            scores: (B, N), columns in `order`; changed in place: excluded items become -inf.
            k: the most items of a ranking.
            allowed: items that may be returned for any of the requests, (N,); all by default.
        """
        for row, request in enumerate(requests):
            scores[row, self._column[self.positions(request.exclude)]] = -np.inf
        order = self.order
        if allowed is not None and not allowed.all():
            # Columns are left out instead of set to -inf: top-k is slow among many equal values.
            kept = np.flatnonzero(allowed[order])
            order, scores = order[kept], scores[:, kept]
        columns, values = top_k(scores, k)
        rankings = {}
        for row, request in enumerate(requests):
            filled = values[row] > -np.inf
            rankings[request.request_id] = Ranking(
                item_ids=tuple(self._item_ids[order[columns[row][filled]]]),
                scores=tuple(values[row][filled].tolist()),
            )
        return rankings
