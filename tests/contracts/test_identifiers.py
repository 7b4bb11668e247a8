"""Every identifier scheme: a bijection between items and codes that survives its file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.identifiers.identifiers import Identifiers, atomic, load_spaces, shared


def _two_levels(items: int) -> Identifiers:
    codes = np.stack(np.divmod(np.arange(items), 7), axis=1)
    return Identifiers("semantic", codes, (items // 7 + 1, 7))


SCHEMES: dict[str, Callable[[int], Identifiers]] = {"atomic": atomic, "two levels": _two_levels}


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=30, deadline=None)
@given(items=st.integers(1, 200))
def test_every_item_has_one_identifier_of_its_own(scheme: str, items: int) -> None:
    made = SCHEMES[scheme](items)
    assert len(made) == items
    assert made.codes.shape == (items, made.levels)
    assert len({tuple(codes) for codes in made.codes.tolist()}) == items


@pytest.mark.parametrize("scheme", SCHEMES)
def test_identifiers_survive_their_file(scheme: str, tmp_path: Path) -> None:
    made = shared(SCHEMES[scheme](20))
    made.save(tmp_path)
    loaded = load_spaces(tmp_path, made.shape)
    assert np.array_equal(loaded.search.codes, made.search.codes)
    assert loaded.recommendation.codebook_sizes == made.recommendation.codebook_sizes
    assert loaded.are_shared
