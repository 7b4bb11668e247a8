"""Beam search over a trie: the best valid identifiers, and only those.

A pure function over `expand`, which scores the next level's codes. A softmax over the codes that
go on with a prefix of the catalog makes them probabilities; what a request must not find is left
out after it, so a filter never reorders what passes it. A prefix is kept only while something
allowed lies below it, so `k` items come back whenever `k` are allowed and `beams >= k`. With as
many beams as items the search is exact.

Shapes: B requests, K hypotheses, V codes of a level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.identifiers.trie import Counts, Trie, excluded_counts
from twofold.records import Ints
from twofold.retrieval.top_k import top_k

Scores = npt.NDArray[np.float32]

Expand = Callable[[int, Ints, Ints], Scores]
"""(level, codes, parents) -> scores of the level's codes after each hypothesis.

`codes` (B, K) are those of the level before and `parents` (B, K) the places that their hypotheses
had there; for level 0 both are zeros, with K = 1. Returns (B, K, V).
"""


@dataclass(frozen=True, slots=True)
class Diversity:
    """Beams in groups; a later group pays for each that earlier ones took below the same prefix.

    After Vijayakumar et al. (AAAI 2018), but that items count as alike by what they begin with, not
    by a code at one level, and that the groups choose from all hypotheses, so that no item is
    found twice and none is missed for want of beams. Scores stay what they are.

    Attributes:
        groups: 1 is plain beam search.
        penalty: in log p, for each hypothesis that is there already.
    """

    groups: int
    penalty: float

    def __post_init__(self) -> None:
        if self.groups < 1 or not self.penalty >= 0:
            raise ValueError(f"{self}: at least one group, and a penalty of 0 or more")


@dataclass(frozen=True, slots=True)
class Found:
    """The items of each request, best first.

    Attributes:
        items: (B, k), catalog positions; what is beyond the allowed ones has score -inf.
        scores: (B, k), log p(identifier).
    """

    items: Ints
    scores: Scores


def beam_search(
    expand: Expand,
    trie: Trie,
    counts: Counts,
    excluded: Sequence[Ints],
    beams: int,
    k: int,
    tie_rank: Ints,
    diversity: Diversity | None = None,
    normalised: bool = False,
) -> Found:
    """The `k` best items of each request.

    Args:
        expand: the model.
        trie: of valid identifiers.
        counts: items below each node that may come back; see `Trie.counts`.
        excluded: for each request the catalog positions that may not, without repeats, all of
            them allowed by `counts`.
        beams: hypotheses that are kept at a level, at least `k`.
        k: how many items.
        tie_rank: (N,), of two items with equal scores the smaller rank comes first.
        diversity: spread the hypotheses and the items over more prefixes.
        normalised: `expand` gives log-probabilities, which are taken as they are.
    """
    if beams < k:
        raise ValueError(f"{beams} beams cannot find {k} items")
    taken = excluded_counts(trie, excluded)
    rows = len(excluded)
    scores = np.zeros((rows, 1), np.float32)
    nodes = codes = parents = np.zeros((rows, 1), np.int64)
    for level in range(trie.levels):
        found = expand(level, codes, parents)
        place, node, value = _children(
            trie, counts, taken[level], level, nodes, scores, found, normalised
        )
        if level == trie.levels - 1 or not node.size:
            return _best(trie, place, node, value, k, tie_rank, diversity)
        chosen, scores = _choose(place, value, beams, diversity)
        parents = np.take_along_axis(place, chosen, axis=1)
        nodes = np.take_along_axis(node, chosen, axis=1)
        codes = trie.codes[level][nodes].astype(np.int64)
    raise AssertionError("a trie has levels")


def _children(
    trie: Trie,
    counts: Counts,
    taken: tuple[Ints, Ints],
    level: int,
    nodes: Ints,
    scores: Scores,
    found: Scores,
    normalised: bool,
) -> tuple[Ints, Ints, Scores]:
    """The nodes below all hypotheses of each request: (B, W) parents' places, nodes, scores.

    In the order of hypotheses, then of codes. W is what the widest request needs; what fills up
    and what is not allowed has score -inf.
    """
    rows, width = nodes.shape
    living = np.flatnonzero(scores > -np.inf)  # the others only fill up
    owner, child = trie.children(level, nodes.reshape(-1)[living])
    hypothesis = living[owner]
    log_p = found.reshape(rows * width, -1)[hypothesis, trie.codes[level][child]]
    if not normalised:
        log_p = log_p - log_totals(log_p, np.bincount(owner))
    value = scores.reshape(-1)[hypothesis] + log_p
    row = hypothesis // width
    per_row = np.bincount(row, minlength=rows)
    widest = int(per_row.max(initial=0))
    value[~_allowed(counts[level], taken, row, child)] = -np.inf
    if (per_row == widest).all():
        shape = (rows, widest)
        return (hypothesis % width).reshape(shape), child.reshape(shape), value.reshape(shape)
    column = np.arange(len(child)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    place = np.zeros((rows, widest), np.int64)
    node = np.zeros((rows, widest), np.int64)
    filled = np.full((rows, widest), -np.inf, np.float32)
    place[row, column] = hypothesis % width
    node[row, column] = child
    filled[row, column] = value
    return place, node, filled


def log_totals(scores: Scores, lengths: Ints) -> Scores:
    """Of each score the log of the sum of exponentials over its run, (..., P).

    Args:
        scores: runs of scores, one after the other, (..., P).
        lengths: of the runs; they sum to P.
    """
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return scores
    starts = np.cumsum(lengths) - lengths
    largest = np.maximum.reduceat(scores, starts, axis=-1)
    shares = np.exp(scores - np.repeat(largest, lengths, axis=-1))
    totals = largest + np.log(np.add.reduceat(shares, starts, axis=-1))
    return np.repeat(totals, lengths, axis=-1)


def _allowed(
    counts: npt.NDArray[np.int32], taken: tuple[Ints, Ints], row: Ints, child: Ints
) -> npt.NDArray[np.bool_]:
    """Whether anything is left below each child once the request's exclusions are taken off."""
    left = counts[child].astype(np.int64)
    keys, excluded = taken
    if len(keys):
        wanted = row * len(counts) + child
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        left -= np.where(keys[found] == wanted, excluded[found], 0)
    return left > 0


