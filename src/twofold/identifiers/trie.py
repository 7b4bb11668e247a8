"""The set of valid identifiers as a prefix tree in flat arrays.

A node of level l is a distinct prefix of l + 1 codes; nodes of a level stand in lexicographic
order, so the children of a node are neighbours (compressed sparse rows), and so are the items
below it. Nothing here knows a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.identifiers.identifiers import Identifiers, lexicographic
from twofold.records import InputError, Ints

Counts = list[npt.NDArray[Any]]
"""For each level, how many items below each node may come back."""


@dataclass(frozen=True, eq=False)
class Trie:
    """Levels are counted from 0; the nodes of the last one are the leaves, one an item.

    Attributes:
        codes: for each level the last code of every node, (nodes,).
        first: for each level l the first child of every node of level l - 1, and the end,
            (parents + 1,); for level 0 that of the root.
        items: the item at each leaf, (N,).
        leaves: the leaf of each item, (N,).
    """

    codes: list[npt.NDArray[Any]]
    first: list[npt.NDArray[Any]]
    items: npt.NDArray[Any]
    leaves: npt.NDArray[Any]

    @property
    def levels(self) -> int:
        return len(self.codes)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = [*self.codes, *self.first, self.items, self.leaves]
        return sum(array.nbytes for array in arrays)

    def counts(self, allowed: npt.NDArray[np.bool_] | None = None) -> Counts:
        """Items below each node: all, or those that `allowed` (N,) marks."""
        below = np.ones(len(self), np.int8) if allowed is None else allowed[self.items]
        found: Counts = [below.astype(np.int8)]
        for first in self.first[:0:-1]:
            summed = np.add.reduceat(found[0], first[:-1], dtype=np.int32)
            found.insert(0, summed)
        return found

    def paths(self, items: Ints) -> Ints:
        """The node of each item at every level, (M, levels)."""
        found = np.empty((len(items), self.levels), np.int64)
        found[:, -1] = self.leaves[items]
        for level in range(self.levels - 1, 0, -1):
            found[:, level - 1] = (
                np.searchsorted(self.first[level], found[:, level], side="right") - 1
            )
        return found

    def children(self, level: int, nodes: Ints) -> tuple[Ints, Ints]:
        """The nodes of a level below nodes of the one before, (M,), or below the root, 0.

        Returns:
            of each child its parent's place in `nodes`, which rises, and the child, (P,).
        """
        begin = self.first[level][nodes].astype(np.int64)
        fan = self.first[level][nodes + 1] - begin
        owner = np.repeat(np.arange(len(nodes)), fan)
        child = np.arange(len(owner)) - np.repeat(np.cumsum(fan) - fan - begin, fan)
        return owner, child

    def change(self, counts: Counts, item: int, by: int) -> None:
        """Count an item in (+1) or out (-1) along its path, in place."""
        for level, node in enumerate(self.paths(np.array([item]))[0]):
            counts[level][node] += by

    def save(self, folder: Path) -> None:
        folder.mkdir()
        for level in range(self.levels):
            np.save(folder / f"codes-{level}.npy", self.codes[level])
            np.save(folder / f"first-{level}.npy", self.first[level])
        np.save(folder / "items.npy", self.items)
        np.save(folder / "leaves.npy", self.leaves)


def build_trie(identifiers: Identifiers) -> Trie:
    """The trie of all identifiers of a catalog."""
    order = _order(identifiers)
    ordered = identifiers.codes[order]
    starts_prefix = np.ones((len(order), identifiers.levels), bool)
    starts_prefix[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    codes: list[npt.NDArray[Any]] = []
    first: list[npt.NDArray[Any]] = []
    parents = np.zeros(min(1, len(order)), np.int64)  # where a node's items begin; so of the root
    for level, size in enumerate(identifiers.codebook_sizes):
        starts = np.flatnonzero(starts_prefix[:, level])
        begins = np.searchsorted(starts, parents)
        first.append(np.append(begins, len(starts)).astype(np.int32))
        codes.append(ordered[starts, level].astype(np.min_scalar_type(size - 1)))
        parents = starts
    leaves = np.empty(len(order), np.int32)
    leaves[order] = np.arange(len(order), dtype=np.int32)
    return Trie(codes, first, order.astype(np.int32), leaves)


def _order(identifiers: Identifiers) -> Ints:
    """Lexicographic; one sort of packed codes where they fit a machine word."""
    sizes = [int(size) for size in identifiers.codebook_sizes]
    if np.prod(sizes, dtype=object) >= 1 << 62:
        return lexicographic(identifiers.codes)
    packed = np.zeros(len(identifiers), np.int64)
    for level, size in enumerate(sizes):
        packed = packed * size + identifiers.codes[:, level]
    return np.argsort(packed, kind="stable")


def load_trie(folder: Path) -> Trie:
    """Read what `Trie.save` wrote.

    Raises:
        InputError: a file is missing or not readable.
    """
    levels = len(list(folder.glob("codes-*.npy")))
    return Trie(
        [_array(folder / f"codes-{level}.npy") for level in range(levels)],
        [_array(folder / f"first-{level}.npy") for level in range(levels)],
        _array(folder / "items.npy"),
        _array(folder / "leaves.npy"),
    )


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); train the model again") from error
    return found


def excluded_counts(trie: Trie, items: Sequence[Ints]) -> list[tuple[Ints, Ints]]:
    """How many items each request excludes below a node, where it does.

    Args:
        items: catalog positions that each request excludes, without repeats.

    Returns:
        for each level the keys request * nodes + node, sorted, and their counts.
    """
    rows = np.repeat(np.arange(len(items)), [len(found) for found in items])
    paths = trie.paths(np.concatenate([*items, np.zeros(0, np.int64)]))
    found = []
    for level, codes in enumerate(trie.codes):
        keys, counts = np.unique(rows * len(codes) + paths[:, level], return_counts=True)
        found.append((keys, counts))
    return found
