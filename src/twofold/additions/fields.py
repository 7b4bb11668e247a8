"""Fields of items that are added after training, checked against the catalog's columns."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from twofold.data.dataset import Catalog
from twofold.records import InputError

ItemFields = Mapping[str, str]
"""Column -> value, with an `item_id`; an empty value counts as missing."""

_MAX_SHOWN = 100
"""The number of characters of a value that an error message shows."""


def nonempty_fields(fields: ItemFields) -> dict[str, str]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value not in (None, "")}


def unknown_fields(catalog: Catalog, fields: ItemFields) -> list[str]:
    """The fields without a column in the catalog."""
    return [name for name in fields if name not in catalog.items.schema]


def require_known_fields(catalog: Catalog, items: Iterable[ItemFields]) -> None:
    """Raise InputError for a field without a column in the catalog, or an id with whitespace around
    it, which would be a different item.
    """
    for fields in items:
        if (item_id := fields["item_id"]) != item_id.strip():
            raise InputError(f"item_id '{item_id}' has whitespace around it; remove it")
        if names := unknown_fields(catalog, fields):
            raise InputError(
                f"attribute '{names[0]}' is not in the catalog, which has "
                f"{', '.join(catalog.items.columns)}; leave it out, or train with it"
            )


def require_unchanged(catalog: Catalog, items: Iterable[ItemFields]) -> None:
    """Raise InputError if a field differs from that in the catalog or in an earlier entry for the
    same item: the item's embedding was fitted to the earlier value and would not change.
    """
    first_given: dict[str, dict[str, str]] = {}
    for fields in items:
        item_id, given = fields["item_id"], nonempty_fields(fields)
        position = catalog.positions.get(item_id)
        if position is None:
            held: Mapping[str, str] = first_given.setdefault(item_id, given)
        else:
            held = catalog.items.row(position, named=True)
        for name, value in given.items():
            current = str(held.get(name) or "")
            if current != value:
                raise InputError(
                    f"item '{item_id}': its {name} is {_shown(current)}, not {_shown(value)}; "
                    f"give it a new item_id, or train again with the change"
                )


def _shown(value: str) -> str:
    return f"'{textwrap.shorten(value, _MAX_SHOWN, placeholder=' ...')}'" if value else "empty"


def items_table(catalog: Catalog, items: Iterable[ItemFields]) -> pl.DataFrame:
    """Items as a table with the columns of the catalog; a field without a column is dropped."""
    columns = catalog.items.schema
    rows = [{name: fields.get(name) for name in columns} for fields in items]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)).cast(dict(columns))  # type: ignore[arg-type]


def new_items_table(catalog: Catalog, items: Sequence[ItemFields]) -> pl.DataFrame:
    """The items that are not in the catalog yet, as a table; of several entries with one id, the
    last.

    Raises:
        InputError: a field has no column in the catalog.
    """
    require_known_fields(catalog, items)
    new = {each["item_id"]: each for each in items if each["item_id"] not in catalog.positions}
    return items_table(catalog, new.values())
