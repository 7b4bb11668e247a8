"""Hybrid search with semantic IDs: what a query shares with items' documents, after the beam.

A code names a group of items, so a match cannot be added to codes as it is to those of atomic
identifiers: it is added to items. Candidates are what the beam found and what matches the query
best; both are scored by log p(identifier) + match, which is not normalised over the catalog again.
An item is a candidate or not whatever the weight of the matches is.

Shapes: B requests, N items, M candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.model.checkpoint import GenerativeModel
from twofold.records import Ints
from twofold.retrieval.beam_search import Scores, TopItems
from twofold.retrieval.top_k import top_k


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the answers of some requests are chosen from.

    Attributes:
        items: catalog positions, (B, M).
        log_p: log p(identifier), (B, M); -inf where a column only fills up.
        matches: the match with the query, (B, M).
    """

    items: Ints
    log_p: Scores
    matches: Scores

    def top(self, k: int, tie_rank: Ints, factor: float = 1.0) -> TopItems:
        """The `k` best items by log p + factor x match; of equal scores the smaller rank first."""
        scores = self.log_p + np.float32(factor) * self.matches
        order = np.lexsort((tie_rank[self.items], -scores), axis=1)[:, :k]
        return TopItems(
            items=np.take_along_axis(self.items, order, axis=1),
            scores=np.take_along_axis(scores, order, axis=1),
        )


def candidates(
    model: GenerativeModel,
    queries: Sequence[str],
    log_p: Callable[[Ints], Scores],
    beam: TopItems,
    allowed: npt.NDArray[np.bool_],
    excluded: Sequence[Ints],
    most: int,
) -> Candidates:
    """The items of the beam, and those that match the query best, without repeats.

    Args:
        model: with a hybrid part.
        queries: those of the requests.
        log_p: log p of some items for each request, (B, M) -> (B, M).
        beam: the items that the beam search found.
        allowed: the items that may come back for any of the requests, (N,).
        excluded: for each request the catalog positions that may not come back.
        most: the most items that match.
    """
    assert model.hybrid is not None
    matches = model.hybrid.scores(queries)
    left = np.where(allowed, matches, np.float32(-np.inf))
    for row, items in enumerate(excluded):
        left[row, items] = -np.inf
    found = beam.scores > -np.inf
    left[np.nonzero(found)[0], beam.items[found]] = -np.inf
    near, best = top_k(left, most)
    near = near[:, : int((best > 0).sum(axis=1).max(initial=0))]
    items, scores = beam.items, beam.scores
    if near.size:
        own = np.where(best[:, : near.shape[1]] > 0, log_p(near), -np.inf)
        items, scores = np.hstack([items, near]), np.hstack([scores, own.astype(np.float32)])
    return Candidates(items, scores, np.take_along_axis(matches, items, axis=1))
