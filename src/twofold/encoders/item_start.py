"""What an arm knows of items before it trains: their texts, and factors of its own examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twofold.encoders.factorisation import history_factors, near_queries, query_factors
from twofold.encoders.vectors import TextEncoder, Vectors, principal_axes
from twofold.records import Source, Task


@dataclass(frozen=True, slots=True, eq=False)
class ItemStart:
    """Vectors of the items, and the map of queries to them: their products are cosines.

    Attributes:
        items: (N, D).
        query_map: from a text encoder's vectors, (D, E); None where no item has a text or query.
    """

    items: Vectors
    query_map: Vectors | None


def item_start(
    learned: Mapping[Task, Source],
    texts: Sequence[str],
    encoder: TextEncoder | None,
    parts: Sequence[str],
    width: int,
) -> ItemStart | None:
    """The vectors that an arm's items start from; None where nothing is known of them.

    Histories and texts say different things. So each is a block of columns, of unit length or zero
    where it says nothing of an item, and the vectors are both along their common principal axes.

    Args:
        learned: the examples of the arm's own tasks.
        texts: the items' texts.
        encoder: the text encoder, which reads texts and queries; None leaves both out.
        parts: `text` and `factors`, or one of them. Factors are those of the histories, in
            recommendation, and the mean of the queries that want an item, in search.
        width: the largest D.
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
    return along_axes(np.hstack(blocks), queries, width) if blocks else None


def along_axes(items: Vectors, queries: Vectors | None, width: int) -> ItemStart:
    """Vectors along the leading principal axes of items and queries.

    Args:
        items: (N, F + E); the last E columns can be compared with queries.
        queries: vectors of the training queries, (Q, E); None where E is 0.
        width: the largest number of axes.
    """
    if queries is None:
        return ItemStart(items[:, :width], None)
    asked = np.pad(queries, ((0, 0), (items.shape[1] - queries.shape[1], 0)))
    axes = principal_axes(np.vstack([items, asked]), width).astype(np.float32)
    return ItemStart(items @ axes, axes[items.shape[1] - queries.shape[1] :].T)
