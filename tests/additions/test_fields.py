"""Fields of new items, against the columns and the items of a catalog."""

import polars as pl
import pytest

from twofold.additions.fields import (
    items_table,
    new_items_table,
    nonempty_fields,
    require_known_fields,
    require_unchanged,
    unknown_fields,
)
from twofold.data.dataset import Catalog
from twofold.records import InputError

CATALOG = Catalog.of(
    pl.DataFrame({"item_id": ["1", "2"], "title": ["Alpha", "Beta"], "year": [1982, 1999]})
)


def test_an_empty_value_counts_as_not_given() -> None:
    assert nonempty_fields({"item_id": "3", "title": "", "year": "1982"}) == {
        "item_id": "3",
        "year": "1982",
    }


def test_a_field_without_a_column_is_named_and_the_table_drops_it() -> None:
    fields = {"item_id": "3", "colour": "red"}
    assert unknown_fields(CATALOG, fields) == ["colour"]
    with pytest.raises(
        InputError, match="attribute 'colour' is not in the catalog, which has item"
    ):
        require_known_fields(CATALOG, [fields])
    assert items_table(CATALOG, [fields]).columns == ["item_id", "title", "year"]


def test_an_id_with_blanks_around_it_is_refused() -> None:
    with pytest.raises(InputError, match="item_id 'a ' has whitespace around it"):
        require_known_fields(CATALOG, [{"item_id": "a ", "title": "Alpha"}])


def test_a_table_has_the_types_of_the_catalog() -> None:
    table = items_table(
        CATALOG, [{"item_id": "3", "title": "Gamma", "year": "2001"}, {"item_id": "4"}]
    )
    assert table.rows() == [("3", "Gamma", 2001), ("4", None, None)]
    assert table.schema == CATALOG.items.schema


def test_new_items_are_those_that_the_catalog_lacks_by_their_last_entry() -> None:
    items = [
        {"item_id": "1", "title": "Alpha"},
        {"item_id": "3", "title": "First"},
        {"item_id": "3", "title": "Last"},
    ]
    assert new_items_table(CATALOG, items)["title"].to_list() == ["Last"]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([{"item_id": "1", "title": "Other"}], "item '1': its title is 'Alpha', not 'Other'"),
        ([{"item_id": "3", "title": "A"}, {"item_id": "3", "title": "B"}], "item '3': its title"),
        ([{"item_id": "3", "title": "A"}, {"item_id": "3", "year": "1"}], "its year is empty, not"),
    ],
)
def test_a_field_that_differs_from_what_is_known_is_named(
    items: list[dict[str, str]], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        require_unchanged(CATALOG, items)


def test_fields_as_the_catalog_holds_them_are_accepted() -> None:
    require_unchanged(
        CATALOG, [{"item_id": "1", "title": "Alpha", "year": "1982"}, {"item_id": "2"}]
    )
