"""Text tokens and code tokens: the only file that knows a token id.

A request is written as `<history> codes... <query> text... <answer>`, either part optional; a
training example continues with the target's codes but the last (teacher forcing). The state at a
history's last visible code, or at `<answer>`, generates the next identifier's first code; the
state at each of its codes generates the code of the next level. Where there is a text encoder, its
vector of the query is added to the input at `<answer>`.

Shapes: B requests or examples, L tokens, C contexts (states that generate), T targets (codes), H
items of a history, E width of a query's vector.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from twofold.data.words import IGNORED, LETTERS
from twofold.encoders.vectors import TextEncoder
from twofold.identifiers.identifiers import IdSpaces
from twofold.records import Example, Examples, Floats, Ints, Task, runs
from twofold.tasks.examples import Texts

_SPECIAL = ("<pad>", "<history>", "<query>", "<answer>")
_FILE = "tokenizer.json"

_SIMD_WIDTH = 16
"""The widest SIMD registers of a processor hold so many numbers of float32."""


def padded(tokens: int) -> int:
    """Tokens after padding to a multiple of the SIMD width."""
    return -(-tokens // _SIMD_WIDTH) * _SIMD_WIDTH


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EncodedExample:
    """One request, or training example, as token ids.

    Attributes:
        tokens: token ids, (L,).
        length: tokens of the request alone, without a target's codes.
        contexts: positions in `tokens` whose state generates a code, (C,).
        codebooks: the number of the codebook that each context generates from, (C,).
        context_items: for each context the catalog position of an item whose identifier begins
            with the codes up to there, (C,).
        target_contexts: for each target the index of its context in `contexts`, (T,).
        targets: the code of each target within its codebook, (T,).
        weights: the weight of each target in the loss, (T,).
        items: the number of target items.
        query: the query's text, for the text encoder.
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
    query: str = ""


class _Rows(NamedTuple):
    """Columns of numbers of which every example has a run of rows.

    Attributes:
        starts: the first row of each example, and the end of the last, (examples + 1,).
        columns: each (rows,).
    """

    starts: Ints
    columns: tuple[npt.NDArray[Any], ...]

    @staticmethod
    def of(parts: Sequence[tuple[npt.NDArray[Any], ...]]) -> "_Rows":
        starts = np.cumsum([0, *(len(columns[0]) for columns in parts)])
        return _Rows(starts, tuple(np.concatenate(column) for column in zip(*parts, strict=True)))

    @property
    def counts(self) -> Ints:
        """The rows of each example, (examples,)."""
        return np.diff(self.starts)

    def take(self, examples: Ints) -> "_Rows":
        counts = self.starts[examples + 1] - self.starts[examples]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = runs(self.starts[examples], counts)
        return _Rows(starts, tuple(column[places] for column in self.columns))

    def at(self, example: int) -> tuple[npt.NDArray[Any], ...]:
        own = slice(self.starts[example], self.starts[example + 1])
        return tuple(column[own] for column in self.columns)


