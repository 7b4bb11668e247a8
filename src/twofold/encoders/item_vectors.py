"""Item vectors from training examples and texts, which initialise an arm's item embeddings; and
similarities of items.

Items of the same histories, or queries, are similar. For histories, the vectors are the leading
singular vectors of the positive pointwise mutual information of a target and the events before it.
word2vec with negative sampling factorises the same matrix implicitly (Levy and Goldberg, NIPS 2014;
the settings are from Levy, Goldberg and Dagan, TACL 2015). For queries, an item's vector is the
mean of its queries' vectors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

from twofold.encoders.vectors import (
    TextEncoder,
    Vectors,
    principal_axes,
    singular_vectors,
    svd_flip,
    unit,
)
from twofold.records import Floats, Ints, Task
from twofold.training_examples import Example, Examples, Source

MOST_TARGETS: Mapping[Task, int] = {"search": 250_000, "recommendation": 5_000_000}
"""The largest number of training targets of a task that the initialisation uses: with more, the
vocabulary, axes and factors would hardly change, and would take hours.
"""

SimilarityKind = Literal["following", "shared users", "texts"]
"""How two items are similar: how often one follows the other, or the cosine of their users or of
their texts."""

_WINDOW = 5
"""Two items are near if they are at most this many events apart; this also limits the memory."""

_ENTRIES = 4_000_000
"""The number of pairs of items whose similarity is computed at once. All pairs of a catalog of
6,252 items took 1.07 GiB."""

_SIMILAR, _TABLE_ENTRIES = 100, 20_000_000
"""The largest number of items that are kept for an item in `similarities`, and for all together."""
_SHRINKAGE = 10.0
"""Added to the denominator of a counted similarity: rare items are less certain."""
_MOST_TEXTS = 50_000
"""In larger catalogs texts are not compared, as that takes minutes."""

_SMOOTHING = 0.75
"""The power of an item's frequency as a context: with 1, rare neighbours dominate."""

_QUERY_SHARE = 0.6
"""The length of the mean direction of an item's training queries, which is added to the text's
embedding of length 1.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ItemStart:
    """Item vectors, and the map of queries into their space: their dot products are cosines.

    Attributes:
        items: (N, D).
        query_map: maps a text encoder's vectors, (D, E); None if no item has a text or query.
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
    """The vectors that initialise an arm's item embeddings; None without any data on the items.

    Histories and texts hold different information. So each is a block of columns, whose rows have
    unit length, or are zero for an item without such data. The two blocks are concatenated and
    projected on their common principal axes.

    Args:
        learned: the examples of the arm's own tasks.
        texts: the items' texts.
        encoder: the text encoder of texts and queries; with None both are left out.
        parts: `text` and `factors`, or one of them. Factors are those of the histories in
            recommendation, and the mean of an item's training queries in search.
        width: the largest D.
    """
    blocks: list[Vectors] = []
    if "recommendation" in learned and "factors" in parts:
        histories = learned["recommendation"].examples
        blocks.append(history_factors(histories, len(texts), width))
    queries = None
    if encoder is not None:
        searches = learned["search"].examples if "search" in learned else ()
        query_vectors = encoder.encode(Examples.of(searches).texts() if parts else [])
        vectors = encoder.encode(texts) if "text" in parts and any(texts) else None
        if searches and "factors" in parts:
            wanted = query_factors(searches, len(texts), query_vectors)
            vectors = wanted if vectors is None else rocchio(vectors, wanted)
        if vectors is not None:
            blocks.append(vectors)
            queries = query_vectors
    return on_principal_axes(np.hstack(blocks), queries, width) if blocks else None


def on_principal_axes(items: Vectors, queries: Vectors | None, width: int) -> ItemStart:
    """Vectors along the leading principal axes of items and queries.

    Args:
        items: (N, F + E); the last E columns can be compared with queries.
        queries: vectors of the training queries, (Q, E); None where E is 0.
        width: the largest number of axes.
    """
    if queries is None:
        return ItemStart(items[:, :width], None)
    padded = np.pad(queries, ((0, 0), (items.shape[1] - queries.shape[1], 0)))
    axes = principal_axes(np.vstack([items, padded]), width).astype(np.float32)
    return ItemStart(items @ axes, axes[items.shape[1] - queries.shape[1] :].T)


def history_factors(
    examples: Sequence[Example], items: int, width: int = 64, seed: int = 0
) -> Vectors:
    """Unit vectors of the items, (items, width), in catalog order; zero for items without a pair.

    Args:
        examples: the examples whose pairs of a target and the history before it are read.
        items: the size of the catalog.
        width: the width of a vector; trailing columns are zero if the data have fewer dimensions.
        seed: the random seed of the decomposition.
    """
    return leading_factors(ppmi(examples, items), width, seed)


