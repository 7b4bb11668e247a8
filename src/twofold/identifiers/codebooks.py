"""Codebooks: rows that stand for the vectors nearest to them.

Invariant: every row of a codebook made here is the nearest one to some vector that it was made of.
"""

from collections.abc import Sequence

import faiss
import numpy as np

from twofold.encoders.vectors import Vectors
from twofold.records import Ints

_ITERATIONS = 25
_ROUNDS = 100
"""Of re-seeding, at most; one or two are usual."""

_SAME = 1e-6
"""Squared distance that is rounding, as a share of the mean squared length."""


def nearest(vectors: Vectors, codebook: Vectors) -> tuple[Ints, Vectors]:
    """The row of the codebook (K, D) nearest each of the vectors (N, D), and how far, squared.

    Returns:
        rows, (N,), and squared Euclidean distances, (N,).
    """
    if not len(vectors):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    distances, rows = faiss.knn(vectors, codebook, 1)
    return rows[:, 0].astype(np.int64), distances[:, 0]


def residual_codes(vectors: Vectors, codebooks: Sequence[Vectors]) -> Ints:
    """Level by level the row nearest to what the levels before left over, (N, C)."""
    rest = np.array(vectors, dtype=np.float32, order="C")
    codes = np.zeros((len(rest), len(codebooks)), np.int64)
    for level, codebook in enumerate(codebooks):
        codes[:, level], _ = nearest(rest, codebook)
        rest -= codebook[codes[:, level]]
    return codes


def k_means(vectors: Vectors, size: int, seed: int) -> Vectors:
    """Centroids, (size, D); fewer where there are fewer distinct vectors.

    They are found on 256 vectors a centroid, drawn by `seed`: more change little.
    """
    if len(vectors) <= size:
        return np.unique(vectors, axis=0)
    made = faiss.Kmeans(
        vectors.shape[1], size, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1
    )
    made.train(vectors)
    assert made.centroids is not None, "trained"
    return without_empty(made.centroids, vectors)


def without_empty(codebook: Vectors, vectors: Vectors) -> Vectors:
    """Move rows that are nearest to nothing onto the vectors that are worst served.

    Rows that are left over, since there are fewer distinct vectors than rows, are dropped.
    """
    codebook = codebook.copy()
    least = _SAME * float(np.mean(np.square(vectors), dtype=np.float64)) * vectors.shape[1]
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
        # A vector on its own centroid is no longer badly served, so the error falls every round.
        codebook[empty[: len(seeds)]] = seeds
    return codebook[used]
