"""How semantic IDs are asked for. Imports nothing heavy: configurations are made of it."""

from dataclasses import dataclass
from typing import Literal

Strategy = Literal[
    "text", "search", "recommendation", "multi-task", "fused-concatenated", "fused-summed"
]
QuantizerName = Literal["rq-kmeans", "rq-vae", "residual-lfq", "dictionary"]
IdSpace = Literal["shared", "separate", "shared-prefix"]


@dataclass(frozen=True, slots=True)
class SemanticScheme:
    """How semantic IDs are made.

    Attributes:
        embeddings: what the vectors are learned from; `auto` is both tasks where the data have
            both, else what they have.
        quantizer: vectors to codes.
        levels, codebook_size: of the quantizer; None for what suits the catalog's size.
        space: one identifier an item (`shared`), one for each task, from the task's own vectors
            (`separate`), or one that begins alike in both and ends in each task's own codes
            (`shared-prefix`).
    """

    embeddings: Strategy | Literal["auto"] = "auto"
    quantizer: QuantizerName = "rq-kmeans"
    levels: int | None = None
    codebook_size: int | None = None
    space: IdSpace = "shared"
