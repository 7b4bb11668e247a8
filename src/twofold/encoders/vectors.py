"""Vectors of texts and items, which are compared by cosine, and the protocol of text encoders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Vectors = npt.NDArray[np.float32]


class TextEncoder(Protocol):
    """The protocol of a text encoder: similar texts have similar vectors.

    Attributes:
        width: E, the length of a vector.

    An encoder that is or contains a sentence encoder has it as its attribute `sentence`, which
    `text_encoder.sentence_encoder_of` reads.
    """

    @property
    def width(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, (len(texts), E); zero for a text without a known word."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `text_encoder.load_encoder` needs into a model folder."""
        ...


_Real = TypeVar("_Real", np.float32, np.float64)


def unit(vectors: npt.NDArray[_Real]) -> npt.NDArray[_Real]:
    """The rows of `vectors`, (N, D), scaled to unit length in their own precision.

    A row of zeros stands for a text or an item without data, and stays unchanged.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=vectors.dtype)


def principal_axes(vectors: Vectors, number: int) -> npt.NDArray[np.float64]:
    """The axes along which vectors, (N, D), have the largest second moment, (D, number).

    There are fewer if D is smaller; for centred vectors these are the principal components.
    """
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return axes[:, ::-1][:, :number]


def singular_vectors(
    matrix: sp.csr_array | sp.csc_array, number: int, iterations: int, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """About the largest singular values of a matrix (N, M), by random projections.

    Halko, Martinsson and Tropp (SIAM Review 2011), with ten more vectors than asked for. The bits
    are those of scikit-learn's `randomized_svd`, whose import holds 130 MB.

    Args:
        matrix: the matrix.
        number: how many, at most N and M.
        iterations: the number of power iterations.
        seed: the random seed of the projections.

    Returns:
        left vectors (N, number), values (number,), right vectors (number, M).
    """
    # Imported here, as answering a request needs no decomposition: .4 s and 75 MB.
    import scipy.linalg

    if matrix.shape[0] < matrix.shape[1]:
        right, values, left = singular_vectors(matrix.T, number, iterations, seed)
        return left.T, values, right.T
    drawn = np.random.RandomState(seed).normal(size=(matrix.shape[1], number + 10))
    for _ in range(iterations):
        drawn, _ = scipy.linalg.lu(matrix @ drawn, permute_l=True, check_finite=False)
        drawn, _ = scipy.linalg.lu(matrix.T @ drawn, permute_l=True, check_finite=False)
    basis, _ = scipy.linalg.qr(matrix @ drawn, mode="economic", check_finite=False)
    within, values, right = scipy.linalg.svd(
        basis.T @ matrix, full_matrices=False, lapack_driver="gesdd", check_finite=False
    )
    left = basis @ within
    return left[:, :number], values[:number], right[:number]


def svd_flip(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Singular vectors, (number, M), with the signs that make each one's largest entry positive."""
    largest = np.abs(vectors).argmax(axis=1)
    signs: npt.NDArray[np.float64] = np.sign(vectors[np.arange(len(vectors)), largest])
    return vectors * signs[:, None]
