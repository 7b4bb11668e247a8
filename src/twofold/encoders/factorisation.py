"""Item vectors from histories: items that occur near each other get similar vectors.

Positive pointwise mutual information of items within a window of the histories, and its leading
singular vectors, which word2vec with negative sampling factorises implicitly (Levy and Goldberg,
NIPS 2014; the settings are from Levy, Goldberg and Dagan, TACL 2015). Reads events only.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from twofold.encoders.vectors import Vectors
from twofold.records import Ints
from twofold.tasks.prepared import PreparedDataset

_WINDOW = 5
"""Two items are near if they are at most so many events apart; it also bounds the memory."""

_SMOOTHING = 0.75
"""The power of an item's frequency as a context: with 1, rare neighbours dominate."""


def item_factors(dataset: PreparedDataset, width: int = 64, seed: int = 0) -> Vectors:
    """Unit vectors of the items, (N, width), in catalog order; zero for items without events.

    Args:
        dataset: the training histories are read.
        width: the width of a vector; trailing columns are zero where the data have fewer
            dimensions.
        seed: the random seed of the decomposition.

    Raises:
        InputError: no user has two training events.
    """
    return leading_factors(nearness(dataset), width, seed)


def nearness(dataset: PreparedDataset) -> sp.csr_array:
    """Positive pointwise mutual information of two items' occurring near each other, (N, N).

    Raises:
        InputError: no user has two training events.
    """
    dataset.task("recommendation").require_examples()
    together = _near(list(dataset.training_histories.values()), len(dataset.catalog)).tocoo()
    counts = together.sum(axis=1)
    context = counts**_SMOOTHING
    shares = context / (context.sum() or 1.0)
    rows, columns = together.coords
    information = np.log(together.data / (counts[rows] * shares[columns]))
    positive = sp.coo_array((np.maximum(information, 0), (rows, columns)), shape=together.shape)
    table: sp.csr_array = positive.tocsr()
    table.eliminate_zeros()
    return table


def leading_factors(matrix: sp.csr_array, width: int, seed: int) -> Vectors:
    """Unit vectors of a matrix's rows, (N, width): left singular vectors times singular values."""
    rank = min(width, *matrix.shape)
    left, values, _ = randomized_svd(matrix, rank, random_state=seed)
    # Directions with a singular value of about zero are rounding errors.
    kept = np.where(values > 1e-7 * values[0], values, 0)
    factors = np.zeros((matrix.shape[0], width), np.float32)
    factors[:, :rank] = left * kept
    factors[np.diff(matrix.indptr) == 0] = 0
    # Not `unit`, whose sums have another order: fresh weights start from these bits.
    return np.asarray(normalize(factors, copy=False), dtype=np.float32)


def _near(histories: Sequence[Ints], items: int) -> sp.csr_array:
    """How often two items are near, (items, items); a pair d events apart counts 1/d."""
    flat = np.concatenate(histories)
    user = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    total: sp.csr_array = sp.csr_array((items, items), dtype=np.float64)
    for apart in range(1, _WINDOW + 1):
        same = user[:-apart] == user[apart:]
        pairs = flat[:-apart][same], flat[apart:][same]
        weights = np.full(len(pairs[0]), 1 / apart)
        total = total + sp.coo_array((weights, pairs), shape=total.shape).tocsr()
    both: sp.csr_array = (total + total.T).tocsr()
    both.setdiag(0)
    both.eliminate_zeros()
    return both
