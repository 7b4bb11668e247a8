"""Identifiers of items, which of them each task generates, and the settings of semantic IDs.

Invariant: identifiers are a bijection. Every item has one identifier in an ID space, and no two
items share one.

Shapes: N items of the catalog, C levels of codes.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from twofold.records import TASKS, InputError, Ints, Task

_FILES: dict[Task, str] = {
    "recommendation": "identifiers.npy",
    "search": "search_identifiers.npy",
}

Strategy = Literal[
    "text", "search", "recommendation", "multi-task", "fused-concatenated", "fused-summed"
]
QuantizerName = Literal["rq-kmeans", "rq-vae", "residual-lfq", "dictionary"]
IdSpace = Literal["shared", "separate", "shared-prefix"]

_SMALLEST, _LARGEST = 16, 256
"""The smallest and the largest codebook that `default_shape` chooses."""
_SEQUENCES_PER_ITEM = 8
"""The number of possible code sequences per item; with fewer, many items would collide."""


@dataclass(frozen=True)
class Identifiers:
    """The codes of every item of a catalog.

    Attributes:
        kind: `atomic` (one level, one code for each item) or `semantic`.
        codes: (N, C): row n holds the codes of item n, level by level.
        codebook_sizes: the number of codes of each of the C levels.
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
        ordered = self.codes[lexicographic(self.codes)]
        if (ordered[1:] == ordered[:-1]).all(axis=1).any():
            raise ValueError("two items share an identifier; add a level that resolves collisions")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def levels(self) -> int:
        """C, the number of codes of an identifier."""
        return len(self.codebook_sizes)


def lexicographic(codes: Ints) -> Ints:
    """The order of the rows of `codes` (N, C), first level first; equal rows keep theirs."""
    return np.lexsort(codes.T[::-1])


def atomic(items: int) -> Identifiers:
    """One code for each item: its position in the catalog."""
    return Identifiers("atomic", np.arange(items, dtype=np.int64)[:, None], (items,))


class SpacesShape(TypedDict):
    """What `load_spaces` needs in addition to the files; part of a model's manifest."""

    identifiers: str
    codebook_sizes: list[int]
    search_codebook_sizes: list[int]
    shared_levels: int


