"""Codebooks of vector quantization: a vector's code is the nearest row of the codebook.

Invariant: every row of a codebook is the nearest row of some vector that it was fitted on.

Shapes: N vectors, K rows of a codebook, D width, C levels.
"""

from collections.abc import Sequence

import faiss
import numpy as np

from twofold.encoders.vectors import Vectors
from twofold.records import Ints

_ITERATIONS = 25
"""Iterations of k-means."""
_ROUNDS = 100
"""The largest number of rounds of moving unused rows; one or two are usual."""
_ROUNDING = 1e-6
"""Squared distances below this share of the mean squared length are rounding errors."""


def nearest(vectors: Vectors, codebook: Vectors) -> tuple[Ints, Vectors]:
    """The row of the codebook (K, D) that is nearest to each of the vectors (N, D).

    Returns:
        rows, (N,), and their squared Euclidean distances, (N,).
    """
    if not len(vectors):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    distances, rows = faiss.knn(vectors, codebook, 1)
    return rows[:, 0].astype(np.int64), distances[:, 0]


def residual_codes(vectors: Vectors, codebooks: Sequence[Vectors]) -> Ints:
    """The codes of vectors, (N, D) -> (N, C).

    A level's code is the row nearest to the residual after the levels before it.
    """
    residuals = np.array(vectors, dtype=np.float32, order="C")
    codes = np.zeros((len(residuals), len(codebooks)), np.int64)
    for level, codebook in enumerate(codebooks):
        codes[:, level], _ = nearest(residuals, codebook)
        residuals -= codebook[codes[:, level]]
    return codes


def k_means(vectors: Vectors, size: int, seed: int) -> Vectors:
    """Centroids, (size, D); fewer where there are fewer distinct vectors.

    They are fitted on at most 256 vectors for each centroid, drawn by `seed`: more change little.
    """
    if len(vectors) <= size:
        return np.unique(vectors, axis=0)
    clusters = faiss.Kmeans(
        vectors.shape[1], size, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1
    )
    clusters.train(vectors)
    assert clusters.centroids is not None, "trained"
    return without_empty(clusters.centroids, vectors)


def without_empty(codebook: Vectors, vectors: Vectors) -> Vectors:
    """A codebook (K, D) without rows that are nearest to none of the vectors (N, D).

    Such rows are moved onto the vectors with the largest error. Rows that remain unused, since
    there are fewer distinct vectors than rows, are dropped.
    """
    codebook = codebook.copy()
    least = _ROUNDING * float(np.mean(np.square(vectors), dtype=np.float64)) * vectors.shape[1]
    for _ in range(_ROUNDS):
        rows, distances = nearest(vectors, codebook)
        used = np.bincount(rows, minlength=len(codebook)) > 0
        empty = np.flatnonzero(~used)
        if not len(empty):
            break
        worst = np.argsort(-distances, kind="stable")[: len(empty)]
        seeds = np.unique(vectors[worst[distances[worst] > least]], axis=0)
        if not len(seeds):
            break
        # A vector that has become a row has no error, so the error falls in every round.
        codebook[empty[: len(seeds)]] = seeds
    return codebook[used]
