"""Text tokens and code tokens: the only file that computes token ids.

A request is written as `<history> codes... <query> text... <answer>`; either part may be missing. A
training example continues with the target's codes except the last (teacher forcing). The state at a
history's last visible code, or at `<answer>`, generates the first code of the next identifier; the
state at each of its codes generates the code of the next level. With a text encoder, the query's
vector is added to the input at `<answer>`.

Shapes: S sequences, H items of a history, E width of a query's vector.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from twofold.data.words import ACCENTS, IGNORED, LETTERS
from twofold.encoders.vectors import TextEncoder
from twofold.identifiers.identifiers import IdSpaces
from twofold.model.encoded import (
    Batch,
    EncodedExample,
    EncodedExamples,
    EncodedSource,
    Queries,
    Ragged,
    int32,
    last_visible,
    rows_by_task,
    time_buckets,
)
from twofold.records import Ints, Task, slice_indices
from twofold.tasks.arrays import Texts
from twofold.training_examples import Example, Examples

_SPECIAL = ("<pad>", "<history>", "<query>", "<answer>")
_FILE = "tokenizer.json"

_TOKENIZED_AT_ONCE = 100_000
"""The number of queries that the tokenizer reads at once."""
_BYTES_PER_TOKEN = 4
"""An estimate of the number of bytes per token of a query."""


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
        reads_time: whether a recommendation request may contain the time since the last event.
    """

    tokenizer: Tokenizer
    text_size: int
    pad: int
    spaces: IdSpaces
    max_history: int
    max_query_tokens: int
    encoder: TextEncoder | None = None
    reads_time: bool = False

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
        """Whether the tokenizer belongs to a pretrained checkpoint; a fresh one has its own padding
        id.
        """
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

    def encode_queries(self, texts: Sequence[str]) -> Ragged:
        """Token ids of queries, at most `max_query_tokens` of each, in one column."""
        if not self.max_query_tokens or not texts:
            return Ragged(np.zeros(len(texts) + 1, np.int64), (np.zeros(0, np.int32),))
        parts = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            batch = list(texts[start : start + _TOKENIZED_AT_ONCE])
            if self.tokenizer.padding:
                parts += [(np.array(self.encode_query(text), np.int32),) for text in batch]
            else:
                encoded = self.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                parts += [(np.array(e.ids[: self.max_query_tokens], np.int32),) for e in encoded]
        return Ragged.of(parts)

    def guess_query_lengths(self, texts: Sequence[str]) -> Ints:
        """An estimate of the number of tokens of each query, (texts,), from its bytes."""
        sizes = np.diff(Texts.of(texts).ends, prepend=0)
        lengths: Ints = np.minimum(sizes // _BYTES_PER_TOKEN + 1, self.max_query_tokens)
        return lengths

    def encode_history(self, history: Ints) -> Ints:
        """Code token ids of a history, (H * levels,)."""
        codes = self.spaces.recommendation.codes[history]
        return (codes + self.code_tokens("recommendation")).reshape(-1)

    def encode_request(
        self, history: Ints, query: str | None, since: float | None = None
    ) -> EncodedExample:
        """Write a request as tokens, without a target; its last state generates.

        Args:
            history: catalog positions, oldest first, (H,); the last `max_history` are read.
            query: the query's text, or None.
            since: the seconds since the last event of the history; None if not known. It is not
                read with a query.
        """
        seconds = since if since is not None and query is None else np.nan
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
            time_buckets=time_buckets(np.array([seconds])),
            query=query or "",
            history=history,
        )

    def encode(self, example: Example) -> list[EncodedExample]:
        """Write an example as tokens; see `encode_all`."""
        encoded = self.encode_all(Examples.of([example]))
        return list(encoded.take(np.arange(len(encoded))))

    def encode_all(self, examples: Examples) -> EncodedSource:
        """The examples as tokens; items before the last `max_history` are cut off.

        If an identifier has one code, one sequence has all targets. If it has several, the targets
        that are the next item of the history share a sequence, which contains their codes anyway;
        each other target needs its own sequence, which ends with its codes.
        """
        examples = examples.truncate(self.max_history)
        if self.spaces.are_shared and self.spaces.search.levels == 1:
            return EncodedSource(self, examples)
        if examples.order == "end" and ((examples.query_of >= 0) | (examples.counts == 1)).all():
            return EncodedSource(self, _one_target_each(examples))
        if examples.order == "next":
            return EncodedSource(self, examples)
        parts = (part for example in examples for part in _by_sequence(example))
        return EncodedSource(self, Examples.of(parts))

    def token_counts(self, examples: Examples, query_lengths: Ints) -> Ints:
        """The number of tokens of each sequence, (S,).

        Args:
            examples: one for each sequence.
            query_lengths: the number of tokens of each query's text, (S,); 0 without a query.
        """
        return _Spans.of(self, examples, query_lengths).counts

    def write(self, examples: Examples, query_tokens: Ragged, queries: Queries) -> EncodedExamples:
        """Sequences as tokens, with the states that generate and their targets.

        Args:
            examples: one for each sequence.
            query_tokens: the tokens of the queries of those examples that have one.
            queries: the query of each example.
        """
        query_lengths = np.zeros(len(examples), dtype=np.int64)
        query_lengths[examples.query_of >= 0] = query_tokens.counts
        spans = _Spans.of(self, examples, query_lengths)
        contexts, targets = _contexts(self, examples, spans)
        tokens = _tokens(self, examples, spans, query_tokens.columns[0])
        return EncodedExamples(
            tokens=Ragged(spans.offsets, (tokens,)),
            contexts=contexts,
            targets=targets,
            lengths=spans.lengths,
            items=examples.counts,
            queries=queries,
        )

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
        """Pad examples to one length, at least `width`, and number the contexts of all of them."""
        flat = EncodedExamples.of(examples)
        counts = flat.tokens.counts
        tokens = np.full((len(flat), max(width, int(counts.max()))), self.pad, np.int64)
        indices = np.flatnonzero(np.arange(tokens.shape[1]) < counts[:, None])
        tokens.reshape(-1)[indices] = flat.tokens.columns[0]
        rows = np.repeat(np.arange(len(flat)), flat.contexts.counts)
        starts = np.repeat(flat.contexts.offsets[:-1], flat.targets.counts)
        positions, codebooks, items, buckets = flat.contexts.columns
        target_contexts, targets, weights = flat.targets.columns
        vectors = np.zeros((len(flat), 0), np.float32)
        if self.encoder:
            vectors = flat.queries.encode(self.encoder)
        return Batch(
            tokens=torch.from_numpy(tokens),
            lengths=torch.from_numpy(flat.lengths),
            token_indices=torch.from_numpy(indices),
            context_rows=torch.from_numpy(rows),
            context_positions=torch.from_numpy(positions).long(),
            context_codebooks=torch.from_numpy(codebooks).long(),
            context_items=torch.from_numpy(items).long(),
            time_buckets=torch.from_numpy(buckets).long(),
            target_contexts=torch.from_numpy(target_contexts + starts),
            targets=torch.from_numpy(targets).long(),
            weights=torch.from_numpy(weights).float(),
            query_vectors=torch.from_numpy(vectors),
            matches=torch.zeros(len(flat), 0),
        )

    def save(self, folder: Path) -> None:
        """Write the tokenizer and the text encoder; the rest is in the model's manifest."""
        self.tokenizer.save(str(folder / _FILE))
        if self.encoder:
            self.encoder.save(folder)