def _choose(
    place: Ints, value: Scores, count: int, diversity: Diversity | None
) -> tuple[Ints, Scores]:
    """Columns of the hypotheses that go on, (B, K), and their scores.

    Args:
        place: of each one's parent, (B, W).
        value: their scores, (B, W).
        count: how many.
        diversity: spread them over more parents.
    """
    if diversity is None or not value.shape[1]:
        return top_k(value, count)
    size = -(-count // diversity.groups)
    left = adjusted = value
    times = np.zeros((len(value), int(place.max(initial=0)) + 1), np.float32)
    chosen, kept = [], []
    for start in range(0, min(count, value.shape[1]), size):
        columns, _ = top_k(adjusted, min(size, count - start))
        chosen.append(columns)
        kept.append(np.take_along_axis(left, columns, axis=1))
        left = left.copy()
        np.put_along_axis(left, columns, np.float32(-np.inf), axis=1)
        picked = np.take_along_axis(place, columns, axis=1)
        np.add.at(times, (np.arange(len(value))[:, None], picked), 1)
        penalty = np.float32(diversity.penalty)
        adjusted = left - penalty * np.take_along_axis(times, place, axis=1)
    return np.concatenate(chosen, axis=1)[:, :count], np.concatenate(kept, axis=1)[:, :count]


def _best(
    trie: Trie,
    place: Ints,
    leaf: Ints,
    value: Scores,
    k: int,
    tie_rank: Ints,
    diversity: Diversity | None,
) -> Found:
    """The best leaves of each request as items."""
    items = trie.items[leaf].astype(np.int64)
    order = np.lexsort((tie_rank[items], -value), axis=1)
    ordered = np.take_along_axis(value, order, axis=1)
    if diversity is not None:
        place = np.take_along_axis(place, order, axis=1)
        chosen, ordered = _choose(place, ordered, k, diversity)
        again = np.lexsort((chosen, -ordered), axis=1)
        ordered = np.take_along_axis(ordered, again, axis=1)
        order = np.take_along_axis(order, np.take_along_axis(chosen, again, axis=1), axis=1)
    return Found(np.take_along_axis(items, order[:, :k], axis=1), ordered[:, :k])
