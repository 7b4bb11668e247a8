"""The hybrid parts with semantic IDs: a match is added to an item's score, after beam search.

With atomic identifiers a match is added to the logit of an item's code. A code of a semantic ID
belongs to many items, so the match is added to items. The candidates are the best items by beam
search and those that match the query or the history best. Their score is log p(identifier) + match,
which is not normalised again. The weight of the matches does not change which items are candidates.

Shapes: B requests, N items, M candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.records import Ints
from twofold.retrieval.beam_search import Scores, TopItems
from twofold.retrieval.top_k import top_k


@dataclass(frozen=True, slots=True)
class Candidates:
    """The items that the answers of some requests are chosen from.

    Attributes:
        items: catalog positions, (B, M).
        log_p: log p(identifier), (B, M); -inf in columns of padding.
        matches: the match with the request, (B, M).
        in_beam: the number of items, from the first on, that are from the beam search.
    """

    items: Ints
    log_p: Scores
    matches: Scores
    in_beam: int

    def top(self, k: int, tie_rank: Ints, factor: float = 1.0) -> TopItems:
        """The `k` best items by log p + factor x match; equal scores by ascending rank.

        With a factor of 0 there are no matches, and so only the items of the beam search.
        """
        scores = self.log_p + np.float32(factor) * self.matches
        items = self.items
        if not factor:
            items, scores = items[:, : self.in_beam], scores[:, : self.in_beam]
        order = np.lexsort((tie_rank[items], -scores), axis=1)[:, :k]
        return TopItems(
            items=np.take_along_axis(items, order, axis=1),
            scores=np.take_along_axis(scores, order, axis=1),
        )


def candidates(
    matches: Scores,
    log_p: Callable[[Ints], Scores],
    beam: TopItems,
    allowed: npt.NDArray[np.bool_],
    excluded: Sequence[Ints],
    most: int,
) -> Candidates:
    """The best items by beam search, and those that match best, without repeats.

    Args:
        matches: the match of each item with each request, (B, N).
        log_p: log p of some items for each request, (B, M) -> (B, M).
        beam: the items of the beam search.
        allowed: the items that may be returned for any of the requests, (N,).
        excluded: for each request the catalog positions that must not be returned.
        most: the largest number of items that are added to those of the beam search.
    """
    addable = np.where(allowed, matches, np.float32(-np.inf))
    for row, items in enumerate(excluded):
        addable[row, items] = -np.inf
    in_beam = beam.scores > -np.inf
    addable[np.nonzero(in_beam)[0], beam.items[in_beam]] = -np.inf
    added, best = top_k(addable, most)
    added = added[:, : int((best > 0).sum(axis=1).max(initial=0))]
    items, scores = beam.items, beam.scores
    if added.size:
        added_scores = np.where(best[:, : added.shape[1]] > 0, log_p(added), -np.inf)
        items = np.hstack([items, added])
        scores = np.hstack([scores, added_scores.astype(np.float32)])
    item_matches = np.take_along_axis(matches, items, axis=1)
    return Candidates(items, scores, item_matches, in_beam=beam.items.shape[1])
