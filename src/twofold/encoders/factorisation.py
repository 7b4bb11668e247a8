"""Items that stand near each other in histories get similar vectors: nothing but events is read.

Positive pointwise mutual information of items within a window of histories, and its leading
singular vectors: what word2vec with negative sampling factorises implicitly (Levy and Goldberg,
NIPS 2014, for the settings Levy, Goldberg and Dagan, TACL 2015).
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
"""Events apart that still count as near; also what bounds the memory."""

_SMOOTHING = 0.75
"""Power of an item's frequency as a context: without it, rare neighbours win."""


def item_factors(dataset: PreparedDataset, width: int = 64, seed: int = 0) -> Vectors:
    """Unit vectors of the items, (N, width), in catalog order; zero for items without events.

    Args:
        dataset: whose training histories are read.
        width: of a vector; trailing columns are zero where the data hold fewer dimensions.
        seed: of the randomised decomposition.

    Raises:
        InputError: no user has two training events.
    """
    return leading_factors(nearness(dataset), width, seed)


def nearness(dataset: PreparedDataset) -> sp.csr_array:
    """Positive pointwise mutual information of two items' standing near, (N, N), symmetric rows.

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
    found: sp.csr_array = positive.tocsr()
    found.eliminate_zeros()
    return found


def leading_factors(matrix: sp.csr_array, width: int, seed: int) -> Vectors:
    """Unit vectors of the rows, (N, width): left singular vectors times the values."""
    rank = min(width, *matrix.shape)
    left, values, _ = randomized_svd(matrix, rank, random_state=seed)
    # What has no singular value is rounding, and must not become a direction.
    kept = np.where(values > 1e-7 * values[0], values, 0)
    found = np.zeros((matrix.shape[0], width), np.float32)
    found[:, :rank] = left * kept
    found[np.diff(matrix.indptr) == 0] = 0
    # Not `unit`, whose sums have another order: fresh weights start from these bits.
    return np.asarray(normalize(found, copy=False), dtype=np.float32)


def _near(histories: Sequence[Ints], items: int) -> sp.csr_array:
    """How often two items stand near, (items, items); a pair d events apart counts 1/d."""
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
