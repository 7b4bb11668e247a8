"""Semantic IDs: codes of quantized vectors, and a level that resolves collisions.

Invariant: no two items get the same identifier.

Shapes: N items, D width of a vector, C levels of codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.encoders.vectors import Vectors
from twofold.identifiers.identifiers import QuantizerName, default_shape
from twofold.identifiers.quantizers import fit_quantizer
from twofold.records import Ints


@dataclass(frozen=True, slots=True)
class LevelReport:
    """How evenly the codes of a level are used.

    Attributes:
        size: the number of codes in the codebook.
        used: the share of codes that at least one item has.
        entropy: the entropy of the codes over the items, in bits.
        perplexity: 2 to the power of the entropy, the number of evenly used codes with this
            entropy.
    """

    size: int
    used: float
    entropy: float
    perplexity: float


@dataclass(frozen=True, slots=True)
class CodeReport:
    """How a catalog's codes are distributed before collisions are resolved.

    Attributes:
        levels: the levels of the quantizer.
        prefix_entropy: the entropy of prefixes of 1, 2, ... codes, in bits; without collisions the
            last is log2 of the number of items.
        collisions: the number of items that share all codes with another item.
        largest_group: the largest number of items that share all codes.
        added_level: whether a disambiguation level was added.
        without_vector: the number of items with a zero vector, for which there are no data; they
            share their codes.
    """

    levels: tuple[LevelReport, ...]
    prefix_entropy: tuple[float, ...]
    collisions: int
    largest_group: int
    added_level: bool
    without_vector: int


@dataclass(frozen=True, slots=True)
class SemanticCodes:
    """The codes of a whole catalog.

    Attributes:
        codes: (N, C), catalog order; no two rows are equal.
        codebook_sizes: the number of codes of each of the C levels.
        report: how the quantizer's codes are distributed.
    """

    codes: Ints
    codebook_sizes: tuple[int, ...]
    report: CodeReport


def semantic_codes(
    vectors: Vectors,
    quantizer: QuantizerName = "rq-kmeans",
    shape: tuple[int, int] | None = None,
    seed: int = 0,
) -> SemanticCodes:
    """The codes of a catalog's items, made unique by a disambiguation level if it is needed.

    Args:
        vectors: the items' vectors, (N, D), in catalog order.
        quantizer: the name of the quantizer.
        shape: levels and codes of a level; `default_shape` if None.
        seed: the quantizer's random seed.

    Raises:
        InputError: there is no item, or the quantizer does not support the shape.
    """
    levels, size = shape or default_shape(len(vectors))
    fitted = fit_quantizer(quantizer, vectors, levels, size, seed)
    codes = fitted.encode(vectors)
    report = code_report(codes, fitted.codebook_sizes, vectors)
    unique, sizes = resolve_collisions(codes, fitted.codebook_sizes)
    return SemanticCodes(codes=unique, codebook_sizes=sizes, report=report)


def resolve_collisions(codes: Ints, sizes: tuple[int, ...]) -> tuple[Ints, tuple[int, ...]]:
    """Codes, (N, C), and sizes of their levels, with a disambiguation level if items collide.

    Its code is an item's place, in catalog order, among the items that share all its codes.
    """
    places = _places(_groups(codes, sizes)[-1])
    if not places.any():
        return codes, sizes
    return np.hstack([codes, places[:, None]]), (*sizes, int(places.max()) + 1)


def _groups(codes: Ints, sizes: Sequence[int]) -> list[Ints]:
    """For each depth a number for every item's prefix, (N,); equal prefixes have equal numbers."""
    groups = [np.zeros(len(codes), np.int64)]
    for level, size in enumerate(sizes):
        # Renumbered at each depth, so that the product of all sizes need not fit 64 bits.
        _, numbers = np.unique(groups[-1] * size + codes[:, level], return_inverse=True)
        groups.append(numbers.astype(np.int64))
    return groups[1:]


def _places(groups: Ints) -> Ints:
    """Each item's place among those of its group: [4, 7, 4, 4] -> [0, 0, 1, 2]."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    places = np.empty_like(groups)
    places[order] = np.arange(len(groups)) - np.repeat(starts, counts)
    return places


def code_report(codes: Ints, sizes: Sequence[int], vectors: Vectors) -> CodeReport:
    """The report on codes, (N, C), before collisions are resolved."""
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
    used = float((counts > 0).mean())
    return LevelReport(size=size, used=used, entropy=entropy, perplexity=2.0**entropy)


def _entropy(counts: Ints) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # never -0.0
