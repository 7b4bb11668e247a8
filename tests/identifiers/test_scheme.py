"""The shape of semantic IDs follows the size of the catalog."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.identifiers.scheme import default_shape


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
