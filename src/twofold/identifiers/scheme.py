"""The settings of semantic IDs, and the shape of their codes. Imports nothing heavy."""

import math
from dataclasses import dataclass
from typing import Literal

Strategy = Literal[
    "text", "search", "recommendation", "multi-task", "fused-concatenated", "fused-summed"
]
QuantizerName = Literal["rq-kmeans", "rq-vae", "residual-lfq", "dictionary"]
IdSpace = Literal["shared", "separate", "shared-prefix"]

_SMALLEST, _LARGEST = 16, 256
"""The smallest and the largest codebook that `default_shape` chooses."""
_SEQUENCES_PER_ITEM = 8
"""With fewer code sequences for each item, many items would share one."""


@dataclass(frozen=True, slots=True)
class SemanticScheme:
    """How semantic IDs are made.

    Attributes:
        embeddings: what the item vectors are learned from; `auto` for both tasks where the data
            have both, else for what they have.
        quantizer: what turns vectors into codes.
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
    (which sign codes need), from 16 to 256. The first code then splits the catalog into as many
    parts as a part has items, every code is the target of many items, and a step of the beam stays
    narrow. The levels, two at least, give 8 code sequences for each item: vectors are not spread
    evenly, so with one sequence for each item many would collide.
    """
    wanted = 2 ** round(math.log2(max(items, 1)) / 2)
    size = min(max(wanted, _SMALLEST), _LARGEST)
    levels = 2
    while size**levels < _SEQUENCES_PER_ITEM * items:
        levels += 1
    return levels, size