@dataclass(frozen=True)
class IdSpaces:
    """The identifiers that each task generates; histories use those of recommendation.

    The codes of all spaces form one code vocabulary: first those of recommendation, level by
    level, then those of the levels that search does not share. A *codebook* is the range of one
    level in this vocabulary.

    Attributes:
        recommendation, search: identifiers of the same items; one object where the tasks share
            them.
        shared_levels: the number of leading levels whose codes both tasks use.
    """

    recommendation: Identifiers
    search: Identifiers
    shared_levels: int

    def __post_init__(self) -> None:
        if len(self.recommendation) != len(self.search):
            raise ValueError("the two spaces have different items")
        shared = slice(None, self.shared_levels)
        same = np.array_equal(self.recommendation.codes[:, shared], self.search.codes[:, shared])
        if not same or (
            self.recommendation.codebook_sizes[shared] != self.search.codebook_sizes[shared]
        ):
            raise ValueError("the codes of a shared level differ between the tasks")

    def of(self, task: Task) -> Identifiers:
        """The identifiers that a task generates."""
        return self.search if task == "search" else self.recommendation

    @property
    def are_shared(self) -> bool:
        """Whether an item has the same identifier in both tasks."""
        return self.shared_levels == self.search.levels == self.recommendation.levels

    @property
    def are_atomic(self) -> bool:
        """Whether an item's one code is its catalog position."""
        return self.recommendation.kind == self.search.kind == "atomic"

    @cached_property
    def codebooks(self) -> tuple[slice, ...]:
        """The range of each codebook in the code vocabulary."""
        sizes = self.recommendation.codebook_sizes + self._own_sizes
        ends = np.cumsum(sizes).tolist()
        return tuple(slice(end - size, end) for end, size in zip(ends, sizes, strict=True))

    def codebooks_of(self, task: Task) -> Ints:
        """The number of the codebook of each level of a task's identifiers, (C,)."""
        levels = np.arange(self.of(task).levels)
        if task == "recommendation":
            return levels
        not_shared = self.recommendation.levels - self.shared_levels
        return np.where(levels < self.shared_levels, levels, levels + not_shared)

    @property
    def size(self) -> int:
        """The number of codes of all codebooks."""
        return sum(self.recommendation.codebook_sizes + self._own_sizes)

    @property
    def _own_sizes(self) -> tuple[int, ...]:
        return self.search.codebook_sizes[self.shared_levels :]

    @property
    def digest(self) -> str:
        """SHA-256 of all codes."""
        digest = hashlib.sha256(str(self.shape).encode())
        for task in TASKS:
            digest.update(np.ascontiguousarray(self.of(task).codes).tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the codes; `load_spaces` reads them."""
        for task in TASKS:
            if task == "recommendation" or not self.are_shared:
                np.save(folder / _FILES[task], self.of(task).codes, allow_pickle=False)

    @property
    def shape(self) -> SpacesShape:
        """See `SpacesShape`."""
        return {
            "identifiers": self.recommendation.kind,
            "codebook_sizes": list(self.recommendation.codebook_sizes),
            "search_codebook_sizes": list(self.search.codebook_sizes),
            "shared_levels": self.shared_levels,
        }


def shared(identifiers: Identifiers) -> IdSpaces:
    """One space: an item has the same identifier in both tasks."""
    return IdSpaces(identifiers, identifiers, identifiers.levels)


@dataclass(frozen=True, slots=True)
class ItemIdentifiers:
    """The identifiers of a catalog, and how they were made.

    Attributes:
        spaces: the identifiers.
        description: how they were made and how their codes are used, for the stamp.
    """

    spaces: IdSpaces
    description: Mapping[str, Any] = field(default_factory=dict)


def atomic_identifiers(items: int) -> ItemIdentifiers:
    """One code for each item of a catalog, in both tasks."""
    return ItemIdentifiers(shared(atomic(items)), {"kind": "atomic"})


def load_spaces(folder: Path, shape: SpacesShape) -> IdSpaces:
    """Read what `IdSpaces.save` wrote.

    Args:
        folder: the model folder.
        shape: the `IdSpaces.shape` that was saved.

    Raises:
        InputError: a file is missing or not readable.
    """
    kind, sizes = shape["identifiers"], tuple(shape["codebook_sizes"])
    recommendation = Identifiers(kind, _codes(folder, "recommendation"), sizes)
    if not (folder / _FILES["search"]).is_file():
        return shared(recommendation)
    sizes = tuple(shape["search_codebook_sizes"])
    search = Identifiers(kind, _codes(folder, "search"), sizes)
    return IdSpaces(recommendation, search, shape["shared_levels"])


def _codes(folder: Path, task: Task) -> Ints:
    path = folder / _FILES[task]
    try:
        codes: Ints = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); train the model again") from error
    return codes


@dataclass(frozen=True, slots=True)
class SemanticScheme:
    """How semantic IDs are made.

    Attributes:
        embeddings: the data from which the item vectors are learned; `auto` for both tasks if the
            dataset has both, else for the data that it has.
        quantizer: the function that maps vectors to codes.
        levels, codebook_size: the shape of the codes; None for `default_shape`.
        space: one identifier for each item (`shared`); one for each task, from vectors of the task
            (`separate`); or one for each task that share all levels but the last
            (`shared-prefix`).
    """

    embeddings: Strategy | Literal["auto"] = "auto"
    quantizer: QuantizerName = "rq-kmeans"
    levels: int | None = None
    codebook_size: int | None = None
    space: IdSpace = "shared"


def default_shape(items: int) -> tuple[int, int]:
    """Levels, and codes of a level, for a catalog of `items` items.

    The size of a codebook is about the square root of the catalog's, to the nearest power of two
    (which sign codes need), from 16 to 256. The first code then divides the catalog into as many
    parts as a part has items, every code is the target of many items, and a step of beam search has
    few candidates. There are at least two levels, and 8 code sequences per item: vectors are not
    distributed evenly, so with one sequence per item many would collide.
    """
    wanted = 2 ** round(math.log2(max(items, 1)) / 2)
    size = min(max(wanted, _SMALLEST), _LARGEST)
    levels = 2
    while size**levels < _SEQUENCES_PER_ITEM * items:
        levels += 1
    return levels, size