def query_factors(examples: Sequence[Example], items: int, queries: Vectors) -> Vectors:
    """The mean direction of the training queries of each item, (items, E); zero without a query.

    Args:
        examples: the examples whose targets are read.
        items: the size of the catalog.
        queries: the vectors of the examples' queries, (examples, E).
    """
    columns = Examples.of(examples)
    wants = columns.flat_targets().items
    query_of = np.repeat(np.arange(len(columns)), columns.counts)
    wanted = sp.csr_array(
        (np.ones(len(wants), np.float32), (wants, query_of)), shape=(items, len(queries))
    )
    return unit(wanted @ queries)


def rocchio(items: Vectors, queries: Vectors) -> Vectors:
    """Item embeddings, moved toward the items' training queries, (items, E).

    The sum of an item's embedding and the shorter mean direction of its queries, scaled to unit
    length: relevance feedback moves a query toward its relevant items in the same way (Rocchio
    1971).

    Args:
        items: embeddings of the item texts, (items, E), of unit length or 0.
        queries: the items' `query_factors`, (items, E).
    """
    return unit(items + _QUERY_SHARE * queries)


def ppmi(examples: Sequence[Example], items: int) -> sp.csr_array:
    """Positive pointwise mutual information of two items that are near each other, (N, N).

    Args:
        examples: the examples whose pairs of a target and the history before it are read.
        items: N, the size of the catalog.
    """
    together = _cooccurrences(examples, items).tocoo()
    counts = together.sum(axis=1)
    context = counts**_SMOOTHING
    shares = context / (context.sum() or 1.0)
    rows, columns = together.coords
    information = np.log(together.data / (counts[rows] * shares[columns]))
    positive = sp.coo_array((np.maximum(information, 0), (rows, columns)), shape=together.shape)
    table: sp.csr_array = positive.tocsr()
    table.eliminate_zeros()
    return table


def leading_factors(matrix: sp.csr_array, width: int, seed: int) -> Vectors:
    """Unit vectors of a matrix's rows, (N, width): left singular vectors times singular values."""
    rank = min(width, *matrix.shape)
    iterations = 7 if rank < 0.1 * min(matrix.shape) else 4
    left, values, _ = singular_vectors(matrix, rank, iterations, seed)
    left = svd_flip(left.T).T
    # Directions with a singular value of about zero are rounding errors.
    kept = np.where(values > 1e-7 * values[0], values, 0)
    factors = np.zeros((matrix.shape[0], width), np.float32)
    factors[:, :rank] = left * kept
    factors[np.diff(matrix.indptr) == 0] = 0
    # Not `unit`, which sums in another order: the initial weights depend on these bits.
    lengths = np.sqrt(np.einsum("ij,ij->i", factors, factors))
    factors /= np.where(lengths > 0, lengths, 1)[:, None]
    return factors


def _cooccurrences(examples: Sequence[Example], items: int) -> sp.csr_array:
    """How often two items are near, in either order, (items, items); see `transitions`."""
    total = transitions(examples, items)
    both: sp.csr_array = (total + total.T).tocsr()
    both.setdiag(0)
    both.eliminate_zeros()
    return both


def transitions(examples: Sequence[Example], items: int) -> sp.csr_array:
    """How often an item (column) is the target after another one (row), (items, items); a target d
    events after another counts 1/d.
    """
    columns = Examples.of(examples)
    histories = columns.flat_histories()
    starts = np.cumsum(columns.lengths) - columns.lengths
    targets, visible, _ = columns.flat_targets()
    ends = visible + np.repeat(starts, columns.counts)
    total: sp.csr_array = sp.csr_array((items, items), dtype=np.float64)
    for apart in range(1, _WINDOW + 1):
        seen = visible >= apart
        pairs = histories[ends[seen] - apart], targets[seen]
        weights = np.full(len(pairs[0]), 1 / apart)
        total = total + sp.coo_array((weights, pairs), shape=total.shape).tocsr()
    return total


def following(examples: Sequence[Example], items: int, most: int, shrinkage: float) -> sp.csr_array:
    """How strongly each item (row) is followed by others, (items, items): a Markov chain that also
    counts the next events, as `transitions` does, divided as a cosine.

    Args:
        examples: the examples whose pairs of a target and the history before it are read.
        items: the size of the catalog.
        most: the largest number of entries of a row.
        shrinkage: added to the denominator.
    """
    counts = transitions(examples, items)
    before, after = np.sqrt(counts.sum(axis=1)), np.sqrt(counts.sum(axis=0))
    rows = np.repeat(np.arange(items), np.diff(counts.indptr))
    counts.data /= before[rows] * after[counts.indices] + shrinkage
    return keep_largest(counts, most)


