"""The set of valid identifiers as a prefix tree in flat arrays.

A node of level l is a distinct prefix of l + 1 codes. The nodes of a level are in lexicographic
order, so the children of a node are contiguous (compressed sparse rows), and so are the items below
it. This module does not depend on models.

Shapes: N items, M items of a call, P children.
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
"""For each level the number of allowed items below each node, (nodes,)."""


@dataclass(frozen=True, eq=False)
class Trie:
    """The trie; levels are counted from 0, and the nodes of the last are leaves, one for each item.

    Attributes:
        codes: for each level the last code of every node, (nodes,).
        first: for each level l the first child of every node of level l - 1, and the end,
            (parents + 1,); for level 0 that of the root.
        items: the catalog position of the item at each leaf, (N,).
        leaves: the leaf of each item, (N,).
    """

    codes: list[npt.NDArray[Any]]
    first: list[npt.NDArray[Any]]
    items: npt.NDArray[Any]
    leaves: npt.NDArray[Any]

    @property
    def levels(self) -> int:
        """The number of codes of an identifier."""
        return len(self.codes)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        arrays = [*self.codes, *self.first, self.items, self.leaves]
        return sum(array.nbytes for array in arrays)

    def counts(self, allowed: npt.NDArray[np.bool_] | None = None) -> Counts:
        """The number of items below each node: of all, or of those that `allowed` (N,) marks."""
        at_leaves = np.ones(len(self), np.int8) if allowed is None else allowed[self.items]
        counts: Counts = [at_leaves.astype(np.int8)]
        for first in self.first[:0:-1]:
            counts.insert(0, np.add.reduceat(counts[0], first[:-1], dtype=np.int32))
        return counts

    def paths(self, items: Ints) -> Ints:
        """The node of each item at every level, (M, levels)."""
        nodes = np.empty((len(items), self.levels), np.int64)
        nodes[:, -1] = self.leaves[items]
        for level in range(self.levels - 1, 0, -1):
            after = np.searchsorted(self.first[level], nodes[:, level], side="right")
            nodes[:, level - 1] = after - 1
        return nodes

    def children(self, level: int, nodes: Ints) -> tuple[Ints, Ints]:
        """The nodes of a level whose parents are `nodes` (M,) of the level before.

        At level 0 the only parent is the root, which is node 0.

        Returns:
            for each child the index of its parent in `nodes`, (P,), rising, and the child, (P,).
        """
        begin = self.first[level][nodes].astype(np.int64)
        fan_out = self.first[level][nodes + 1] - begin
        owner = np.repeat(np.arange(len(nodes)), fan_out)
        child = np.arange(len(owner)) - np.repeat(np.cumsum(fan_out) - fan_out - begin, fan_out)
        return owner, child

    def change(self, counts: Counts, item: int, by: int) -> None:
        """Add `by` (+1 or -1) to the counts along an item's path, in place."""
        for level, node in enumerate(self.paths(np.array([item]))[0]):
            counts[level][node] += by

    def save(self, folder: Path) -> None:
        """Write the arrays into a new folder; `load_trie` reads them."""
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
    parents = np.zeros(min(1, len(order)), np.int64)  # where each parent's items begin: the root's
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
    """The lexicographic order of items, by one sort of packed codes if they fit into 62 bits."""
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
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); train the model again") from error
    return array


def excluded_counts(trie: Trie, items: Sequence[Ints]) -> list[tuple[Ints, Ints]]:
    """How many items each request excludes below each node, in sparse form.

    Args:
        trie: the trie of valid identifiers.
        items: for each request the catalog positions that it excludes, without repeats.

    Returns:
        for each level the keys request * nodes + node, sorted, (n,), and their counts, (n,); pairs
        of a request and a node without exclusions are left out.
    """
    rows = np.repeat(np.arange(len(items)), [len(positions) for positions in items])
    paths = trie.paths(np.concatenate([*items, np.zeros(0, np.int64)]))
    by_level = []
    for level, codes in enumerate(trie.codes):
        keys, counts = np.unique(rows * len(codes) + paths[:, level], return_counts=True)
        by_level.append((keys, counts))
    return by_level
