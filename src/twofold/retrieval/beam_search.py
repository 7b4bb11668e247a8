"""Beam search over a trie: the best valid identifiers of each request.

A pure function over `expand`, which computes the logits of the next level. The softmax is taken
over the valid continuations of a prefix in the whole catalog. Items that a request must not
retrieve are removed after the softmax, so a filter does not change the order of the other items. A
prefix is kept only if an allowed item is below it, so `k` items are returned whenever `k` are
allowed and `beams >= k`. With as many beams as items the search is exact.

Shapes: B requests, K hypotheses, V codes of a level, W children of the hypotheses of a request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.identifiers.trie import Counts, Trie, excluded_counts
from twofold.records import Ints
from twofold.retrieval.top_k import top_k

Scores = npt.NDArray[np.float32]

Expand = Callable[[int, Ints, Ints], Scores]
"""(level, codes, parents) -> the logits of the level's codes after each hypothesis, (B, K, V).

`codes` (B, K) are the hypotheses' codes at the level before, and `parents` (B, K) the indices of
their own parents among the hypotheses of the level before that. At level 0 both are zeros, with
K = 1.
"""


@dataclass(frozen=True, slots=True)
class Diversity:
    """Diverse beam search: groups choose in turn, with a penalty on prefixes chosen before.

    It differs from Vijayakumar et al. (AAAI 2018) in two ways. Hypotheses count as similar if they
    have the same parent, not the same code at one level. All groups choose from the same
    hypotheses, so no item is returned twice, and none is missed because a group has too few beams.
    The penalty does not change the scores of items.

    Attributes:
        groups: the number of groups; 1 is plain beam search.
        penalty: subtracted from a hypothesis's log p for each one with the same parent that was
            chosen before.
    """

    groups: int
    penalty: float

    def __post_init__(self) -> None:
        if self.groups < 1 or not self.penalty >= 0:
            raise ValueError(f"{self}: at least one group, and a penalty of 0 or more")


@dataclass(frozen=True, slots=True)
class TopItems:
    """The best items of each request, best first.

    Attributes:
        items: catalog positions, (B, k).
        scores: log p(identifier), (B, k); -inf in the columns beyond the allowed items.
    """

    items: Ints
    scores: Scores


class _Children(NamedTuple):
    """The trie's nodes below the hypotheses of each request, in order of hypothesis and code.

    Attributes:
        parents: the index of each child's hypothesis, (B, W).
        nodes: the children, (B, W).
        scores: log p of the prefixes, (B, W); -inf if a child is padding or not allowed.
    """

    parents: Ints
    nodes: Ints
    scores: Scores


def beam_search(
    expand: Expand,
    trie: Trie,
    counts: Counts,
    excluded: Sequence[Ints],
    *,
    beams: int,
    k: int,
    tie_rank: Ints,
    diversity: Diversity | None = None,
    normalised: bool = False,
) -> TopItems:
    """The `k` best items of each request.

    Args:
        expand: the model.
        trie: the trie of valid identifiers.
        counts: for each level the number of allowed items below each node; see `Trie.counts`.
        excluded: for each request the catalog positions that must not be returned, without repeats,
            all of them allowed by `counts`.
        beams: the number of hypotheses that are kept at a level, at least `k`.
        k: the number of items.
        tie_rank: a rank for each item, (N,); of items with equal scores the smaller rank is first.
        diversity: spreads the hypotheses and the items over more prefixes.
        normalised: whether `expand` returns log-probabilities, which are then used without a
            softmax.

    Raises:
        ValueError: fewer beams than items.
    """
    if beams < k:
        raise ValueError(f"{beams} beams cannot retrieve {k} items")
    exclusions = excluded_counts(trie, excluded)
    rows = len(excluded)
    scores = np.zeros((rows, 1), np.float32)
    nodes = codes = parents = np.zeros((rows, 1), np.int64)
    for level in range(trie.levels):
        children = _children(trie, level, nodes, scores, expand(level, codes, parents), normalised)
        children = _without_disallowed(children, counts[level], exclusions[level])
        if level == trie.levels - 1 or not children.nodes.size:
            return _best_items(trie, children, k, tie_rank, diversity)
        chosen, scores = _choose(children.parents, children.scores, beams, diversity)
        parents = np.take_along_axis(children.parents, chosen, axis=1)
        nodes = np.take_along_axis(children.nodes, chosen, axis=1)
        codes = trie.codes[level][nodes].astype(np.int64)
    raise AssertionError("a trie has levels")


def _children(
    trie: Trie, level: int, nodes: Ints, scores: Scores, logits: Scores, normalised: bool
) -> _Children:
    """The children of all hypotheses with the scores of their prefixes, allowed or not.

    Args:
        trie: the trie of valid identifiers.
        level: the level of the children.
        nodes: the hypotheses' nodes, (B, K).
        scores: log p of the hypotheses, (B, K).
        logits: the logits of the level's codes, (B, K, V).
        normalised: whether they are log-probabilities.
    """
    rows, width = nodes.shape
    real = np.flatnonzero(scores > -np.inf)  # the others are padding
    owner, child = trie.children(level, nodes.reshape(-1)[real])
    hypothesis = real[owner]
    log_p = logits.reshape(rows * width, -1)[hypothesis, trie.codes[level][child]]
    if not normalised:
        log_p = log_p - log_totals(log_p, np.bincount(owner))
    prefix_scores = scores.reshape(-1)[hypothesis] + log_p
    row = hypothesis // width
    per_row = np.bincount(row, minlength=rows)
    widest = int(per_row.max(initial=0))
    if (per_row == widest).all():
        return _Children(
            parents=(hypothesis % width).reshape(rows, widest),
            nodes=child.reshape(rows, widest),
            scores=prefix_scores.reshape(rows, widest),
        )
    column = np.arange(len(child)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    padded = _Children(
        parents=np.zeros((rows, widest), np.int64),
        nodes=np.zeros((rows, widest), np.int64),
        scores=np.full((rows, widest), -np.inf, np.float32),
    )
    padded.parents[row, column] = hypothesis % width
    padded.nodes[row, column] = child
    padded.scores[row, column] = prefix_scores
    return padded


def log_totals(scores: Scores, lengths: Ints) -> Scores:
    """For each score the log of the sum of exponentials over its group, (..., P).

    Args:
        scores: groups of scores, one after the other, (..., P).
        lengths: the size of each group; they sum to P.
    """
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return scores
    starts = np.cumsum(lengths) - lengths
    largest = np.maximum.reduceat(scores, starts, axis=-1)
    shares = np.exp(scores - np.repeat(largest, lengths, axis=-1))
    totals = largest + np.log(np.add.reduceat(shares, starts, axis=-1))
    return np.repeat(totals, lengths, axis=-1)


def _without_disallowed(
    children: _Children, counts: npt.NDArray[np.int32], exclusions: tuple[Ints, Ints]
) -> _Children:
    """The children, with score -inf if no allowed item is below.

    Args:
        children: of one level.
        counts: the number of allowed items below each node of the level.
        exclusions: see `excluded_counts`.
    """
    remaining = counts[children.nodes].astype(np.int64)
    keys, excluded = exclusions
    if len(keys):
        searched = np.arange(len(remaining))[:, None] * len(counts) + children.nodes
        places = np.minimum(np.searchsorted(keys, searched), len(keys) - 1)
        remaining -= np.where(keys[places] == searched, excluded[places], 0)
    return children._replace(scores=np.where(remaining > 0, children.scores, np.float32(-np.inf)))


def _choose(
    parents: Ints, scores: Scores, number: int, diversity: Diversity | None
) -> tuple[Ints, Scores]:
    """The columns of the best hypotheses, (B, number), and their scores.

    Args:
        parents: the parent of each hypothesis, (B, W).
        scores: their scores, (B, W).
        number: how many are kept.
        diversity: spreads them over more parents.
    """
    if diversity is None or not scores.shape[1]:
        return top_k(scores, number)
    size = -(-number // diversity.groups)
    remaining = penalised = scores
    siblings = np.zeros((len(scores), int(parents.max(initial=0)) + 1), np.float32)
    chosen, kept = [], []
    for start in range(0, min(number, scores.shape[1]), size):
        columns, _ = top_k(penalised, min(size, number - start))
        chosen.append(columns)
        kept.append(np.take_along_axis(remaining, columns, axis=1))
        remaining = remaining.copy()
        np.put_along_axis(remaining, columns, np.float32(-np.inf), axis=1)
        picked = np.take_along_axis(parents, columns, axis=1)
        np.add.at(siblings, (np.arange(len(scores))[:, None], picked), 1)
        penalty = np.float32(diversity.penalty)
        penalised = remaining - penalty * np.take_along_axis(siblings, parents, axis=1)
    return np.concatenate(chosen, axis=1)[:, :number], np.concatenate(kept, axis=1)[:, :number]


def _best_items(
    trie: Trie, leaves: _Children, k: int, tie_rank: Ints, diversity: Diversity | None
) -> TopItems:
    """The items of the best leaves of each request."""
    items = trie.items[leaves.nodes].astype(np.int64)
    order = np.lexsort((tie_rank[items], -leaves.scores), axis=1)
    ordered = np.take_along_axis(leaves.scores, order, axis=1)
    if diversity is not None:
        parents = np.take_along_axis(leaves.parents, order, axis=1)
        chosen, ordered = _choose(parents, ordered, k, diversity)
        again = np.lexsort((chosen, -ordered), axis=1)
        ordered = np.take_along_axis(ordered, again, axis=1)
        order = np.take_along_axis(order, np.take_along_axis(chosen, again, axis=1), axis=1)
    best = np.take_along_axis(items, order[:, :k], axis=1)
    return TopItems(items=best, scores=ordered[:, :k])
