"""Replays the changes of a log for a model, which need not be the one they were made with.

An item that only another model has placed is placed again, unless it was removed later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from twofold.additions.fields import ItemFields, nonempty_fields
from twofold.additions.log import CatalogChange, decode_arrays, encode_arrays
from twofold.additions.placement import Placement, are_free
from twofold.model.checkpoint import GenerativeModel

_ITEM_IDS = "item_ids"


def encode_placement(items: pl.DataFrame, placement: Placement) -> str:
    """The placement of new items as text, for `CatalogChange.placed`."""
    return encode_arrays({**placement, _ITEM_IDS: np.array(items["item_id"].to_list(), np.str_)})


@dataclass
class ReplayedItems:
    """Items of the changes that are not in the catalog of a model.

    Attributes:
        fields: item_id -> its fields; a later change overrides an earlier one.
        placed: item_id -> its fields and its placement, if the log has one for this model.
        alive: item_id -> whether it can be retrieved after all changes; for all items of the
            changes, also those of the catalog.
    """

    fields: dict[str, dict[str, str]]
    placed: dict[str, tuple[ItemFields, Placement]] = field(default_factory=dict)
    alive: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: GenerativeModel,
        version: str,
        changes: Sequence[CatalogChange],
        fields: Mapping[str, ItemFields],
    ) -> "ReplayedItems":
        """Read changes, oldest first.

        Args:
            model: the model before the changes.
            version: the model's version.
            changes: the changes that this model has not applied yet.
            fields: fields of items of earlier changes that the model does not have.
        """
        replayed = cls({item_id: dict(given) for item_id, given in fields.items()})
        for change in changes:
            item_ids = (item["item_id"] for item in change.items)
            replayed.alive |= dict.fromkeys(item_ids, change.kind == "add")
            if change.kind == "add":
                replayed._add(model, change, change.placed.get(version))
        replayed._drop_taken_identifiers(model)
        return replayed

    def _add(self, model: GenerativeModel, change: CatalogChange, placement: str | None) -> None:
        for item in change.items:
            item_id = item["item_id"]
            if item_id not in model.catalog.positions:
                self.fields[item_id] = self.fields.get(item_id, {}) | nonempty_fields(item)
        if placement is None:
            return
        for item_id, place in _by_item(placement).items():
            if item_id in self.fields:
                self.placed.setdefault(item_id, (self.fields[item_id], place))

    def _drop_taken_identifiers(self, model: GenerativeModel) -> None:
        """Drop placements whose identifier has been given to another item."""
        if self.placed:
            free = are_free(model, stack_placements([place for _, place in self.placed.values()]))
            placed = zip(self.placed.items(), free, strict=True)
            self.placed = dict(item for item, is_free in placed if is_free)

    @property
    def unplaced(self) -> dict[str, ItemFields]:
        """Fields of items that can be retrieved after all changes and have no placement yet."""
        return {
            item_id: given
            for item_id, given in self.fields.items()
            if self.alive.get(item_id, False) and item_id not in self.placed
        }


def stack_placements(placements: Sequence[Placement]) -> Placement:
    """Combine placements of single items into one placement of all of them."""
    return {name: np.stack([each[name] for each in placements]) for name in placements[0]}


def _by_item(text: str) -> dict[str, Placement]:
    """The placement of each item, by its id; an incomplete one is left out, and computed again."""
    arrays = decode_arrays(text)
    item_ids = arrays.pop(_ITEM_IDS, np.zeros(0)).tolist()
    return {
        item_id: {name: array[place] for name, array in arrays.items()}
        for place, item_id in enumerate(item_ids)
    }
