"""Every identifier scheme is a bijection between items and codes, and survives its file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.identifiers.identifiers import (
    Identifiers,
    IdSpaces,
    QuantizerName,
    atomic,
    load_spaces,
    shared,
)
from twofold.identifiers.quantizers import QUANTIZERS
from twofold.identifiers.semantic import semantic_codes
from twofold.records import TASKS


def _two_levels(items: int) -> Identifiers:
    codes = np.stack(np.divmod(np.arange(items), 7), axis=1)
    return Identifiers("semantic", codes, (items // 7 + 1, 7))


def _quantized(quantizer: QuantizerName, items: int) -> Identifiers:
    """Semantic IDs from vectors of which every third is the same, so that codes collide."""
    vectors = np.random.default_rng(items).normal(size=(items, 8)).astype(np.float32)
    vectors[::3] = vectors[0]
    made = semantic_codes(vectors, quantizer, (2, 8))
    return Identifiers("semantic", made.codes, made.codebook_sizes)


SCHEMES: dict[str, Callable[[int], Identifiers]] = {
    "atomic": atomic,
    "two levels": _two_levels,
    **{name: partial(_quantized, name) for name in QUANTIZERS},
}


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"rq-vae"}))  # seconds a fit
@settings(max_examples=10)
@given(items=st.integers(1, 200))
def test_every_item_has_one_identifier_of_its_own(scheme: str, items: int) -> None:
    made = SCHEMES[scheme](items)
    assert len(made) == items
    assert made.codes.shape == (items, made.levels)
    assert len({tuple(codes) for codes in made.codes.tolist()}) == items


def _shared(scheme: str, items: int) -> IdSpaces:
    return shared(SCHEMES[scheme](items))


def _prefix(items: int) -> IdSpaces:
    ours = _two_levels(items)
    codes = np.column_stack([ours.codes[:, 0], 6 - ours.codes[:, 1]])
    return IdSpaces(ours, Identifiers("semantic", codes, ours.codebook_sizes), 1)


SPACES: dict[str, Callable[[int], IdSpaces]] = {
    **{name: partial(_shared, name) for name in SCHEMES},
    "separate": lambda items: IdSpaces(_two_levels(items), _quantized("rq-kmeans", items), 0),
    "shared prefix": _prefix,
}


@pytest.mark.parametrize("space", SPACES)
def test_identifiers_survive_their_file(space: str, tmp_path: Path) -> None:
    made = SPACES[space](20)
    made.save(tmp_path)
    loaded = load_spaces(tmp_path, made.shape)
    for task in TASKS:
        assert np.array_equal(loaded.of(task).codes, made.of(task).codes)
        assert np.array_equal(loaded.codebooks_of(task), made.codebooks_of(task))
    assert (loaded.codebooks, loaded.digest) == (made.codebooks, made.digest)
    assert loaded.are_shared == made.are_shared == (space in SCHEMES)
    assert loaded.are_atomic == (space == "atomic")
