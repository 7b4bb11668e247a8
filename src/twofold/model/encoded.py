"""Encoded examples and batches: token ids, the states that generate codes, and their targets.

This module does not interpret token ids; `twofold.model.vocabulary` writes them.

Shapes: B requests or examples, L tokens, C contexts (states that generate), T targets (codes), E
width of a query's vector, N tokens of a batch without padding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from twofold.encoders.vectors import TextEncoder, Vectors
from twofold.records import Floats, Ints, Task, slice_indices
from twofold.training_examples import Examples

if TYPE_CHECKING:
    from twofold.identifiers.identifiers import IdSpaces
    from twofold.model.vocabulary import Vocabulary

_SIMD_WIDTH = 16
"""How many float32 values the widest SIMD registers of a processor hold."""
_BATCH_TOKENS = 4096
"""The largest number of tokens in a batch of requests, padding included: such a batch takes some
100 MB, and a larger one is no faster.
"""
_ENCODED_AT_ONCE = 4096
"""The number of queries that the text encoder reads at once."""
_MAX_TOKENIZED = 200_000
"""With more queries than this, their tokens are not written before the first step, which would take
minutes, but batch by batch."""
_MAX_VECTOR_BYTES = 256 << 20
"""The vectors of queries are kept up to this many bytes, and else computed batch by batch."""

UNKNOWN_TIME, TIME_BUCKETS = 0, 34
"""The bucket of a request without a time, and the number of buckets."""


def padded(tokens: int) -> int:
    """The number of tokens after padding to a multiple of the SIMD width."""
    return -(-tokens // _SIMD_WIDTH) * _SIMD_WIDTH


def time_buckets(since: Floats) -> Ints:
    """The bucket of each number of seconds since the last event, (n,).

    Bucket 0 is for NaN and bucket 1 for less than a second; each further one ends at twice the
    seconds of the one before. HSTU (Zhai et al., ICML 2024) has buckets that grow by 1.35.
    """
    doublings = np.floor(np.log2(np.maximum(since, 0.5)))
    return np.where(
        np.isnan(since), UNKNOWN_TIME, np.minimum(doublings + 2, TIME_BUCKETS - 1)
    ).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EncodedExample:
    """One request, or training example, as token ids.

    Attributes:
        tokens: token ids, (L,).
        length: the number of tokens of the request alone, without a target's codes.
        contexts: positions in `tokens` whose state generates a code, (C,).
        codebooks: the number of the codebook that each context generates from, (C,).
        context_items: for each context the catalog position of an item whose identifier begins
            with the codes up to there, (C,).
        target_contexts: for each target the index of its context in `contexts`, (T,).
        targets: the code of each target within its codebook, (T,).
        weights: the weight of each target in the loss, (T,).
        items: the number of target items.
        time_buckets: for each context the bucket of the time since the last event, (C,); see
            `time_buckets`.
        query: the query's text, for the text encoder.
        history: catalog positions of the history, oldest first, for the hybrid part; only requests
            have it.
    """

    tokens: Ints
    length: int
    contexts: Ints
    codebooks: Ints
    context_items: Ints
    target_contexts: Ints
    targets: Ints
    weights: Floats
    items: int
    time_buckets: Ints
    query: str = ""
    history: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


class Ragged(NamedTuple):
    """Columns in which each example has consecutive rows, as in a jagged tensor.

    Attributes:
        offsets: the first row of each example, then the number of all rows, (examples + 1,).
        columns: arrays of (rows,) each.
    """

    offsets: Ints
    columns: tuple[npt.NDArray[Any], ...]

    @staticmethod
    def of(parts: Sequence[tuple[npt.NDArray[Any], ...]]) -> "Ragged":
        """The columns of each example, one after another."""
        offsets = np.cumsum([0, *(len(columns[0]) for columns in parts)])
        return Ragged(offsets, tuple(np.concatenate(column) for column in zip(*parts, strict=True)))

    @property
    def counts(self) -> Ints:
        """The number of rows of each example, (examples,)."""
        return np.diff(self.offsets)

    def take(self, examples: Ints) -> "Ragged":
        """The rows of some examples, in this order."""
        counts = self.offsets[examples + 1] - self.offsets[examples]
        rows = slice_indices(self.offsets[examples], counts)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Ragged(offsets, tuple(column[rows] for column in self.columns))

    def at(self, example: int) -> tuple[npt.NDArray[Any], ...]:
        """The columns of one example."""
        rows = slice(self.offsets[example], self.offsets[example + 1])
        return tuple(column[rows] for column in self.columns)


class Queries(NamedTuple):
    """The queries of examples, each different text once.

    Attributes:
        texts: the different texts; an example without a query has the empty one.
        text_of: the index of each example's text, (examples,).
        vectors: the vector of each text, (texts, E); None if they are not kept.
    """

    texts: Sequence[str]
    text_of: Ints
    vectors: Vectors | None = None

    def take(self, examples: Ints) -> "Queries":
        """The queries of some examples, in this order."""
        return self._replace(text_of=self.text_of[examples])

    def encode(self, encoder: TextEncoder) -> Vectors:
        """The vector of each example's query, (examples, E)."""
        if self.vectors is not None:
            return self.vectors[self.text_of]
        return encoder.encode([self.texts[text] for text in self.text_of])


