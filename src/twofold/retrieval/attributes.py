"""Attributes of a catalog's items, and filters on them."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.dataset import Catalog
from twofold.records import InputError, Where

Mask = npt.NDArray[np.bool_]

_CACHED_BYTES, _CACHED_FILTER = 64 << 20, 4096
"""The most bytes of all cached masks, and of a filter whose mask is cached. Users write filters, so
their number and size have no other limit."""
_NOT_ATTRIBUTES = ("item_id", "title", "text")


class Attributes:
    """The columns of a catalog other than id, title and text.

    A cell may hold several values, joined by `|`, as MovieLens joins genres.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._items = catalog.items
        self._masks: dict[Where, Mask] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the attributes, in the order of the items table."""
        return tuple(name for name in self._items.columns if name not in _NOT_ATTRIBUTES)

    def of(self, position: int) -> Mapping[str, Any]:
        """An item's attributes, without the empty ones; `position` is its catalog position."""
        row = self._items.row(position, named=True)
        return {name: row[name] for name in self.names if row[name] not in (None, "")}

    def mask(self, where: Where) -> Mask:
        """The items that satisfy a filter, (N,): in each of its attributes they have one of the
        values.

        Raises:
            InputError: the catalog has no such attribute.
        """
        mask = self._masks.get(where)
        if mask is None:
            mask = self._computed_mask(where)
            if (len(self._masks) + 1) * (self._items.height + _CACHED_FILTER) > _CACHED_BYTES:
                self._masks.clear()
            if _bytes(where) <= _CACHED_FILTER:
                self._masks[where] = mask
        return mask

    def _computed_mask(self, where: Where) -> Mask:
        mask = np.ones(self._items.height, bool)
        for name, values in where:
            mask &= self._having(name, values)
        return mask

    def require(self, where: Where) -> None:
        """Raise InputError if the catalog has no such attribute as the filter names."""
        for name, _ in where:
            if name not in self.names:
                available = (
                    f"the catalog has {', '.join(self.names)}" if self.names else "it has none"
                )
                raise InputError(f"attribute '{name}' is not in the catalog; {available}")

    def _having(self, name: str, values: frozenset[str]) -> Mask:
        self.require(((name, values),))
        column = self._items[name].cast(pl.String).fill_null("")
        wanted = pl.Series(sorted(values))
        matches = column.str.split("|").list.eval(pl.element().is_in(wanted.implode()))
        return matches.list.any().fill_null(False).to_numpy()


def _bytes(where: Where) -> int:
    """About the memory that a filter takes."""
    return sum(len(name) + sum(50 + len(value) for value in values) for name, values in where)
