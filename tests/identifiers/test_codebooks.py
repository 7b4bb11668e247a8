"""Codebooks: the nearest rows, and rows that no vector is nearest to."""

import numpy as np
import pytest

from twofold.identifiers.codebooks import k_means, nearest, without_empty


def test_the_nearest_row_is_the_one_that_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 12)).astype(np.float32)
    codebook = rng.normal(size=(20, 12)).astype(np.float32)
    distances = ((vectors[:, None] - codebook[None]) ** 2).sum(axis=2)
    rows, errors = nearest(vectors, codebook)
    assert np.array_equal(rows, distances.argmin(axis=1))
    assert errors == pytest.approx(distances.min(axis=1), rel=1e-3)


def test_idle_rows_move_to_the_vectors_with_the_largest_error() -> None:
    vectors = np.array([[0, 0], [1, 0], [9, 9], [9, 9]], np.float32)
    idle = np.array([[0.5, 0], [77, 77], [88, 88]], np.float32)
    moved = without_empty(idle, vectors)
    assert sorted(moved.tolist()) == [[0.0, 0.0], [0.5, 0.0], [9.0, 9.0]]
    assert len(k_means(vectors[2:], 4, seed=0)) == 1