@dataclass(frozen=True, slots=True, eq=False)
class EncodedExamples(Sequence[EncodedExample]):
    """Many examples as a few arrays: a batch is taken from them without a loop over its examples.

    Attributes:
        tokens: `EncodedExample.tokens`.
        contexts: `EncodedExample.contexts`, `codebooks`, `context_items` and `time_buckets`.
        targets: `EncodedExample.target_contexts`, `targets` and `weights`.
        lengths, items: as in `EncodedExample`, (examples,).
        queries: the query of each example.
    """

    tokens: Ragged
    contexts: Ragged
    targets: Ragged
    lengths: Ints
    items: Ints
    queries: Queries

    @staticmethod
    def of(examples: Iterable[EncodedExample]) -> "EncodedExamples":
        """The examples as arrays."""
        if isinstance(examples, EncodedExamples):
            return examples
        listed = list(examples)
        numbers: dict[str, int] = {}
        query_of = np.array([numbers.setdefault(e.query, len(numbers)) for e in listed], np.int64)
        return EncodedExamples(
            tokens=Ragged.of([(e.tokens.astype(np.int32),) for e in listed]),
            contexts=Ragged.of(
                [int32(e.contexts, e.codebooks, e.context_items, e.time_buckets) for e in listed]
            ),
            targets=Ragged.of([(*int32(e.target_contexts, e.targets), e.weights) for e in listed]),
            lengths=np.array([e.length for e in listed]),
            items=np.array([e.items for e in listed]),
            queries=Queries(list(numbers), query_of),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, example: int) -> EncodedExample:  # type: ignore[override]
        (tokens,) = self.tokens.at(range(len(self))[example])
        contexts, codebooks, context_items, time_buckets = self.contexts.at(example)
        target_contexts, targets, weights = self.targets.at(example)
        return EncodedExample(
            tokens=tokens,
            length=int(self.lengths[example]),
            contexts=contexts,
            codebooks=codebooks,
            context_items=context_items,
            target_contexts=target_contexts,
            targets=targets,
            weights=weights,
            items=int(self.items[example]),
            time_buckets=time_buckets,
            query=self.queries.texts[self.queries.text_of[example]],
        )

    def take(self, examples: Ints) -> "EncodedExamples":
        """Some of the examples, in this order."""
        return EncodedExamples(
            tokens=self.tokens.take(examples),
            contexts=self.contexts.take(examples),
            targets=self.targets.take(examples),
            lengths=self.lengths[examples],
            items=self.items[examples],
            queries=self.queries.take(examples),
        )


