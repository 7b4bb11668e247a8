"""Exact top-k with the tie rule of runs: equal scores by `item_id`, descending as strings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twofold.records import Ints

TIE_RULE = "equal scores by item_id, descending as strings"


def tie_order(item_ids: Sequence[str]) -> Ints:
    """Catalog positions with the item that wins a tie first."""
    return np.asarray(sorted(range(len(item_ids)), key=item_ids.__getitem__, reverse=True))


def top_k(scores: npt.NDArray[np.float32], k: int) -> tuple[Ints, npt.NDArray[np.float32]]:
    """The `k` largest of each row, best first; of equal ones, the leftmost.

    Args:
        scores: (B, N); columns in tie order; -inf where an item is not allowed.

    Returns:
        columns (B, k) and their scores (B, k).
    """
    width = scores.shape[1]
    k = min(k, width)
    if k == width:
        columns = np.argsort(-scores, axis=1, kind="stable")
        return columns, np.take_along_axis(scores, columns, axis=1)
    # Partition finds the k-th largest value; of the columns that equal it the leftmost stay.
    threshold = np.partition(scores, width - k, axis=1)[:, width - k, None]
    above = scores > threshold
    equal = scores == threshold
    room = k - above.sum(axis=1, keepdims=True)
    kept = above | (equal & (np.cumsum(equal, axis=1) <= room))
    columns = np.nonzero(kept)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
