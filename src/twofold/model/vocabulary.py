"""Text tokens and code tokens: the only file that knows a token id.

A sequence is `<history> codes... <query> text... <answer>`, either part optional, and while
training, the target's codes but the last. The state at a history's last visible code, or at
`<answer>`, generates the next identifier's first code; the state at each of its codes the one of
the next level. Where there is a text encoder, its vector of the query enters at `<answer>` too.

Shapes: B sequences, L tokens, C contexts (states that generate), T targets (codes), E width of a
vector.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from twofold.encoders.text_encoder import TextEncoder
from twofold.identifiers.identifiers import IdSpaces
from twofold.records import Example, Floats, Ints, Task

_SPECIAL = ("<pad>", "<history>", "<query>", "<answer>")
_FILE = "tokenizer.json"

_LANES = 16
"""Numbers of float32 in the widest vector of a processor."""


def padded(tokens: int) -> int:
    """The width that requests of so many tokens are padded to: whole vectors."""
    return -(-tokens // _LANES) * _LANES


@dataclass(frozen=True, slots=True, eq=False)
class EncodedExample:
    """One example as token ids.

    Attributes:
        tokens: shape (L,).
        length: of the request alone, without a target's codes.
        contexts: positions in `tokens` whose state generates, shape (C,).
        codebooks: the table of codes that each context generates from, shape (C,).
        context_items: of each context an item that is spelled so far, shape (C,).
        target_contexts: for each target its place in `contexts`, shape (T,).
        targets: the code of each target within its level, shape (T,).
        weights: of each target in the loss, shape (T,).
        items: how many items the targets spell.
        query: what was typed, for the text encoder.
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


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Padded sequences, ready for a backbone.

    Attributes:
        tokens: shape (B, L), padded on the right.
        lengths: of the requests, without targets' codes, shape (B,).
        context_rows, context_positions: where the generating states stand, shape (C,).
        context_codebooks: the table of codes that each generates from, shape (C,).
        context_items: catalog position of an item that is spelled so far, shape (C,).
        target_contexts: for each target its context, shape (T,).
        targets: the code of each target within its level, shape (T,).
        weights: of each target in the loss, shape (T,), float32.
        query_vectors: for the last token of each request, shape (B, E), zero where nothing was
            typed; E is 0 without a text encoder.
        matches: what adds to the scores of the first code, (B, codes); (B, 0) for nothing. See
            `twofold.model.hybrid`.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
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
    """Text tokens first, then the four marks, then the codes of every codebook.

    Attributes:
        tokenizer: text -> ids below `text_size`.
        text_size: size of the text part; a checkpoint's embedding may be larger than its
            tokenizer, so this is not always the tokenizer's size.
        pad: the id that fills up a batch.
        spaces: what the code tokens stand for in each task.
        max_history: items of a history that are read, the most recent ones.
        max_query_tokens: tokens of a query that are read, the first ones.
        encoder: gives queries a vector besides their tokens; None for tokens alone.
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
        """E, the width of a query's vector."""
        return self.encoder.width if self.encoder else 0

    @property
    def code_start(self) -> int:
        """The id of the first code."""
        return self.text_size + len(_SPECIAL)

    @property
    def size(self) -> int:
        """Number of token ids."""
        return self.code_start + self.spaces.size

    def task(self, query: str | None) -> Task:
        """The task whose identifiers a request generates: with a query it is a search."""
        return "recommendation" if query is None else "search"

    def code_tokens(self, task: Task) -> Ints:
        """Token id of code 0 of each level of a task's identifiers, (levels,)."""
        starts = np.array([codebook.start for codebook in self.spaces.codebooks])
        return self.code_start + starts[self.spaces.codebooks_of(task)]

    def _mark(self, name: str) -> int:
        return self.text_size + _SPECIAL.index(name)

    def encode_query(self, text: str) -> list[int]:
        """Token ids of a query, at most `max_query_tokens`."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids[: self.max_query_tokens]

    def encode_history(self, history: Ints) -> Ints:
        """Code token ids of a history, shape (H * levels,)."""
        codes = self.spaces.recommendation.codes[history]
        return (codes + self.code_tokens("recommendation")).reshape(-1)

    def encode_request(self, history: Ints, query: str | None) -> EncodedExample:
        """Write a request as tokens, without a target; its last state generates.

        Args:
            history: catalog positions, oldest first, (H,); the last `max_history` are read.
        """
        tokens = self._request(history[-self.max_history :], query)
        nothing = np.zeros(0, np.int64)
        last = np.array([len(tokens) - 1])
        codebook = self.spaces.codebooks_of(self.task(query))[:1]
        any_item = np.zeros(1, np.int64)
        return EncodedExample(
            tokens=tokens,
            length=len(tokens),
            contexts=last,
            codebooks=codebook,
            context_items=any_item,
            target_contexts=nothing,
            targets=nothing,
            weights=np.zeros(0),
            items=0,
            query=query or "",
        )

    def encode(self, example: Example) -> list[EncodedExample]:
        """Write an example as tokens; what lies before the last `max_history` items is cut.

        One sequence holds all targets where an identifier is one code. Where it is several, the
        targets that the history goes on with share a sequence, for there their codes stand
        already; each other one needs a sequence of its own that ends in its codes.
        """
        example = example.cut(self.max_history)
        if not len(example.targets):
            return []
        if self.spaces.are_shared and self.spaces.search.levels == 1:
            return [self._spell(example, np.arange(len(example.targets)))]
        at_end = example.visible == len(example.history)
        goes_on = np.zeros_like(at_end)
        inside = np.flatnonzero(~at_end)
        following = example.history[example.visible[inside]]
        goes_on[inside] = example.targets[inside] == following
        together, apart = np.flatnonzero(goes_on), np.flatnonzero(~goes_on)
        if example.query is None and len(apart) and at_end[apart[-1]]:
            together, apart = np.append(together, apart[-1]), apart[:-1]
        sequences = [self._spell(example, together)] if len(together) else []
        return sequences + [self._spell(example, np.array([target])) for target in apart]

    def _spell(self, example: Example, chosen: Ints) -> EncodedExample:
        """The sequence of the `chosen` targets of an example; the last may spell itself out."""
        visible, targets = example.visible[chosen], example.targets[chosen]
        whole = int(visible.max(initial=0)) == len(example.history)
        history = example.history if whole or len(chosen) > 1 else example.history[: visible[0]]
        query = example.query if whole else None
        tokens = self._request(history, query)
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

    def _request(self, history: Ints, query: str | None) -> Ints:
        parts: list[Ints] = []
        if len(history) or query is None:
            parts += [np.array([self._mark("<history>")]), self.encode_history(history)]
        if query is not None:
            words = self.encode_query(query)
            parts.append(np.array([self._mark("<query>"), *words, self._mark("<answer>")]))
        return np.concatenate(parts)

    def collate(self, sequences: Sequence[EncodedExample], width: int = 0) -> Batch:
        """Pad sequences to one length, `width` at least, and number their contexts through."""
        longest = max(width, *(len(s.tokens) for s in sequences))
        tokens = np.full((len(sequences), longest), self.pad, dtype=np.int64)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence.tokens)] = sequence.tokens
        counts = np.array([len(s.contexts) for s in sequences])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        places = [s.target_contexts + start for s, start in zip(sequences, starts, strict=True)]
        vectors = np.zeros((len(sequences), 0), np.float32)
        if self.encoder:
            vectors = self.encoder.encode([s.query for s in sequences])
        return Batch(
            tokens=torch.from_numpy(tokens),
            lengths=torch.tensor([s.length for s in sequences]),
            context_rows=torch.from_numpy(np.repeat(np.arange(len(sequences)), counts)),
            context_positions=torch.from_numpy(np.concatenate([s.contexts for s in sequences])),
            context_codebooks=torch.from_numpy(np.concatenate([s.codebooks for s in sequences])),
            context_items=torch.from_numpy(np.concatenate([s.context_items for s in sequences])),
            target_contexts=torch.from_numpy(np.concatenate(places)),
            targets=torch.from_numpy(np.concatenate([s.targets for s in sequences])),
            weights=torch.from_numpy(np.concatenate([s.weights for s in sequences])).float(),
            query_vectors=torch.from_numpy(vectors),
            matches=torch.zeros(len(sequences), 0),
        )

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / _FILE))
        if self.encoder:
            self.encoder.save(folder)


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE on lower-cased text: no text is outside of it.

    Args:
        texts: item texts and training queries.
        size: tokens at most; the 256 bytes are always in.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
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
    """A vocabulary for weights that start from nothing."""
    size = tokenizer.get_vocab_size()
    return Vocabulary(tokenizer, size, size, spaces, max_history, max_query_tokens, encoder)


def longest_request(spaces: IdSpaces, max_history: int, max_query_tokens: int) -> int:
    """Tokens of the longest request with its answer: history, query, the three marks, codes."""
    answer = max(spaces.search.levels, spaces.recommendation.levels) - 1
    return 3 + max_query_tokens + max_history * spaces.recommendation.levels + answer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read what `Vocabulary.save` wrote."""
    return Tokenizer.from_file(str(folder / _FILE))