def shared_users(seen: sp.csr_array, most: int, shrinkage: float) -> sp.csr_array:
    """The cosine of two items' users, (items, items), as in item-kNN; 0 for an item and itself.

    Args:
        seen: the result of `incidence`.
        most: the largest number of entries of a row.
        shrinkage: added to the denominator of the cosine.
    """
    histories: sp.csr_array = seen.T.tocsr()
    norms: Floats = np.sqrt(np.diff(histories.indptr))
    parts = []
    for start, stop in _blocks(histories @ np.diff(seen.indptr)):
        together = (histories[start:stop] @ seen).tocsr()
        rows = start + np.repeat(np.arange(stop - start), np.diff(together.indptr))
        together.data /= norms[rows] * norms[together.indices] + shrinkage
        together.data[rows == together.indices] = 0.0
        parts.append(keep_largest(together, most))
    similarity: sp.csr_array = sp.vstack(parts, format="csr")
    return similarity


def similar_texts(vectors: Vectors, most: int) -> sp.csr_array:
    """The cosine of two items' texts, (items, items); 0 for an item and itself.

    All pairs are compared, so the time grows with the square of the number of items.

    Args:
        vectors: unit vectors of the texts, (items, E); zero for an item without text.
        most: the largest number of entries of a row.
    """
    items = len(vectors)
    step = max(1, _ENTRIES // items)
    parts = []
    for start in range(0, items, step):
        cosines = vectors[start : start + step] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = 0.0
        if most < items:
            cosines[cosines < np.partition(cosines, -most, axis=1)[:, -most, None]] = 0.0
        parts.append(sp.csr_array(np.maximum(cosines, 0.0)))
    similarity: sp.csr_array = sp.vstack(parts, format="csr")
    return similarity


def similarities(
    examples: Examples, items: int, text_vectors: Vectors | None = None
) -> dict[SimilarityKind, sp.csr_array]:
    """The most similar items (columns) of each item (row) by each kind, (items, items), float32.

    Args:
        examples: the examples of recommendation, at least one.
        items: the size of the catalog.
        text_vectors: unit vectors of the items' texts, (items, E); with None texts are left out.
    """
    most = max(1, min(_SIMILAR, _TABLE_ENTRIES // items))
    histories = [np.concatenate([one.history, one.targets[-1:]]) for one in examples]
    tables: dict[SimilarityKind, sp.csr_array] = {
        "following": following(examples, items, most, _SHRINKAGE),
        "shared users": shared_users(incidence(histories, items), most, _SHRINKAGE),
    }
    if text_vectors is not None and items <= _MOST_TEXTS:
        tables["texts"] = similar_texts(text_vectors, most)
    # Rounded as in the model folder, so that a loaded model returns the same items.
    return {kind: table.astype(np.float32) for kind, table in tables.items()}


def incidence(histories: Iterable[Ints], items: int) -> sp.csr_array:
    """Which history contains which item, (histories, items), ones and zeros."""
    counted = event_counts(histories, items)
    counted.data[:] = 1.0
    return counted


def event_counts(histories: Iterable[Ints], items: int) -> sp.csr_array:
    """How often each history contains each item, (histories, items)."""
    listed = list(histories)
    rows = np.repeat(np.arange(len(listed)), [len(history) for history in listed])
    columns = np.concatenate(listed)
    shape = len(listed), items
    counted: sp.csr_array = sp.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    return counted


def _blocks(entries: Floats) -> Iterator[tuple[int, int]]:
    """Consecutive rows, as (start, stop), with at most `_ENTRIES` entries together or one row.

    Args:
        entries: an upper bound of the number of entries of each row.
    """
    before = np.concatenate([[0], np.cumsum(entries)])
    start = 0
    while start < len(entries):
        most = np.searchsorted(before, before[start] + _ENTRIES, side="right") - 1
        stop = max(start + 1, int(most))
        yield start, stop
        start = stop


def keep_largest(similarity: sp.csr_array, most: int) -> sp.csr_array:
    """`similarity` (n, items) with the `most` largest entries of each row, and those equal to the
    smallest of them; changed in place.
    """
    for start, stop in zip(similarity.indptr[:-1], similarity.indptr[1:], strict=True):
        row = similarity.data[start:stop]
        if len(row) > most:
            row[row < np.partition(row, -most)[-most]] = 0.0
    similarity.eliminate_zeros()
    return similarity