def _one_target_each(examples: Examples) -> Examples:
    """One example for each target, which depends on the whole history."""
    of = np.repeat(np.arange(len(examples)), examples.counts)
    target_starts = slice_indices(examples.target_starts, examples.counts)
    return replace(examples.take(of), target_starts=target_starts, target_ends=target_starts + 1)


def _by_sequence(example: Example) -> Iterable[Example]:
    """The parts of an example whose targets' codes can share a sequence."""

    def part(chosen: Ints) -> Example:
        visible = example.visible[chosen]
        whole = int(visible.max(initial=0)) == len(example.history)
        end = len(example.history) if whole or len(chosen) > 1 else int(visible[0])
        query = example.query if whole else None
        return replace(example.select_targets(chosen), history=example.history[:end], query=query)

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


class _Spans(NamedTuple):
    """The positions of the parts of sequences: history, query, then codes of the target.

    Attributes:
        offsets: the first token of each sequence, then the number of all tokens, (S + 1,).
        history: the number of tokens of each history, `<history>` included, (S,).
        query: the number of tokens of each query's text, (S,).
        lengths: the number of tokens of each sequence without a target's codes, (S,).
    """

    offsets: Ints
    history: Ints
    query: Ints
    lengths: Ints

    @property
    def counts(self) -> Ints:
        """The number of tokens of each sequence, (S,)."""
        return np.diff(self.offsets)

    @staticmethod
    def of(vocabulary: Vocabulary, examples: Examples, query: Ints) -> "_Spans":
        spaces, is_search = vocabulary.spaces, examples.query_of >= 0
        items = examples.lengths
        history = ((items > 0) | ~is_search) + items * spaces.recommendation.levels
        lengths = history + is_search * (query + 2)
        answer = np.where(is_search, spaces.search.levels, spaces.recommendation.levels) - 1
        if examples.visible is not None:
            answer = answer * (last_visible(examples) == items)
        offsets = np.concatenate([[0], np.cumsum(lengths + answer)])
        return _Spans(offsets, history, query, lengths)


