"""Every quantizer: codes in range, the same for a seed, and for vectors it was not fitted on."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.encoders.vectors import Vectors
from twofold.identifiers import rq_vae
from twofold.identifiers.identifiers import QuantizerName
from twofold.identifiers.quantizers import (
    QUANTIZERS,
    Quantizer,
    ResidualKMeans,
    RqVae,
    SparseDictionary,
    fit_quantizer,
)
from twofold.records import Floats, InputError, Ints

every = pytest.mark.parametrize("name", QUANTIZERS)
residual = pytest.mark.parametrize("name", ["rq-kmeans", "rq-vae"])


@pytest.fixture(autouse=True, scope="module")
def _short() -> Iterator[None]:
    """Seconds of training become fractions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rq_vae, "STEPS", 120)
        patch.setattr(rq_vae, "_IDLE_STEPS", 20)
        yield


def _random(items: int, width: int = 12, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(items, width)).astype(np.float32)


def _clusters(items: int = 240, groups: int = 8, width: int = 16) -> tuple[Vectors, Ints]:
    """Unit vectors around `groups` orthogonal ones, and the group of each."""
    rng = np.random.default_rng(1)
    group = rng.permutation(np.arange(items) % groups)
    vectors = np.eye(width)[group] + 0.05 * rng.normal(size=(items, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), group


@every
def test_codes_are_in_range_and_a_seed_gives_the_same_ones(name: QuantizerName) -> None:
    vectors = _random(300)
    made = fit_quantizer(name, vectors, 3, 16, seed=4)
    codes = made.encode(vectors)
    assert codes.shape == (300, 3)
    assert codes.dtype == np.int64
    assert made.codebook_sizes == (16, 16, 16)
    assert ((codes >= 0) & (codes < 16)).all()
    again = fit_quantizer(name, vectors, 3, 16, seed=4)
    assert np.array_equal(again.encode(vectors), codes)


@every
def test_a_vector_has_the_same_codes_alone_and_among_others(name: QuantizerName) -> None:
    vectors, later = _random(200), _random(50, seed=9)
    made = fit_quantizer(name, vectors, 2, 16)
    alone = np.concatenate([made.encode(row[None]) for row in later])
    assert np.array_equal(alone, made.encode(later))
    assert made.encode(later[:0]).shape == (0, 2)


@every
@settings(max_examples=12)
@given(items=st.integers(1, 40), distinct=st.integers(1, 40), zeros=st.booleans())
def test_few_or_equal_vectors_get_codes(
    name: QuantizerName, items: int, distinct: int, zeros: bool
) -> None:
    vectors = _random(distinct)[np.arange(items) % distinct]
    if zeros:
        vectors[: items // 2 + 1] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rq_vae, "STEPS", 3)
        made = fit_quantizer(name, vectors, 2, 16)
    codes = made.encode(vectors)
    assert ((codes >= 0) & (codes < made.codebook_sizes)).all()
    same = (vectors[:, None] == vectors[None]).all(axis=2)
    assert (codes[:, None] == codes[None]).all(axis=2)[same].all()


@residual
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_no_code_is_idle(name: QuantizerName, seed: int) -> None:
    # Ten far outliers and a dense cloud: where plain k-means leaves codes without vectors.
    vectors = np.vstack([0.1 * _random(90, seed=seed), 10 * _random(10, seed=seed + 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rq_vae, "STEPS", 10)
        made = fit_quantizer(name, vectors, 2, 32, seed=seed)
    codes = made.encode(vectors)
    assert made.codebook_sizes[0] == 32
    for level, size in enumerate(made.codebook_sizes):
        assert len(np.unique(codes[:, level])) == size


@every
def test_more_levels_reduce_the_error(name: QuantizerName) -> None:
    vectors = _random(600, width=8)
    made = fit_quantizer(name, vectors, 4, 16)
    codes = made.encode(vectors)
    if isinstance(made, RqVae):  # its codes are of what its encoder makes of the vectors
        vectors = made.latent(vectors)
    rests = [vectors - _decoded(made, vectors, codes[:, :depth]) for depth in range(1, 5)]
    errors = [float(np.mean(rest**2)) for rest in rests]
    assert all(after < 0.85 * before for before, after in pairwise(errors))


def _decoded(made: Quantizer, vectors: Vectors, codes: Ints) -> Floats:
    """What the codes say of the vectors: the best sum of one row of each level's codebook."""
    if isinstance(made, SparseDictionary):
        return made.reconstructed(vectors.astype(np.float64), codes)
    if isinstance(made, ResidualKMeans | RqVae):
        rows = [made.codebooks[level][column] for level, column in enumerate(codes.T)]
        return np.asarray(np.sum(rows, axis=0), np.float64)
    chosen = np.hstack([np.eye(made.codebook_sizes[0])[column] for column in codes.T])
    return np.asarray(chosen @ np.linalg.lstsq(chosen, vectors, rcond=None)[0])


@pytest.mark.parametrize("name", ["rq-kmeans", "rq-vae", "dictionary"])
def test_the_first_code_is_the_cluster(name: QuantizerName) -> None:
    vectors, group = _clusters()
    codes = fit_quantizer(name, vectors, 2, 8).encode(vectors)[:, 0]
    assert len(set(zip(codes.tolist(), group.tolist(), strict=True))) == 8


def test_signs_distinguish_the_corners_of_a_box() -> None:
    corners = np.array([[x, y, z] for x in (-4, 4) for y in (-2, 2) for z in (-1, 1)])
    group = np.arange(160) % 8
    vectors = (corners[group] + 0.05 * _random(160, width=3)).astype(np.float32)
    codes = fit_quantizer("residual-lfq", vectors, 2, 8).encode(vectors)[:, 0]
    assert len(set(zip(codes.tolist(), group.tolist(), strict=True))) == 8


def test_codes_name_the_strongest_atom_first() -> None:
    atoms = np.eye(6, dtype=np.float32)
    vector = np.array([[0, 3, -2, 5, 1, 0]], np.float32)
    assert SparseDictionary(atoms, 3).encode(vector).tolist() == [[3, 1, 4]]


@pytest.mark.parametrize(("name", "size"), [("residual-lfq", 24), ("residual-lfq", 2**13)])
def test_a_codebook_size_that_signs_cannot_have_is_refused(name: QuantizerName, size: int) -> None:
    with pytest.raises(InputError, match="power of two, at most 2 to the width"):
        fit_quantizer(name, _random(50), 2, size)


def test_what_cannot_be_fitted_is_named() -> None:
    with pytest.raises(InputError, match="no such quantizer; choose one of rq-kmeans"):
        fit_quantizer("k-means", _random(5), 2, 4)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no item"):
        fit_quantizer("rq-kmeans", _random(0), 2, 4)
    with pytest.raises(InputError, match="4 atoms for 5 levels"):
        fit_quantizer("dictionary", _random(9), 5, 4)
