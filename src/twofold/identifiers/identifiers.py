"""Item <-> codes.

Invariant: a bijection. Every item has one identifier, and no two items share one.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from twofold.records import InputError, Ints

_FILE = "identifiers.npy"


@dataclass(frozen=True)
class Identifiers:
    """The codes of every item of a catalog.

    Attributes:
        kind: `atomic` (one level, one code an item) or `semantic`.
        codes: shape (N, C): row n holds the codes of item n, level by level.
        codebook_sizes: how many codes each of the C levels has.
    """

    kind: str
    codes: Ints
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = np.asarray(self.codebook_sizes)
        if self.codes.ndim != 2 or self.codes.shape[1] != len(sizes):
            raise ValueError(f"codes of shape {self.codes.shape} for {len(sizes)} levels")
        if self.codes.size and not ((self.codes >= 0) & (self.codes < sizes)).all():
            raise ValueError("a code lies outside its codebook")
        if len(self._items) != len(self.codes):
            raise ValueError("two items share an identifier; add a level that tells them apart")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes)

    @cached_property
    def _items(self) -> dict[tuple[int, ...], int]:
        return {tuple(row): n for n, row in enumerate(self.codes.tolist())}

    def item(self, codes: tuple[int, ...]) -> int | None:
        """The catalog position that an identifier names; None where it names no item."""
        return self._items.get(codes)

    def save(self, folder: Path) -> None:
        np.save(folder / _FILE, self.codes, allow_pickle=False)


def atomic(items: int) -> Identifiers:
    """One code an item: its position in the catalog."""
    return Identifiers("atomic", np.arange(items, dtype=np.int64)[:, None], (items,))


def load_identifiers(folder: Path, kind: str, codebook_sizes: tuple[int, ...]) -> Identifiers:
    """Read what `Identifiers.save` wrote."""
    try:
        codes = np.load(folder / _FILE, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / _FILE}: not readable ({error})") from error
    return Identifiers(kind, codes, codebook_sizes)
