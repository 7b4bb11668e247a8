"""Unit vectors and principal axes."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from twofold.encoders.vectors import principal_axes, singular_vectors, svd_flip, unit


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_rows_get_unit_length_in_their_precision_and_zeros_stay(precision: type) -> None:
    scaled = unit(np.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]], precision))
    assert scaled.dtype == precision
    assert scaled == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]))


def test_the_first_axis_has_the_largest_moment() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(400, 3)) * [1.0, 9.0, 3.0]).astype(np.float32)
    axes = np.abs(principal_axes(vectors, 2))
    assert axes == pytest.approx(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), abs=0.1)
    assert principal_axes(vectors, 9).shape == (3, 3)


@pytest.mark.parametrize("shape", [(90, 40), (40, 90)])
def test_singular_vectors_have_the_bits_of_scikit_learn(shape: tuple[int, int]) -> None:
    dense = np.random.default_rng(0).random(shape)
    matrix = sp.csr_array(np.where(dense > 0.8, dense, 0))
    left, values, right = singular_vectors(matrix, 8, iterations=5, seed=3)
    theirs = randomized_svd(matrix, 8, n_iter=5, random_state=3)
    assert np.array_equal(values, theirs[1])
    assert np.array_equal(svd_flip(left.T).T, theirs[0])
    assert np.array_equal(np.abs(right), np.abs(theirs[2]))
