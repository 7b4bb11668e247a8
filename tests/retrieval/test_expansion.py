"""Batches of requests, and the logits of hypotheses."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.model.random_model import grid, random_model
from twofold.encoders.tfidf import Words
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.hybrid import Hybrid, postings_of
from twofold.records import InputError
from twofold.retrieval.expansion import Expansion, batch_of, finite, with_matches


def test_a_batch_is_padded_to_the_simd_width() -> None:
    model = random_model(shared(grid(4, 4)), "decoder:tiny", 0)
    request = model.vocabulary.encode_request(np.arange(5), "slow space")
    batch = batch_of(model, [request])
    assert batch.tokens.shape[1] % 16 == 0
    assert batch.matches.shape == (1, 0)


def test_a_batch_with_a_query_has_the_scores_of_the_hybrid_part() -> None:
    plain = random_model(shared(atomic(3)), "decoder:tiny", 0)
    texts = ["space opera", "space heist", "dance"]
    words = Words.fit([*texts, *texts])
    hybrid = Hybrid(2.0, words, postings_of(words, texts))
    model = dataclasses.replace(plain, hybrid=hybrid)
    encode = model.vocabulary.encode_request
    none = np.zeros(0, np.int64)
    alone = batch_of(model, [encode(np.arange(2), None)])
    assert alone.matches.shape == (1, 0)
    batch = batch_of(model, [encode(none, "heist"), encode(np.arange(2), None)])
    assert batch.matches.numpy() == pytest.approx(hybrid.scores(["heist", ""]))
    assert batch.matches[0].argmax() == 1
    logits = torch.zeros(2, 3)
    assert torch.equal(with_matches(logits, batch.matches), batch.matches)
    assert with_matches(logits, alone.matches) is logits


def test_an_expansion_scores_the_codebook_of_each_level() -> None:
    model = random_model(shared(grid(4, 3)), "decoder:tiny", 0)
    batch = batch_of(model, [model.vocabulary.encode_request(np.arange(2), None)] * 2)
    start = np.zeros((2, 1), np.int64)
    with torch.inference_mode():
        expand = Expansion(model, "recommendation", batch, beams=5)
        assert expand(0, start, start).shape == (2, 1, 4)
        second = expand(1, np.array([[0, 1, 3], [2, 2, 0]]), np.zeros((2, 3), np.int64))
    assert second.shape == (2, 3, 3)
    assert second[1, 0] == pytest.approx(second[1, 1], abs=1e-5), "equal hypotheses"


def test_a_model_that_diverged_is_named() -> None:
    with pytest.raises(InputError, match="its training diverged: train it again with a lower"):
        finite(torch.tensor([[1.0, float("nan")]]))