_ENCODED_AT_ONCE, _TOKENIZED_AT_ONCE = 4096, 100_000
_MOST_TOKENIZED, _BYTES_OF_TOKEN = 200_000, 4
"""The most queries whose tokens are written before the first step: above, it would take minutes."""
_MOST_VECTORS = 256 << 20
"""Bytes of query vectors that are kept; those of more queries are computed batch by batch."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedExamples(Sequence[EncodedExample]):
    """Many examples as few arrays: a batch is taken from them without a loop over its examples.

    Attributes:
        tokens: `EncodedExample.tokens`.
        contexts: the contexts, their codebooks and their items.
        targets: the targets' contexts, the targets and their weights.
        lengths, items: as in `EncodedExample`, (examples,).
        queries: the different queries.
        query_of: the index of each example's query, (examples,).
        vectors: the vector of each query, (queries, E); None where they are not kept.
    """

    tokens: _Rows
    contexts: _Rows
    targets: _Rows
    lengths: Ints
    items: Ints
    queries: Sequence[str]
    query_of: Ints
    vectors: npt.NDArray[np.float32] | None = None

    @staticmethod
    def of(
        examples: Iterable[EncodedExample], encoder: TextEncoder | None = None
    ) -> "EncodedExamples":
        """The examples as arrays; with an encoder their queries' vectors as well."""
        if isinstance(examples, EncodedExamples):
            return examples
        listed = list(examples)
        numbers: dict[str, int] = {}
        query_of = np.array([numbers.setdefault(e.query, len(numbers)) for e in listed], np.int64)
        kept = encoder is not None and len(numbers) * encoder.width * 4 <= _MOST_VECTORS
        return EncodedExamples(
            tokens=_Rows.of([(e.tokens.astype(np.int32),) for e in listed]),
            contexts=_Rows.of(
                [tuple(_small(e.contexts, e.codebooks, e.context_items)) for e in listed]
            ),
            targets=_Rows.of([(*_small(e.target_contexts, e.targets), e.weights) for e in listed]),
            lengths=np.array([e.length for e in listed]),
            items=np.array([e.items for e in listed]),
            queries=list(numbers),
            query_of=query_of,
            vectors=_encoded(encoder, list(numbers)) if kept and encoder else None,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, example: int) -> EncodedExample:  # type: ignore[override]
        (tokens,) = self.tokens.at(range(len(self))[example])
        contexts, codebooks, context_items = self.contexts.at(example)
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
            query=self.queries[self.query_of[example]],
        )

    def take(self, examples: Ints) -> "EncodedExamples":
        """Some of the examples, in this order."""
        return replace(
            self,
            tokens=self.tokens.take(examples),
            contexts=self.contexts.take(examples),
            targets=self.targets.take(examples),
            lengths=self.lengths[examples],
            items=self.items[examples],
            query_of=self.query_of[examples],
        )

    @property
    def token_counts(self) -> Ints:
        """The tokens of each example, (examples,)."""
        return self.tokens.counts

    @property
    def context_count(self) -> int:
        """The contexts of all examples."""
        return len(self.contexts.columns[0])

    @property
    def target_items(self) -> int:
        """The target items of all examples."""
        return int(self.items.sum())

    @property
    def weight(self) -> float:
        """The weights of all targets together."""
        return float(self.targets.columns[2].sum())

    def code_counts(self, spaces: IdSpaces) -> Ints:
        """How often each code of all codebooks is a target, (codes,)."""
        starts = np.array([codebook.start for codebook in spaces.codebooks])
        contexts, targets, _ = self.targets.columns
        contexts = contexts + np.repeat(self.contexts.starts[:-1], self.targets.counts)
        codes = targets + starts[self.contexts.columns[1][contexts]]
        return np.bincount(codes, minlength=spaces.size)

    def query_vectors(self, encoder: TextEncoder) -> npt.NDArray[np.float32]:
        """The vector of each example's query, (examples, E)."""
        if self.vectors is not None:
            return self.vectors[self.query_of]
        return encoder.encode([self.queries[query] for query in self.query_of])


def _small(*columns: Ints) -> Iterable[npt.NDArray[np.int32]]:
    return (column.astype(np.int32) for column in columns)


