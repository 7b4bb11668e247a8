"""What an identifier scheme must refuse, and the shape of semantic IDs; the shared contract is in
tests/contracts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.identifiers.identifiers import Identifiers, default_shape


def test_two_items_never_share_an_identifier() -> None:
    with pytest.raises(ValueError, match="two items share an identifier"):
        Identifiers("semantic", np.array([[0, 1], [0, 1]]), (2, 2))


def test_codes_lie_within_their_codebooks() -> None:
    with pytest.raises(ValueError, match="outside its codebook"):
        Identifiers("semantic", np.array([[0, 2]]), (2, 2))
    with pytest.raises(ValueError, match="for 1 levels"):
        Identifiers("semantic", np.array([[0, 1]]), (2,))


@pytest.mark.parametrize(
    ("items", "shape"),
    [(1, (2, 16)), (60, (3, 16)), (3416, (3, 64)), (12_101, (3, 128)), (1_000_000, (3, 256))],
)
def test_the_shape_follows_the_catalog(items: int, shape: tuple[int, int]) -> None:
    assert default_shape(items) == shape


@given(st.integers(1, 10**9))
def test_any_catalog_has_room(items: int) -> None:
    levels, size = default_shape(items)
    assert size in (16, 32, 64, 128, 256)
    assert levels >= 2
    assert size**levels >= 8 * items
    assert levels == 2 or size ** (levels - 1) < 8 * items
