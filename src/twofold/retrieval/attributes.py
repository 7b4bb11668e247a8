"""Which items of a catalog have the attributes that a request asks for."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.data.dataset import Catalog
from twofold.records import InputError

Mask = npt.NDArray[np.bool_]
Where = tuple[tuple[str, frozenset[str]], ...]
"""See `twofold.records.Request.where`."""

_KEPT, _KEPT_EACH = 64 << 20, 4096
"""Bytes of masks, and of a filter whose mask is kept: filters are written by users."""
_NOT_ATTRIBUTES = ("item_id", "title", "text")


class Attributes:
    """The columns of a catalog beside id, title and text.

    A cell may hold several values, joined by `|`, as MovieLens joins genres.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._items = catalog.items
        self._masks: dict[Where, Mask] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all attributes."""
        return tuple(name for name in self._items.columns if name not in _NOT_ATTRIBUTES)

    def of(self, position: int) -> Mapping[str, Any]:
        """The attributes that an item has."""
        row = self._items.row(position, named=True)
        return {name: row[name] for name in self.names if row[name] not in (None, "")}

    def mask(self, where: Where) -> Mask:
        """The items that have one of the values in each of the attributes, (N,).

        Raises:
            InputError: the catalog has no such attribute.
        """
        found = self._masks.get(where)
        if found is None:
            found = self._found(where)
            size = _size(where)
            if (len(self._masks) + 1) * (self._items.height + _KEPT_EACH) > _KEPT:
                self._masks.clear()
            if size <= _KEPT_EACH:
                self._masks[where] = found
        return found

    def _found(self, where: Where) -> Mask:
        found = np.ones(self._items.height, bool)
        for name, values in where:
            found &= self._having(name, values)
        return found

    def require(self, where: Where) -> None:
        """Raise InputError where the catalog lacks an attribute."""
        for name, _ in where:
            if name not in self.names:
                known = f"the catalog has {', '.join(self.names)}" if self.names else "it has none"
                raise InputError(f"attribute '{name}' is not in the catalog; {known}")

    def _having(self, name: str, values: frozenset[str]) -> Mask:
        self.require(((name, values),))
        column = self._items[name].cast(pl.String).fill_null("")
        wanted = pl.Series(sorted(values))
        held = column.str.split("|").list.eval(pl.element().is_in(wanted.implode()))
        return held.list.any().fill_null(False).to_numpy()


def _size(where: Where) -> int:
    """About the bytes of a filter."""
    return sum(len(name) + sum(50 + len(value) for value in values) for name, values in where)
