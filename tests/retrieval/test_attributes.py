"""Filters on attributes, against reading the table row by row."""

import numpy as np
import polars as pl
import pytest

from twofold.data.dataset import Catalog
from twofold.records import InputError
from twofold.retrieval.attributes import Attributes

ITEMS = pl.DataFrame(
    {
        "item_id": list("abcd"),
        "title": list("ABCD"),
        "genre": ["x|y", "y", None, "z"],
        "year": [1999, 2001, 2001, None],
    }
)


@pytest.fixture
def attributes() -> Attributes:
    return Attributes(Catalog.of(ITEMS))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((), "abcd"),
        ((("genre", frozenset({"y"})),), "ab"),
        ((("genre", frozenset({"x", "z"})),), "ad"),
        ((("year", frozenset({"2001"})),), "bc"),
        ((("genre", frozenset({"y"})), ("year", frozenset({"2001"}))), "b"),
        ((("genre", frozenset({"x|y"})),), ""),
        ((("genre", frozenset()),), ""),
    ],
)
def test_an_item_needs_a_value_of_every_attribute(
    attributes: Attributes, where: tuple[tuple[str, frozenset[str]], ...], expected: str
) -> None:
    for _ in range(2):  # the second time from the cache
        mask = attributes.mask(where)
        assert "".join(np.array(list("abcd"))[mask]) == expected


def test_an_unknown_attribute_is_named_with_those_there_are(attributes: Attributes) -> None:
    with pytest.raises(InputError, match="attribute 'colour' is not in the catalog; the catalog"):
        attributes.mask((("colour", frozenset({"red"})),))
    plain = Attributes(Catalog.of(ITEMS.select("item_id", "title")))
    with pytest.raises(InputError, match="it has none"):
        plain.require((("genre", frozenset({"x"})),))


def test_empty_cells_are_no_attributes(attributes: Attributes) -> None:
    assert attributes.names == ("genre", "year")
    assert attributes.of(0) == {"genre": "x|y", "year": 1999}
    assert attributes.of(2) == {"year": 2001}
    assert attributes.of(3) == {"genre": "z"}
