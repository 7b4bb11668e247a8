"""What the changes of a log bring to a model, which need not be the one that they were made with.

An item that was placed by another model alone is placed anew; one that went again is not, as it
need not even have a place here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from twofold.additions.fields import Row, given
from twofold.additions.log import Change, as_arrays, as_text
from twofold.additions.placement import Placement, are_free, is_whole
from twofold.model.checkpoint import GenerativeModel

_NAMES = "item_ids"


def packed(items: pl.DataFrame, placement: Placement) -> str:
    """Where new items stand, as `Change.placed` has it."""
    return as_text({**placement, _NAMES: np.array(items["item_id"].to_list(), np.str_)})


@dataclass
class Arrivals:
    """Items that changes name and the catalog of a model lacks.

    Attributes:
        rows: item_id -> its fields, those of a later change over those of an earlier one.
        placed: item_id -> its fields and its place, where this model had one for it.
        alive: item_id -> whether it may come back in the end; of every item that is named.
    """

    rows: dict[str, dict[str, str]]
    placed: dict[str, tuple[Row, Placement]] = field(default_factory=dict)
    alive: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: GenerativeModel,
        version: str,
        changes: Sequence[Change],
        rows: Mapping[str, Row],
    ) -> "Arrivals":
        """Read changes, oldest first.

        Args:
            model: as it stands before them.
            version: of the model.
            changes: those that are new to it.
            rows: fields of items that earlier changes named and the model lacks.
        """
        found = cls({item_id: dict(row) for item_id, row in rows.items()})
        for change in changes:
            named = (row["item_id"] for row in change.items)
            found.alive |= dict.fromkeys(named, change.kind == "add")
            if change.kind == "add":
                found._add(model, change, change.placed.get(version))
        found._give_back_taken(model)
        return found

    def _add(self, model: GenerativeModel, change: Change, place: str | None) -> None:
        fresh = [row for row in change.items if row["item_id"] not in model.catalog.positions]
        first_named = dict.fromkeys(r["item_id"] for r in fresh if r["item_id"] not in self.rows)
        for row in fresh:
            self.rows[row["item_id"]] = self.rows.get(row["item_id"], {}) | given(row)
        if place is None:
            return
        for item_id, found in _places(model, place, list(first_named)).items():
            if item_id in self.rows:
                self.placed.setdefault(item_id, (self.rows[item_id], found))

    def _give_back_taken(self, model: GenerativeModel) -> None:
        """Identifiers that somebody else has by now name nobody new."""
        if self.placed:
            free = are_free(model, together([place for _, place in self.placed.values()]))
            kept = zip(self.placed.items(), free, strict=True)
            self.placed = dict(item for item, is_free in kept if is_free)

    @property
    def unplaced(self) -> dict[str, Row]:
        """Fields of those that are there in the end and have no place in this model."""
        return {
            item_id: row
            for item_id, row in self.rows.items()
            if self.alive.get(item_id, False) and item_id not in self.placed
        }


def together(places: Sequence[Placement]) -> Placement:
    """Places of one item each as those of all."""
    return {name: np.stack([place[name] for place in places]) for name in places[0]}


def _places(model: GenerativeModel, text: str, first_named: list[str]) -> dict[str, Placement]:
    """The place of each item; an earlier release did not write down whose they are, which were
    then those that the change named first."""
    arrays = as_arrays(text)
    names = arrays.pop(_NAMES, None)
    ids = first_named if names is None else names.tolist()
    counts = {len(array) for array in arrays.values()}
    if not is_whole(model, arrays) or counts != {len(ids)}:
        return {}
    return {
        item_id: {name: array[place] for name, array in arrays.items()}
        for place, item_id in enumerate(ids)
    }
