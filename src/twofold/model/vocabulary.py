"""Text tokens and code tokens: the only file that knows a token id.

A sequence is `<history> codes... <query> text... <answer>`, either part optional. The state at a
history's last visible code, or at `<answer>`, generates the next identifier's first code. Where
there is a text encoder, its vector of the query enters at `<answer>` too.

Shapes: B sequences, L tokens, C contexts (states that generate), T targets, E width of a vector.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from twofold.encoders.encoders import TextEncoder
from twofold.identifiers.identifiers import Identifiers
from twofold.records import Example, Floats, Ints

_SPECIAL = ("<pad>", "<history>", "<query>", "<answer>")
_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """One example as token ids.

    Attributes:
        tokens: shape (L,).
        contexts: positions in `tokens` whose state generates, shape (C,).
        target_contexts: for each target its place in `contexts`, shape (T,).
        targets: the code of each target, shape (T,).
        weights: of each target in the loss, shape (T,).
        query: what was typed, for the text encoder.
    """

    tokens: Ints
    contexts: Ints
    target_contexts: Ints
    targets: Ints
    weights: Floats
    query: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Padded sequences, ready for a backbone.

    Attributes:
        tokens: shape (B, L), padded on the right.
        lengths: shape (B,).
        context_rows, context_positions: where the generating states stand, shape (C,).
        target_contexts: for each target its context, shape (T,).
        targets: the code of each target, shape (T,).
        weights: of each target in the loss, shape (T,), float32.
        query_vectors: for the last token of each sequence, shape (B, E), zero where nothing was
            typed; E is 0 without a text encoder.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    context_rows: torch.Tensor
    context_positions: torch.Tensor
    target_contexts: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    query_vectors: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Text tokens first, then the four marks, then the codes of every level.

    Attributes:
        tokenizer: text -> ids below `text_size`.
        text_size: size of the text part; a checkpoint's embedding may be larger than its
            tokenizer, so this is not always the tokenizer's size.
        pad: the id that fills up a batch.
        identifiers: what the code tokens stand for.
        max_history: items of a history that are read, the most recent ones.
        max_query: tokens of a query that are read, the first ones.
        encoder: gives queries a vector besides their tokens; None for tokens alone.
    """

    tokenizer: Tokenizer
    text_size: int
    pad: int
    identifiers: Identifiers
    max_history: int
    max_query: int
    encoder: TextEncoder | None = None

    @property
    def vector_width(self) -> int:
        """E, the width of a query's vector."""
        return self.encoder.width if self.encoder else 0

    @property
    def code_start(self) -> int:
        """The id of level 0's first code."""
        return self.text_size + len(_SPECIAL)

    @property
    def size(self) -> int:
        """Number of token ids."""
        return self.code_start + sum(self.identifiers.codebook_sizes)

    def _mark(self, name: str) -> int:
        return self.text_size + _SPECIAL.index(name)

    def encode_query(self, text: str) -> list[int]:
        """Token ids of a query, at most `max_query`."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids[: self.max_query]

    def encode_history(self, history: Ints) -> Ints:
        """Code token ids of a history, shape (H * levels,)."""
        sizes = self.identifiers.codebook_sizes
        starts = self.code_start + np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)
        return (self.identifiers.codes[history] + starts).reshape(-1)

    def encode(self, example: Example) -> Sequences:
        """Write an example as tokens; what lies before the last `max_history` items is cut."""
        example = example.cut(self.max_history)
        history, visible = example.history, example.visible
        parts = []
        if len(history) or example.query is None:
            parts += [np.array([self._mark("<history>")]), self.encode_history(history)]
        ends = visible * self.identifiers.levels
        if example.query is not None:
            words = self.encode_query(example.query)
            parts.append(np.array([self._mark("<query>"), *words, self._mark("<answer>")]))
            length = sum(len(part) for part in parts)
            ends = np.where(visible == len(history), length - 1, ends)
        contexts, target_contexts = np.unique(ends, return_inverse=True)
        codes = self.identifiers.codes[example.targets, 0]
        weights = np.ones(len(codes)) if example.weights is None else example.weights
        tokens, query = np.concatenate(parts), example.query or ""
        return Sequences(tokens, contexts, target_contexts, codes, weights, query)

    def collate(self, sequences: Sequence[Sequences]) -> Batch:
        """Pad sequences to one length and number their contexts through."""
        lengths = np.array([len(s.tokens) for s in sequences])
        tokens = np.full((len(sequences), lengths.max()), self.pad, dtype=np.int64)
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
            lengths=torch.from_numpy(lengths),
            context_rows=torch.from_numpy(np.repeat(np.arange(len(sequences)), counts)),
            context_positions=torch.from_numpy(np.concatenate([s.contexts for s in sequences])),
            target_contexts=torch.from_numpy(np.concatenate(places)),
            targets=torch.from_numpy(np.concatenate([s.targets for s in sequences])),
            weights=torch.from_numpy(np.concatenate([s.weights for s in sequences])).float(),
            query_vectors=torch.from_numpy(vectors),
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
    identifiers: Identifiers,
    max_history: int,
    max_query: int,
    encoder: TextEncoder | None = None,
) -> Vocabulary:
    """A vocabulary for weights that start from nothing."""
    size = tokenizer.get_vocab_size()
    return Vocabulary(tokenizer, size, size, identifiers, max_history, max_query, encoder)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read what `Vocabulary.save` wrote."""
    return Tokenizer.from_file(str(folder / _FILE))