def _tokens(
    vocabulary: Vocabulary, examples: Examples, spans: _Spans, query_tokens: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """The tokens of all sequences, one after another."""
    tokens = np.empty(spans.offsets[-1], dtype=np.int32)
    starts, is_search = spans.offsets[:-1], examples.query_of >= 0
    tokens[starts[spans.history > 0]] = vocabulary.special_token("<history>")
    codes = vocabulary.encode_history(examples.flat_histories())
    tokens[slice_indices(starts + 1, np.maximum(spans.history - 1, 0))] = codes
    queries, lengths = (starts + spans.history)[is_search], spans.query[is_search]
    tokens[queries] = vocabulary.special_token("<query>")
    tokens[slice_indices(queries + 1, lengths)] = query_tokens
    tokens[queries + 1 + lengths] = vocabulary.special_token("<answer>")
    answers = spans.counts - spans.lengths
    for task, rows in rows_by_task(is_search):
        answered = rows[answers[rows] > 0]
        targets = examples.targets[examples.target_ends[answered] - 1]
        codes = vocabulary.spaces.of(task).codes[targets] + vocabulary.code_tokens(task)
        indices = slice_indices((starts + spans.lengths)[answered], answers[answered])
        tokens[indices] = codes[:, :-1].reshape(-1)
    return tokens


def _contexts(vocabulary: Vocabulary, examples: Examples, spans: _Spans) -> tuple[Ragged, Ragged]:
    """`EncodedExamples.contexts` and `targets` of all sequences."""
    spaces = vocabulary.spaces
    items, visible, weights = examples.flat_targets()
    example = np.repeat(np.arange(len(examples)), examples.counts)
    is_search = examples.query_of[example] >= 0
    # A target's first code is generated after the items that it sees, or at `<answer>`.
    ends = visible * spaces.recommendation.levels
    at_answer = is_search & (visible == examples.lengths[example])
    ends = np.where(at_answer, spans.lengths[example] - 1, ends)
    levels = np.where(is_search, spaces.search.levels, spaces.recommendation.levels)
    level = slice_indices(np.zeros_like(levels), levels)
    codes, codebooks = np.empty_like(level), np.empty_like(level)
    starts = np.cumsum(levels) - levels
    for task, rows in rows_by_task(is_search):
        of_task = slice_indices(starts[rows], levels[rows])
        codes[of_task] = spaces.of(task).codes[items[rows]].reshape(-1)
        codebooks[of_task] = np.tile(spaces.codebooks_of(task), len(rows))
    sequence = np.repeat(example, levels)
    # A position of any sequence as one number, so that `np.unique` finds equal ones.
    width = int(spans.counts.max(initial=0)) + 1
    positions = sequence * width + np.repeat(ends, levels) + level
    contexts, first, target_contexts = np.unique(positions, return_index=True, return_inverse=True)
    counts = np.bincount(contexts // width, minlength=len(examples))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    target_counts = np.bincount(sequence, minlength=len(examples))
    buckets = np.repeat(time_buckets(examples.flat_since()), levels)[first]
    columns = contexts % width, codebooks[first], np.repeat(items, levels)[first], buckets
    repeated = np.ones(len(level)) if weights is None else np.repeat(weights, levels)
    return (
        Ragged(offsets, int32(*columns)),
        Ragged(
            np.concatenate([[0], np.cumsum(target_counts)]),
            (*int32(target_contexts - offsets[sequence], codes), repeated),
        ),
    )


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE, which can encode any text; it normalises case, accents and `LETTERS` as
    `data.words` does.

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
            normalizers.NFD(),
            normalizers.Replace(Regex(ACCENTS), ""),
            normalizers.NFC(),
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
    reads_time: bool = False,
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
        reads_time=reads_time,
    )


def longest_request(spaces: IdSpaces, max_history: int, max_query_tokens: int) -> int:
    """Tokens of the longest request with its answer: history, query, 3 special tokens, codes."""
    answer = max(spaces.search.levels, spaces.recommendation.levels) - 1
    return 3 + max_query_tokens + max_history * spaces.recommendation.levels + answer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read what `Vocabulary.save` wrote."""
    return Tokenizer.from_file(str(folder / _FILE))
