"""Encoded examples and batches: where everything is, and what is cut."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from twofold.identifiers.identifiers import Identifiers, atomic, shared
from twofold.model import encoded
from twofold.model.encoded import padded
from twofold.model.vocabulary import (
    Vocabulary,
    fresh_vocabulary,
    longest_request,
    train_tokenizer,
)
from twofold.training_examples import Example, Examples


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    tokenizer = train_tokenizer(["slow space opera", "space heist", "slow dance"] * 3, 300)
    return fresh_vocabulary(tokenizer, shared(atomic(9)), max_history=3, max_query_tokens=4)


def _example(
    history: list[int], query: str | None, targets: list[int], visible: list[int]
) -> Example:
    return Example(
        history=np.array(history, dtype=np.int64),
        query=query,
        targets=np.array(targets, dtype=np.int64),
        visible=np.array(visible, dtype=np.int64),
    )


def test_a_history_generates_at_every_position(vocabulary: Vocabulary) -> None:
    start, code = vocabulary.text_size + 1, vocabulary.code_start
    (made,) = vocabulary.encode(_example([4, 5], None, [5, 6], [1, 2]))
    assert made.tokens.tolist() == [start, code + 4, code + 5]
    assert made.contexts.tolist() == [1, 2]
    assert made.targets[made.target_contexts.argsort()].tolist() == [5, 6]


def test_only_the_most_recent_items_are_read(vocabulary: Vocabulary) -> None:
    (made,) = vocabulary.encode(_example([0, 1, 2, 3, 4], None, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]))
    code = vocabulary.code_start
    assert made.tokens[1:].tolist() == [code + 2, code + 3, code + 4]
    assert made.targets.tolist() == [3, 4, 5]
    assert made.contexts.tolist() == [1, 2, 3]


def test_a_query_generates_its_answers_from_one_state(vocabulary: Vocabulary) -> None:
    (made,) = vocabulary.encode(_example([], "space opera", [7, 8], [0, 0]))
    assert made.tokens[0] == vocabulary.text_size + 2
    assert made.tokens[-1] == vocabulary.text_size + 3
    assert made.contexts.tolist() == [len(made.tokens) - 1]
    assert made.target_contexts.tolist() == [0, 0]


def test_history_then_query_then_answer(vocabulary: Vocabulary) -> None:
    (made,) = vocabulary.encode(_example([1, 2], "space", [3], [2]))
    marks = vocabulary.text_size
    assert made.tokens[0] == marks + 1
    assert made.tokens[3] == marks + 2
    assert made.tokens[-1] == marks + 3
    assert made.contexts.tolist() == [len(made.tokens) - 1]


def test_a_long_query_is_cut(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.encode_query("space " * 50)) == 4


def test_any_text_has_tokens(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode_query("日本 🚀")
    assert max(vocabulary.encode_query("日本 🚀")) < vocabulary.text_size


def test_levels_of_a_semantic_id_have_ids_of_their_own(vocabulary: Vocabulary) -> None:
    two = Identifiers("semantic", np.array([[0, 1], [1, 0]]), (2, 2))
    wide = fresh_vocabulary(vocabulary.tokenizer, shared(two), 3, 4)
    code = wide.code_start
    assert wide.encode_history(np.array([0, 1])).tolist() == [code, code + 3, code + 1, code + 2]
    assert wide.size == code + 4


def test_a_batch_pads_on_the_right_and_numbers_contexts_through(vocabulary: Vocabulary) -> None:
    batch = vocabulary.collate(
        [
            *vocabulary.encode(_example([4, 5], None, [5, 6], [1, 2])),
            *vocabulary.encode(_example([1], None, [2], [1])),
        ]
    )
    assert batch.tokens.shape == (2, 3)
    assert batch.tokens[1, 2] == vocabulary.pad
    assert batch.lengths.tolist() == [3, 2]
    assert batch.context_rows.tolist() == [0, 0, 1]
    assert batch.context_positions.tolist() == [1, 2, 1]
    assert batch.target_contexts.tolist() == [0, 1, 2]
    assert batch.targets.tolist() == [5, 6, 2]


def test_a_batch_moves_to_a_device_with_every_field(vocabulary: Vocabulary) -> None:
    batch = vocabulary.collate(vocabulary.encode(_example([1], None, [2], [1])))
    moved = batch.to(torch.device("meta"))
    assert {getattr(moved, part.name).device.type for part in fields(moved)} == {"meta"}
    for part in fields(batch):
        assert getattr(moved, part.name).shape == getattr(batch, part.name).shape


def test_requests_are_padded_to_the_simd_width() -> None:
    assert [padded(tokens) for tokens in (1, 16, 17)] == [16, 16, 32]


def test_the_longest_request_is_what_encoding_can_reach() -> None:
    tokenizer = train_tokenizer(["space opera"] * 3, 300)
    codes = np.array([[0, 1, 0], [1, 0, 1]])
    spaces = shared(Identifiers("semantic", codes, (2, 2, 2)))
    vocabulary = fresh_vocabulary(tokenizer, spaces, max_history=5, max_query_tokens=4)
    (longest,) = vocabulary.encode(_example([0, 1] * 9, "space opera " * 9, [1], [18]))
    assert len(longest.tokens) == longest_request(spaces, 5, 4)


_MIXED = [
    _example([4, 5], None, [5, 6], [1, 2]),
    _example([], "space opera", [7, 8], [0, 0]),
    _example([1, 2], "space", [3], [2]),
    _example([1, 2, 5], "slow dance", [2, 0, 8], [1, 2, 3]),
    _example([3, 1], "slow dance", [1, 4], [1, 1]),
]


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("order", ["end", "given", "next"])
def test_examples_together_are_written_as_each_alone(
    vocabulary: Vocabulary, levels: int, order: str
) -> None:
    two = Identifiers("semantic", np.stack([np.arange(9) // 3, np.arange(9) % 3], axis=1), (3, 3))
    vocabulary = replace(vocabulary, spaces=shared(atomic(9) if levels == 1 else two))
    examples = Examples.of(_MIXED[1:3] if order == "end" else _MIXED)
    if order == "next":
        examples = Examples.of_histories(np.arange(9), np.array([0, 2, 6]), np.array([2, 6, 9]))
    assert examples.order == order
    alone = [one for example in examples for one in vocabulary.encode(example)]
    together = vocabulary.encode_all(examples)
    assert len(together) == len(alone)
    for made, one in zip(together.take(np.arange(len(alone))), alone, strict=True):
        for part in fields(one):
            assert np.array_equal(getattr(made, part.name), getattr(one, part.name)), part.name


@pytest.mark.parametrize("order", ["end", "given", "next"])
def test_numbers_of_a_source_are_known_before_it_is_written(
    vocabulary: Vocabulary, order: str
) -> None:
    examples = Examples.of(_MIXED[1:3] if order == "end" else _MIXED)
    if order == "next":
        examples = Examples.of_histories(np.arange(9), np.array([0, 2, 6]), np.array([2, 6, 9]))
    source = vocabulary.encode_all(examples)
    written = source.take(np.arange(len(source)))
    assert source.token_counts.tolist() == [len(one.tokens) for one in written]
    assert source.context_count == sum(len(one.contexts) for one in written)
    assert source.target_items == sum(one.items for one in written)
    assert source.weight == sum(one.weights.sum() for one in written)
    spaces = vocabulary.spaces
    starts = np.array([codebook.start for codebook in spaces.codebooks])
    codes = [one.targets + starts[one.codebooks[one.target_contexts]] for one in written]
    counts = np.bincount(np.concatenate(codes), minlength=spaces.size)
    assert source.code_counts(spaces).tolist() == counts.tolist()


def test_queries_are_written_together_as_each_alone(vocabulary: Vocabulary) -> None:
    texts = ["space opera", "", "slow dance " * 9, "日本"]
    together = vocabulary.encode_queries(texts)
    for number, text in enumerate(texts):
        assert together.at(number)[0].tolist() == vocabulary.encode_query(text)


def test_queries_that_are_too_many_are_written_batch_by_batch(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = vocabulary.encode_all(Examples.of(_MIXED))
    rows = np.array([4, 1, 0, 2])
    whole, lengths = source.take(rows), source.token_counts
    monkeypatch.setattr(encoded, "_MAX_TOKENIZED", 1)
    later = vocabulary.encode_all(Examples.of(_MIXED))
    for ours, theirs in zip(later.take(rows), whole, strict=True):
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert ours.query == theirs.query
    # Histories have the length that they have; that of a query is a guess.
    assert later.token_counts[0] == lengths[0]
    assert (later.token_counts <= lengths + 4).all()


def test_the_tokenizer_normalises_accents_as_words_do() -> None:
    tokenizer = train_tokenizer(["cafe beyonce soren мой कि"] * 3, 400)
    for typed, plain in (("Café", "cafe"), ("BEYONCE\u0301", "beyonce"), ("Søren", "soren")):
        assert tokenizer.encode(typed).ids == tokenizer.encode(plain).ids
    assert tokenizer.encode("мой").ids != tokenizer.encode("мои").ids