class EncodedSource:
    """The examples of a source as sequences, whose tokens are written when they are taken.

    For all sequences only the token counts are kept, by which batches are planned.

    Args:
        vocabulary: writes the tokens.
        examples: one for each sequence; see `Vocabulary.encode_all`.
    """

    def __init__(self, vocabulary: "Vocabulary", examples: Examples) -> None:
        self._vocabulary = vocabulary
        query_of = examples.query_of
        if examples.visible is not None:  # a query is read where a target sees the whole history
            query_of = np.where(last_visible(examples) == examples.lengths, query_of, -1)
        self._examples = replace(examples, query_of=query_of)

    def __len__(self) -> int:
        return len(self._examples)

    @cached_property
    def token_counts(self) -> Ints:
        """The number of tokens of each sequence, (sequences,), as batches are planned by it.

        Where there are too many queries to write their tokens, it is a guess from their bytes.
        """
        queries = self._examples.queries
        if self._query_tokens is None:
            lengths = self._vocabulary.guess_query_lengths(queries)
        else:
            lengths = self._query_tokens.counts
        without = np.append(lengths, 0)  # the last is the length of no query, -1
        return self._vocabulary.token_counts(self._examples, without[self._examples.query_of])

    @property
    def context_count(self) -> int:
        """The number of contexts of all sequences."""
        levels = self._levels
        if self._examples.order == "next":
            return int((self._examples.counts * levels).sum())
        if self._examples.order == "end":
            return int(levels.sum())
        return len(self.take(np.arange(len(self))).contexts.columns[0])

    @property
    def target_items(self) -> int:
        """The number of target items of all sequences."""
        return int(self._examples.counts.sum())

    @property
    def weight(self) -> float:
        """The sum of the weights of all targets."""
        counts = self._examples.counts
        if self._examples.weights is None:
            return float((self._levels * counts).sum())
        weights = self._examples.flat_targets().weights
        assert weights is not None
        return float(np.repeat(weights, np.repeat(self._levels, counts)).sum())

    def code_counts(self, spaces: "IdSpaces") -> Ints:
        """How often each code of all codebooks is a target, (codes,)."""
        counts = np.zeros(spaces.size, dtype=np.int64)
        for task, rows in rows_by_task(self._examples.query_of >= 0):
            identifiers = spaces.of(task)
            items = self._examples.take(rows).target_counts(len(identifiers.codes))
            for level, codebook in enumerate(spaces.codebooks_of(task)):
                start = spaces.codebooks[codebook].start
                np.add.at(counts, identifiers.codes[:, level] + start, items)
        return counts

    def take(self, rows: Ints) -> EncodedExamples:
        """Some of the sequences, in this order."""
        examples = self._examples.take(rows)
        query_numbers = examples.query_of[examples.query_of >= 0]
        if self._query_tokens is not None:
            tokens = self._query_tokens.take(query_numbers)
        else:
            different, places = np.unique(query_numbers, return_inverse=True)
            tokens = self._vocabulary.encode_queries(self._texts(different)).take(places)
        return self._vocabulary.write(examples, tokens, self._queries(examples.query_of))

    def _queries(self, query_of: Ints) -> Queries:
        """The queries of examples, with their vectors if these are kept."""
        if self._with_vectors is not None:
            return self._with_vectors.take(query_of)
        different, places = np.unique(query_of, return_inverse=True)
        return Queries(self._texts(different), places)

    def _texts(self, queries: Ints) -> list[str]:
        """The texts of queries; empty for -1, which is no query."""
        texts = self._examples.queries
        return ["" if query < 0 else texts[query] for query in queries.tolist()]

    @property
    def _levels(self) -> Ints:
        """The number of codes of a target of each sequence, (sequences,)."""
        spaces = self._vocabulary.spaces
        of_search, of_recommendation = spaces.search.levels, spaces.recommendation.levels
        return np.where(self._examples.query_of >= 0, of_search, of_recommendation)

    @cached_property
    def _query_tokens(self) -> Ragged | None:
        """The tokens of every query; None if there are too many to write them at once."""
        queries = self._examples.queries
        if self._vocabulary.max_query_tokens and len(queries) > _MAX_TOKENIZED:
            return None
        return self._vocabulary.encode_queries(queries)

    @cached_property
    def _with_vectors(self) -> Queries | None:
        """Each of `Examples.queries`, and last no query (-1), with the vectors of those in use.

        None if there is no encoder, or if the vectors would take too much memory.
        """
        encoder, query_of = self._vocabulary.encoder, self._examples.query_of
        count = len(self._examples.queries)
        used = int(np.count_nonzero(np.bincount(query_of + 1, minlength=count + 1)))
        if encoder is None or not _fit(used, encoder):
            return None
        different, first = np.unique(query_of, return_index=True)
        order = different[np.argsort(first)]
        row_of = np.zeros(count + 1, dtype=np.int64)  # the last is the place of no query, -1
        row_of[order] = np.arange(len(order))
        texts = self._texts(order)
        return Queries(texts, row_of, _encoded(encoder, texts))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """Padded examples or requests, ready for a backbone.

    Attributes:
        tokens: token ids, (B, L), padded on the right.
        lengths: the number of tokens of each request, without targets' codes, (B,).
        token_indices: the indices of all tokens except padding in the flattened `tokens`, (N,).
        context_rows, context_positions: row and position of the states that generate, (C,).
        context_codebooks: the number of the codebook that each context generates from, (C,).
        context_items: for each context the catalog position of an item whose identifier begins
            with the codes up to there, (C,).
        time_buckets: for each context the bucket of the time since the last event, (C,).
        target_contexts: for each target the index of its context, (T,).
        targets: the code of each target within its codebook, (T,).
        weights: the weight of each target in the loss, (T,), float32.
        query_vectors: the query's vector, added to the last token of each request, (B, E); zero
            without a query; E is 0 without a text encoder.
        matches: scores to add to the logits of the first code, (B, codes), or (B, 0) for none;
            see `twofold.model.hybrid`.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    token_indices: torch.Tensor
    context_rows: torch.Tensor
    context_positions: torch.Tensor
    context_codebooks: torch.Tensor
    context_items: torch.Tensor
    time_buckets: torch.Tensor
    target_contexts: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    query_vectors: torch.Tensor
    matches: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})


def batches_by_length(
    rows: Sequence[int], requests: Sequence[EncodedExample], size: int
) -> Iterator[list[int]]:
    """`rows` in batches of at most `size`, of similar length so that there is little padding."""
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: len(requests[row].tokens)):
        tokens = (len(batch) + 1) * len(requests[row].tokens)
        if batch and (tokens > _BATCH_TOKENS or len(batch) == size):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def last_visible(examples: Examples) -> Ints:
    """The most items of its history that a target of each example sees, (examples,)."""
    visible = examples.flat_targets().visible
    return np.maximum.reduceat(visible, np.cumsum(examples.counts) - examples.counts)


def rows_by_task(is_search: npt.NDArray[np.bool_]) -> Iterator[tuple[Task, Ints]]:
    """Each task that occurs, and the rows of its examples, (n,).

    Args:
        is_search: whether each row is an example of search, (rows,).
    """
    tasks: tuple[Task, Task] = "search", "recommendation"
    for task, rows in zip(
        tasks, (np.flatnonzero(is_search), np.flatnonzero(~is_search)), strict=True
    ):
        if len(rows):
            yield task, rows


def int32(*columns: Ints) -> tuple[npt.NDArray[np.int32], ...]:
    """The columns as int32, of the same shapes: in half their memory."""
    return tuple(column.astype(np.int32) for column in columns)


def _fit(texts: int, encoder: TextEncoder) -> bool:
    """Whether the vectors of so many texts fit in memory."""
    return texts * encoder.width * 4 <= _MAX_VECTOR_BYTES


def _encoded(encoder: TextEncoder, texts: Sequence[str]) -> Vectors:
    """The vectors of texts, some at a time."""
    starts = range(0, len(texts), _ENCODED_AT_ONCE)
    return np.concatenate(
        [encoder.encode(texts[start : start + _ENCODED_AT_ONCE]) for start in starts]
    )
