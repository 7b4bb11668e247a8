"""What is known of items before a training: their texts, and factors of an arm's own examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twofold.encoders.factorisation import history_factors, near_queries, query_factors
from twofold.encoders.text_encoder import TextEncoder
from twofold.encoders.vectors import Vectors
from twofold.records import Source, Task


@dataclass(frozen=True, slots=True, eq=False)
class ItemStart:
    """Vectors of the items, in columns that say different things.

    Attributes:
        items: (N, F + E): F columns that only items have, then E that are compared with queries;
            each part of unit length, or zero where it says nothing of an item.
        queries: vectors of the training queries, (Q, E); None where E is 0.
    """

    items: Vectors
    queries: Vectors | None


def item_start(
    learned: Mapping[Task, Source],
    texts: Sequence[str],
    encoder: TextEncoder | None,
    parts: Sequence[str],
    width: int,
) -> ItemStart | None:
    """The vectors that an arm's items start from; None where nothing is known of them.

    Args:
        learned: the examples of the arm's own tasks.
        texts: the items' texts.
        encoder: the text encoder, which reads texts and queries; None leaves both out.
        parts: `text` and `factors`, or one of them. Factors are those of the histories, in
            recommendation, and the mean of the queries that want an item, in search.
        width: F, where histories are learned.
    """
    blocks: list[Vectors] = []
    if "recommendation" in learned and "factors" in parts:
        histories = learned["recommendation"].examples
        blocks.append(history_factors(histories, len(texts), width))
    queries = None
    if encoder is not None:
        searches = learned["search"].examples if "search" in learned else ()
        asked = encoder.encode([example.query or "" for example in searches])
        known = encoder.encode(texts) if "text" in parts and any(texts) else None
        if searches and "factors" in parts:
            wanted = query_factors(searches, len(texts), asked)
            known = wanted if known is None else near_queries(known, wanted)
        if known is not None:
            blocks.append(known)
            queries = asked
    return ItemStart(np.hstack(blocks), queries) if blocks else None
