"""Semantic identifiers: quantized vectors, and one more level where items share their codes.

Invariant: no two items get one identifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.encoders.vectors import Vectors
from twofold.identifiers.quantizers import Quantizer, fit_quantizer
from twofold.identifiers.scheme import QuantizerName
from twofold.records import Ints

_SMALLEST, _LARGEST = 16, 256
_ROOM = 8
"""Code sequences for each item: with fewer, many items would share one."""


@dataclass(frozen=True, slots=True)
class LevelReport:
    """How evenly the codes of a level are used.

    Attributes:
        size: codes in the codebook.
        used: share of them that some item has.
        entropy: of the codes over the items, in bits.
        perplexity: 2 to the entropy: as many evenly used codes would be as diverse.
    """

    size: int
    used: float
    entropy: float
    perplexity: float


@dataclass(frozen=True, slots=True)
class CodeReport:
    """What quantizing did to a catalog, before items that share their codes are told apart.

    Attributes:
        levels: of the quantizer.
        prefix_entropy: of the first 1, 2, ... codes together, in bits; all of them tell items
            apart where the last is log2 of the number of items.
        collisions: items that share all codes with another.
        largest_group: items that share one sequence of codes, at most.
        added_level: whether a level was added that tells them apart.
        without_vector: items of which nothing is known (a zero vector): they share their codes.
    """

    levels: tuple[LevelReport, ...]
    prefix_entropy: tuple[float, ...]
    collisions: int
    largest_group: int
    added_level: bool
    without_vector: int


@dataclass(frozen=True, slots=True)
class SemanticCodes:
    """Codes for the whole catalog, and what made them.

    Attributes:
        codes: shape (N, C), catalog order; no two rows are equal.
        codebook_sizes: of the C levels.
        quantizer: gives later items the codes of all levels but the added one.
        report: how the codes are used.
    """

    codes: Ints
    codebook_sizes: tuple[int, ...]
    quantizer: Quantizer
    report: CodeReport


def default_shape(items: int) -> tuple[int, int]:
    """Levels and codes of a level for a catalog of so many items.

    The codebook grows with the root of the catalog, to the nearest power of two (of which sign
    codes need one), from 16 to 256: the first code then splits the catalog into as many parts as
    a part has items, every code is the target of many items, and a step of the beam stays narrow.
    As many levels as give 8 sequences an item, two at least: vectors are not spread evenly, so
    room for each item once would leave many to collide.
    """
    wanted = 2 ** round(np.log2(max(items, 1)) / 2)
    size = int(min(max(wanted, _SMALLEST), _LARGEST))
    levels = 2
    while size**levels < _ROOM * items:
        levels += 1
    return levels, size


def semantic_codes(
    vectors: Vectors,
    quantizer: QuantizerName = "rq-kmeans",
    shape: tuple[int, int] | None = None,
    seed: int = 0,
) -> SemanticCodes:
    """Codes of a catalog's items.

    Items that share all codes are told apart by one more level, their place in the group in
    catalog order; without such items there is no such level.

    Args:
        vectors: of the items, (N, D), in catalog order.
        quantizer: which.
        shape: levels and codes of a level; `default_shape` where None.
        seed: of the quantizer.

    Raises:
        InputError: no item, or a shape that does not suit the quantizer.
    """
    levels, size = shape or default_shape(len(vectors))
    fitted = fit_quantizer(quantizer, vectors, levels, size, seed)
    codes = fitted.encode(vectors)
    sizes = fitted.codebook_sizes
    report = code_report(codes, sizes, vectors)
    return SemanticCodes(*resolve_collisions(codes, sizes), fitted, report)


def resolve_collisions(codes: Ints, sizes: tuple[int, ...]) -> tuple[Ints, tuple[int, ...]]:
    """Codes, (N, C), and sizes of their levels, with one more level where items share all codes."""
    places = _places(_groups(codes, sizes)[-1])
    if not places.any():
        return codes, sizes
    return np.hstack([codes, places[:, None]]), (*sizes, int(places.max()) + 1)


def _groups(codes: Ints, sizes: Sequence[int]) -> list[Ints]:
    """For each depth the number of every item's prefix, (N,): equal where prefixes are."""
    found = [np.zeros(len(codes), np.int64)]
    for level, size in enumerate(sizes):
        # Renumbered at each depth, so that the product of all sizes need not fit 64 bits.
        _, numbers = np.unique(found[-1] * size + codes[:, level], return_inverse=True)
        found.append(numbers.astype(np.int64))
    return found[1:]


def _places(groups: Ints) -> Ints:
    """Each item's place among those of its group: [4, 7, 4, 4] -> [0, 0, 1, 2]."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    places = np.empty_like(groups)
    places[order] = np.arange(len(groups)) - np.repeat(starts, counts)
    return places


def code_report(codes: Ints, sizes: Sequence[int], vectors: Vectors) -> CodeReport:
    """Of codes, (N, C), before items that share all of them are told apart."""
    groups = _groups(codes, sizes)
    counts = np.bincount(groups[-1])
    return CodeReport(
        levels=tuple(_level(codes[:, level], size) for level, size in enumerate(sizes)),
        prefix_entropy=tuple(_entropy(np.bincount(numbers)) for numbers in groups),
        collisions=int(counts[counts > 1].sum()),
        largest_group=int(counts.max()),
        added_level=bool(counts.max() > 1),
        without_vector=int((~vectors.any(axis=1)).sum()),
    )


def _level(codes: Ints, size: int) -> LevelReport:
    counts = np.bincount(codes, minlength=size)
    entropy = _entropy(counts)
    return LevelReport(size, float((counts > 0).mean()), entropy, 2.0**entropy)


def _entropy(counts: Ints) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # never -0.0
