"""Rows of numbers that stand for texts or items, compared by their cosines."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_Real = TypeVar("_Real", np.float32, np.float64)


def unit(vectors: npt.NDArray[_Real]) -> npt.NDArray[_Real]:
    """The rows of `vectors`, (N, D), scaled to unit length in their own precision.

    A row of zeros stands for a text or an item of which nothing is known, and stays as it is.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=vectors.dtype)


def principal_axes(vectors: Vectors, number: int) -> npt.NDArray[np.float64]:
    """The axes along which vectors, (N, D), have the largest second moment, (D, number).

    Fewer where D is smaller; for centred vectors these are the principal components.
    """
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return axes[:, ::-1][:, :number]