def _encoded(encoder: TextEncoder, queries: Sequence[str]) -> npt.NDArray[np.float32]:
    """The vectors of the queries, some at a time."""
    parts = range(0, len(queries), _ENCODED_AT_ONCE)
    return np.concatenate(
        [encoder.encode(queries[start : start + _ENCODED_AT_ONCE]) for start in parts]
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """Padded examples or requests, ready for a backbone.

    Attributes:
        tokens: token ids, (B, L), padded on the right.
        lengths: tokens of each request, without targets' codes, (B,).
        cells: where the tokens are that are no padding, counted through all rows, (N,).
        context_rows, context_positions: row and position of the states that generate, (C,).
        context_codebooks: the number of the codebook that each context generates from, (C,).
        context_items: for each context the catalog position of an item whose identifier begins
            with the codes up to there, (C,).
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
    cells: torch.Tensor
    context_rows: torch.Tensor
    context_positions: torch.Tensor
    context_codebooks: torch.Tensor
    context_items: torch.Tensor
    target_contexts: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    query_vectors: torch.Tensor
    matches: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Text tokens first, then the four special tokens, then the codes of every codebook.

    Attributes:
        tokenizer: maps text to ids below `text_size`.
        text_size: number of ids for text; a checkpoint's embedding may be larger than its
            tokenizer, so this is not always the tokenizer's size.
        pad: the id that pads a batch.
        spaces: the identifiers that the code tokens belong to in each task.
        max_history: the most recent items of a history that are read.
        max_query_tokens: the first tokens of a query that are read.
        encoder: the text encoder that gives queries a vector as well; None for tokens alone.
    """

    tokenizer: Tokenizer
    text_size: int
    pad: int
    spaces: IdSpaces
    max_history: int
    max_query_tokens: int
    encoder: TextEncoder | None = None

    @property
    def vector_width(self) -> int:
        """E, the width of a query's vector; 0 without a text encoder."""
        return self.encoder.width if self.encoder else 0

    @property
    def code_start(self) -> int:
        """The id of the first code."""
        return self.text_size + len(_SPECIAL)

    @property
    def size(self) -> int:
        """The number of token ids."""
        return self.code_start + self.spaces.size

    @property
    def is_pretrained(self) -> bool:
        """Whether the tokenizer came with a checkpoint; a fresh one pads with an id of its own."""
        return self.pad != self.text_size

    def task(self, query: str | None) -> Task:
        """The task whose identifiers answer a request: a request with a query is a search."""
        return "recommendation" if query is None else "search"

    def code_tokens(self, task: Task) -> Ints:
        """The token id of code 0 at each level of a task's identifiers, (levels,)."""
        starts = np.array([codebook.start for codebook in self.spaces.codebooks])
        return self.code_start + starts[self.spaces.codebooks_of(task)]

    def special_token(self, name: str) -> int:
        """The token id of `<pad>`, `<history>`, `<query>` or `<answer>`."""
        return self.text_size + _SPECIAL.index(name)

    def encode_query(self, text: str) -> list[int]:
        """Token ids of a query, at most `max_query_tokens` of them."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids[: self.max_query_tokens]

    def encode_queries(self, texts: Sequence[str]) -> _Rows:
        """Token ids of queries, at most `max_query_tokens` of each, in one column."""
        if not self.max_query_tokens:
            return _Rows(np.zeros(len(texts) + 1, np.int64), (np.zeros(0, np.int32),))
        parts = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            batch = list(texts[start : start + _TOKENIZED_AT_ONCE])
            if self.tokenizer.padding:
                parts += [(np.array(self.encode_query(text), np.int32),) for text in batch]
            else:
                encoded = self.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                parts += [(np.array(e.ids[: self.max_query_tokens], np.int32),) for e in encoded]
        return _Rows.of(parts) if parts else _Rows(np.zeros(1, np.int64), (np.zeros(0, np.int32),))

    def encode_history(self, history: Ints) -> Ints:
        """Code token ids of a history, (H * levels,)."""
        codes = self.spaces.recommendation.codes[history]
        return (codes + self.code_tokens("recommendation")).reshape(-1)

    def encode_request(self, history: Ints, query: str | None) -> EncodedExample:
        """Write a request as tokens, without a target; its last state generates.

        Args:
            history: catalog positions, oldest first, (H,); the last `max_history` are read.
            query: the query's text, or None.
        """
        tokens = self._request_tokens(history[-self.max_history :], query)
        none = np.zeros(0, np.int64)
        return EncodedExample(
            tokens=tokens,
            length=len(tokens),
            contexts=np.array([len(tokens) - 1]),
            codebooks=self.spaces.codebooks_of(self.task(query))[:1],
            context_items=np.zeros(1, np.int64),  # every identifier begins with no codes
            target_contexts=none,
            targets=none,
            weights=np.zeros(0),
            items=0,
            query=query or "",
        )

    def encode(self, example: Example) -> list[EncodedExample]:
        """Write an example as tokens; see `encode_all`."""
        encoded = self.encode_all(Examples.of([example]))
        return list(encoded.take(np.arange(len(encoded))))

    def encode_all(self, examples: Examples) -> "EncodedSource":
        """The examples as tokens; what lies before the last `max_history` items is cut.

        Where an identifier is one code, one sequence holds all targets. Where it is several, the
        targets that are the next item of the history share a sequence, in which their codes
        follow anyway; each other target needs a sequence of its own that ends in its codes.
        """
        examples = examples.cut(self.max_history)
        if self.spaces.are_shared and self.spaces.search.levels == 1:
            return EncodedSource(self, examples)
        if examples.order == "end" and ((examples.query_of >= 0) | (examples.counts == 1)).all():
            return EncodedSource(self, _one_target_each(examples))
        if examples.order == "next":
            return EncodedSource(self, examples)
        parts = (part for example in examples for part in _by_sequence(example))
        return EncodedSource(self, Examples.of(parts))

    def _request_tokens(self, history: Ints, query: str | None) -> Ints:
        parts: list[Ints] = []
        if len(history) or query is None:
            parts += [np.array([self.special_token("<history>")]), self.encode_history(history)]
        if query is not None:
            text = self.encode_query(query)
            parts.append(
                np.array([self.special_token("<query>"), *text, self.special_token("<answer>")])
            )
        return np.concatenate(parts)

    def collate(self, examples: Sequence[EncodedExample], width: int = 0) -> Batch:
        """Pad examples to one length, at least `width`, and count their contexts through."""
        flat = EncodedExamples.of(examples)
        counts = flat.tokens.counts
        tokens = np.full((len(flat), max(width, int(counts.max()))), self.pad, np.int64)
        cells = np.flatnonzero(np.arange(tokens.shape[1]) < counts[:, None])
        tokens.reshape(-1)[cells] = flat.tokens.columns[0]
        rows = np.repeat(np.arange(len(flat)), flat.contexts.counts)
        starts = np.repeat(flat.contexts.starts[:-1], flat.targets.counts)
        positions, codebooks, items = flat.contexts.columns
        target_contexts, targets, weights = flat.targets.columns
        vectors = np.zeros((len(flat), 0), np.float32)
        if self.encoder:
            vectors = flat.query_vectors(self.encoder)
        return Batch(
            tokens=torch.from_numpy(tokens),
            lengths=torch.from_numpy(flat.lengths),
            cells=torch.from_numpy(cells),
            context_rows=torch.from_numpy(rows),
            context_positions=torch.from_numpy(positions).long(),
            context_codebooks=torch.from_numpy(codebooks).long(),
            context_items=torch.from_numpy(items).long(),
            target_contexts=torch.from_numpy(target_contexts + starts),
            targets=torch.from_numpy(targets).long(),
            weights=torch.from_numpy(weights).float(),
            query_vectors=torch.from_numpy(vectors),
            matches=torch.zeros(len(flat), 0),
        )

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / _FILE))
        if self.encoder:
            self.encoder.save(folder)


def _one_target_each(examples: Examples) -> Examples:
    """An example for each target, which sees the whole history."""
    of = np.repeat(np.arange(len(examples)), examples.counts)
    target_starts = runs(examples.target_starts, examples.counts)
    return replace(examples.take(of), target_starts=target_starts, target_ends=target_starts + 1)


def _by_sequence(example: Example) -> Iterable[Example]:
    """The parts of an example whose targets' codes can share a sequence."""

    def part(chosen: Ints) -> Example:
        visible = example.visible[chosen]
        whole = int(visible.max(initial=0)) == len(example.history)
        end = len(example.history) if whole or len(chosen) > 1 else int(visible[0])
        return replace(
            example,
            history=example.history[:end],
            query=example.query if whole else None,
            targets=example.targets[chosen],
            visible=visible,
            weights=None if example.weights is None else example.weights[chosen],
        )

    at_end = example.visible == len(example.history)
    is_next = np.zeros_like(at_end)
    inside = np.flatnonzero(~at_end)
    is_next[inside] = example.targets[inside] == example.history[example.visible[inside]]
    together, single = np.flatnonzero(is_next), np.flatnonzero(~is_next)
    if example.query is None and len(single) and at_end[single[-1]]:
        together, single = np.append(together, single[-1]), single[:-1]
    if len(together):
        yield part(together)
    for target in single:
        yield part(np.array([target]))


class EncodedSource(Sequence[EncodedExample]):
    """The examples of a source as sequences of tokens, which are written when they are taken.

    Of all sequences only the numbers are kept by which batches are planned.

    Args:
        vocabulary: writes the tokens.
        examples: one for each sequence.
    """

    def __init__(self, vocabulary: Vocabulary, examples: Examples) -> None:
        self._vocabulary = vocabulary
        query_of = examples.query_of
        if examples.visible is not None:  # the query is read where a target sees all before it
            _, visible, _ = examples.flat_targets()
            last = np.maximum.reduceat(visible, np.cumsum(examples.counts) - examples.counts)
            query_of = np.where(last == examples.lengths, query_of, -1)
        self._examples = replace(examples, query_of=query_of)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, example: int) -> EncodedExample:  # type: ignore[override]
        return self.take(np.array([range(len(self))[example]]))[0]

    @cached_property
    def token_counts(self) -> Ints:
        """The tokens of each sequence, (sequences,)."""
        return _Layout.of(self._vocabulary, self._examples, self._query_lengths()).counts

    @property
    def context_count(self) -> int:
        """The contexts of all sequences."""
        levels = self._levels
        if self._examples.order == "next":
            return int((self._examples.counts * levels).sum())
        if self._examples.order == "end":
            return int(levels.sum())
        return self.take(np.arange(len(self))).context_count

    @property
    def target_items(self) -> int:
        """The target items of all sequences."""
        return int(self._examples.counts.sum())

    @property
    def weight(self) -> float:
        """The weights of all targets together."""
        counts = self._examples.counts
        if self._examples.weights is None:
            return float((self._levels * counts).sum())
        _, _, weights = self._examples.flat_targets()
        assert weights is not None
        return float(np.repeat(weights, np.repeat(self._levels, counts)).sum())

    def code_counts(self, spaces: IdSpaces) -> Ints:
        """How often each code of all codebooks is a target, (codes,)."""
        counts = np.zeros(spaces.size, dtype=np.int64)
        for task, rows in _by_task(self._examples.query_of >= 0):
            own = spaces.of(task)
            items = self._examples.take(rows).target_counts(len(own.codes))
            for level, codebook in enumerate(spaces.codebooks_of(task)):
                start = spaces.codebooks[codebook].start
                np.add.at(counts, own.codes[:, level] + start, items)
        return counts

    def take(self, rows: Ints) -> EncodedExamples:
        """Some of the sequences, in this order."""
        vocabulary, examples = self._vocabulary, self._examples.take(rows)
        asked = np.flatnonzero(examples.query_of >= 0)
        queries = self._query_tokens(examples.query_of[asked])
        lengths = np.zeros(len(rows), dtype=np.int64)
        lengths[asked] = queries.counts
        layout = _Layout.of(vocabulary, examples, lengths)
        contexts, targets = _contexts(vocabulary, examples, layout)
        tokens = _tokens(vocabulary, examples, layout, queries.columns[0])
        return EncodedExamples(
            tokens=_Rows(layout.starts, (tokens,)),
            contexts=contexts,
            targets=targets,
            lengths=layout.lengths,
            items=examples.counts,
            **self._asked(examples.query_of),
        )

    def _asked(self, query_of: Ints) -> dict[str, Any]:
        """The queries of `EncodedExamples`, with their vectors where these are kept."""
        if self._kept is not None:
            texts, number, vectors = self._kept
            return {"queries": texts, "query_of": number[query_of], "vectors": vectors}
        asked, own = np.unique(query_of, return_inverse=True)
        return {"queries": self._texts(asked), "query_of": own}

    def _texts(self, queries: Ints) -> list[str]:
        """Texts of queries, empty where there is none."""
        known = self._examples.queries
        return ["" if query < 0 else known[query] for query in queries.tolist()]

    @property
    def _levels(self) -> Ints:
        """The codes of each sequence's targets, (sequences,)."""
        spaces = self._vocabulary.spaces
        own = spaces.search.levels, spaces.recommendation.levels
        return np.where(self._examples.query_of >= 0, *own)

    def _query_tokens(self, queries: Ints) -> _Rows:
        """The tokens of some queries."""
        if self._written is not None:
            return self._written.take(queries)
        asked, own = np.unique(queries, return_inverse=True)
        return self._vocabulary.encode_queries(self._texts(asked)).take(own)

    @cached_property
    def _written(self) -> _Rows | None:
        """The tokens of every query; None where they are too many to be written at once."""
        queries = self._examples.queries
        if self._vocabulary.max_query_tokens and len(queries) > _MOST_TOKENIZED:
            return None
        return self._vocabulary.encode_queries(queries)

    def _query_lengths(self) -> Ints:
        """The tokens of each sequence's query, as batches are planned by them, (sequences,).

        Where queries are too many to be written at once, it is a guess from their bytes.
        """
        if self._written is not None:
            counts = self._written.counts
        else:
            sizes = np.diff(Texts.of(self._examples.queries).ends, prepend=0)
            most = self._vocabulary.max_query_tokens
            counts = np.minimum(sizes // _BYTES_OF_TOKEN + 1, most)
        return np.append(counts, 0)[self._examples.query_of]

    @cached_property
    def _kept(self) -> tuple[list[str], Ints, npt.NDArray[np.float32]] | None:
        """The queries, the place of each of `Examples.queries` among them, and their vectors.

        None where they are too many for their vectors to be kept.
        """
        encoder, query_of = self._vocabulary.encoder, self._examples.query_of
        known = len(self._examples.queries)
        used = np.count_nonzero(np.bincount(query_of + 1, minlength=known + 1))
        if encoder is None or used * encoder.width * 4 > _MOST_VECTORS:
            return None
        asked, first = np.unique(query_of, return_index=True)
        order = asked[np.argsort(first)]
        number = np.zeros(known + 1, dtype=np.int64)  # the last is that of no query, -1
        number[order] = np.arange(len(order))
        texts = self._texts(order)
        return texts, number, _encoded(encoder, texts)


Encoded = EncodedSource | EncodedExamples | Sequence[EncodedExample]
"""Encoded examples of a source."""


def totals_of(source: Encoded) -> EncodedSource | EncodedExamples:
    """The same examples, which know their numbers of tokens, contexts and targets."""
    return source if isinstance(source, EncodedSource) else EncodedExamples.of(source)


class _Layout(NamedTuple):
    """Where the parts of sequences are.

    Attributes:
        starts: the first token of each sequence, and the end of the last, (S + 1,).
        history: tokens of each history, with the one before it, (S,).
        query: the tokens of each query's text, (S,).
        lengths: tokens of each sequence without a target's codes, (S,).
    """

    starts: Ints
    history: Ints
    query: Ints
    lengths: Ints

    @property
    def counts(self) -> Ints:
        return np.diff(self.starts)

    @staticmethod
    def of(vocabulary: Vocabulary, examples: Examples, query: Ints) -> "_Layout":
        spaces, asked = vocabulary.spaces, examples.query_of >= 0
        items = examples.lengths
        history = ((items > 0) | ~asked) + items * spaces.recommendation.levels
        lengths = history + asked * (query + 2)
        answer = np.where(asked, spaces.search.levels, spaces.recommendation.levels) - 1
        if examples.visible is not None:
            _, visible, _ = examples.flat_targets()
            last = np.maximum.reduceat(visible, np.cumsum(examples.counts) - examples.counts)
            answer = answer * (last == items)
        starts = np.concatenate([[0], np.cumsum(lengths + answer)])
        return _Layout(starts, history, query, lengths)


def _tokens(
    vocabulary: Vocabulary, examples: Examples, layout: _Layout, written: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """The tokens of all sequences, one after another; `written` are those of the queries."""
    tokens = np.empty(layout.starts[-1], dtype=np.int32)
    starts, asked = layout.starts[:-1], np.flatnonzero(examples.query_of >= 0)
    told = layout.history > 0
    tokens[starts[told]] = vocabulary.special_token("<history>")
    codes = vocabulary.encode_history(examples.flat_histories())
    tokens[runs(starts + 1, np.maximum(layout.history - 1, 0))] = codes
    begins, texts = (starts + layout.history)[asked], layout.query[asked]
    tokens[begins] = vocabulary.special_token("<query>")
    tokens[runs(begins + 1, texts)] = written
    tokens[begins + 1 + texts] = vocabulary.special_token("<answer>")
    answers = layout.counts - layout.lengths
    for task, rows in _by_task(examples.query_of >= 0):
        own = rows[answers[rows] > 0]
        targets = examples.targets[examples.target_ends[own] - 1]
        codes = vocabulary.spaces.of(task).codes[targets] + vocabulary.code_tokens(task)
        tokens[runs((starts + layout.lengths)[own], answers[own])] = codes[:, :-1].reshape(-1)
    return tokens


def _contexts(vocabulary: Vocabulary, examples: Examples, layout: _Layout) -> tuple[_Rows, _Rows]:
    """The contexts, and the targets, of all sequences; see `EncodedExamples`."""
    spaces = vocabulary.spaces
    items, visible, weights = examples.flat_targets()
    of = np.repeat(np.arange(len(examples)), examples.counts)
    asked = examples.query_of[of] >= 0
    ends = visible * spaces.recommendation.levels
    ends = np.where(asked & (visible == examples.lengths[of]), layout.lengths[of] - 1, ends)
    levels = np.where(asked, spaces.search.levels, spaces.recommendation.levels)
    places = runs(np.zeros_like(levels), levels)
    codes, codebooks = np.empty_like(places), np.empty_like(places)
    starts = np.cumsum(levels) - levels
    for task, rows in _by_task(asked):
        own = runs(starts[rows], levels[rows])
        codes[own] = spaces.of(task).codes[items[rows]].reshape(-1)
        codebooks[own] = np.tile(spaces.codebooks_of(task), len(rows))
    sequence = np.repeat(of, levels)
    # The positions of all sequences, counted through, so that each is another number.
    width = int(layout.counts.max(initial=0)) + 1
    positions = sequence * width + np.repeat(ends, levels) + places
    contexts, first, target_contexts = np.unique(positions, return_index=True, return_inverse=True)
    counts = np.bincount(contexts // width, minlength=len(examples))
    begins = np.concatenate([[0], np.cumsum(counts)])
    target_counts = np.bincount(sequence, minlength=len(examples))
    columns = contexts % width, codebooks[first], np.repeat(items, levels)[first]
    equal = np.ones(len(places)) if weights is None else np.repeat(weights, levels)
    return (
        _Rows(begins, tuple(_small(*columns))),
        _Rows(
            np.concatenate([[0], np.cumsum(target_counts)]),
            (*_small(target_contexts - begins[sequence], codes), equal),
        ),
    )


def _by_task(asked: npt.NDArray[np.bool_]) -> Iterable[tuple[Task, Ints]]:
    """The tasks, and the rows of each that there are."""
    tasks: tuple[Task, Task] = "search", "recommendation"
    for task, rows in zip(tasks, (np.flatnonzero(asked), np.flatnonzero(~asked)), strict=True):
        if len(rows):
            yield task, rows


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE, which can write any text; lower case and letters as in `data.words`.

    Args:
        texts: item texts and training queries.
        size: the largest number of tokens; the 256 bytes are always among them.
    """
    tokenizer = Tokenizer(models.BPE())
    letters = [normalizers.Replace(typed, one) for typed, one in LETTERS.items()]
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(f"[{IGNORED}]"), ""),
            *letters,
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def fresh_vocabulary(
    tokenizer: Tokenizer,
    spaces: IdSpaces,
    max_history: int,
    max_query_tokens: int,
    encoder: TextEncoder | None = None,
) -> Vocabulary:
    """The vocabulary of a backbone with fresh weights; `<pad>` is the padding."""
    size = tokenizer.get_vocab_size()
    return Vocabulary(
        tokenizer=tokenizer,
        text_size=size,
        pad=size,
        spaces=spaces,
        max_history=max_history,
        max_query_tokens=max_query_tokens,
        encoder=encoder,
    )


def longest_request(spaces: IdSpaces, max_history: int, max_query_tokens: int) -> int:
    """Tokens of the longest request with its answer: history, query, 3 special tokens, codes."""
    answer = max(spaces.search.levels, spaces.recommendation.levels) - 1
    return 3 + max_query_tokens + max_history * spaces.recommendation.levels + answer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read what `Vocabulary.save` wrote."""
    return Tokenizer.from_file(str(folder / _FILE))
