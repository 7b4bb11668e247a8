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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from twofold.data.words import IGNORED, LETTERS
from twofold.encoders.vectors import TextEncoder
from twofold.identifiers.identifiers import IdSpaces
from twofold.records import Example, Floats, Ints, Task

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
        places = np.arange(starts[-1]) + np.repeat(self.starts[examples] - starts[:-1], counts)
        return _Rows(starts, tuple(column[places] for column in self.columns))

    def at(self, example: int) -> tuple[npt.NDArray[Any], ...]:
        own = slice(self.starts[example], self.starts[example + 1])
        return tuple(column[own] for column in self.columns)


_ENCODED_AT_ONCE = 4096
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

    def _special_token(self, name: str) -> int:
        return self.text_size + _SPECIAL.index(name)

    def encode_query(self, text: str) -> list[int]:
        """Token ids of a query, at most `max_query_tokens` of them."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids[: self.max_query_tokens]

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
        """Write an example as tokens; what lies before the last `max_history` items is cut.

        Where an identifier is one code, one sequence holds all targets. Where it is several, the
        targets that are the next item of the history share a sequence, in which their codes
        follow anyway; each other target needs a sequence of its own that ends in its codes.
        """
        example = example.cut(self.max_history)
        if not len(example.targets):
            return []
        if self.spaces.are_shared and self.spaces.search.levels == 1:
            return [self._encode_targets(example, np.arange(len(example.targets)))]
        at_end = example.visible == len(example.history)
        is_next = np.zeros_like(at_end)
        inside = np.flatnonzero(~at_end)
        is_next[inside] = example.targets[inside] == example.history[example.visible[inside]]
        together, single = np.flatnonzero(is_next), np.flatnonzero(~is_next)
        if example.query is None and len(single) and at_end[single[-1]]:
            together, single = np.append(together, single[-1]), single[:-1]
        encoded = [self._encode_targets(example, together)] if len(together) else []
        return encoded + [self._encode_targets(example, np.array([target])) for target in single]

    def _encode_targets(self, example: Example, chosen: Ints) -> EncodedExample:
        """One sequence with the `chosen` targets of an example, (targets,).

        The codes of a target that the history does not continue with follow the request.
        """
        visible, targets = example.visible[chosen], example.targets[chosen]
        whole = int(visible.max(initial=0)) == len(example.history)
        history = example.history if whole or len(chosen) > 1 else example.history[: visible[0]]
        query = example.query if whole else None
        tokens = self._request_tokens(history, query)
        length, task = len(tokens), self.task(query)
        ends = visible * self.spaces.recommendation.levels
        if query is not None:
            ends = np.where(visible == len(history), length - 1, ends)
        levels = np.arange(self.spaces.of(task).levels)
        codes = self.spaces.of(task).codes[targets]  # (targets, levels)
        if whole or len(history) < len(example.history):
            tokens = np.concatenate([tokens, (codes[-1] + self.code_tokens(task))[:-1]])
        positions = (ends[:, None] + levels).reshape(-1)
        contexts, first, target_contexts = np.unique(
            positions, return_index=True, return_inverse=True
        )
        codebooks = np.tile(self.spaces.codebooks_of(task), len(chosen))[first]
        weights = np.ones(len(example.targets)) if example.weights is None else example.weights
        return EncodedExample(
            tokens=tokens,
            length=length,
            contexts=contexts,
            codebooks=codebooks,
            context_items=np.repeat(targets, len(levels))[first],
            target_contexts=target_contexts,
            targets=codes.reshape(-1),
            weights=np.repeat(weights[chosen], len(levels)),
            items=len(chosen),
            query=query or "",
        )

    def _request_tokens(self, history: Ints, query: str | None) -> Ints:
        parts: list[Ints] = []
        if len(history) or query is None:
            parts += [np.array([self._special_token("<history>")]), self.encode_history(history)]
        if query is not None:
            text = self.encode_query(query)
            parts.append(
                np.array([self._special_token("<query>"), *text, self._special_token("<answer>")])
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
