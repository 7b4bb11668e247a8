"""The losses against plain torch, and against each other."""

import math
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.identifiers.test_trie import identifiers
from twofold.identifiers.identifiers import Identifiers, shared
from twofold.identifiers.trie import build_trie
from twofold.training import loss as losses
from twofold.training.loss import CodeLoss, Targets, full_softmax, sampled_softmax
from twofold.training.trie_levels import trie_levels

Drawn = tuple[torch.Tensor, torch.Tensor, Targets]


def _drawn(seed: int, contexts: int, codes: int, targets: int) -> Drawn:
    """States, embeddings and targets of one codebook."""
    torch.manual_seed(seed)
    return (
        torch.randn(contexts, 6, requires_grad=True),
        torch.randn(codes, 6, requires_grad=True),
        Targets(
            contexts=torch.randint(0, contexts, (targets,)),
            codes=torch.randint(0, codes, (targets,)),
            weights=torch.rand(targets),
            codebooks=torch.zeros(contexts, dtype=torch.long),
            items=torch.zeros(contexts, dtype=torch.long),
        ),
    )


def _plain(states: torch.Tensor, embeddings: torch.Tensor, targets: Targets) -> torch.Tensor:
    scores = states[targets.contexts] @ embeddings.T
    each = F.cross_entropy(scores, targets.codes, reduction="none")
    return (targets.weights * each).sum()


@settings(max_examples=40)
@given(
    st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 40), st.integers(1, 60),
    st.sampled_from([1, 400, 20_000, 10**6]), st.sampled_from([0, 64]), st.sampled_from([7, 1024]),
)  # fmt: skip
def test_full_softmax_equals_cross_entropy(
    seed: int, contexts: int, codes: int, targets: int, chunk: int, fewest: int, block: int
) -> None:
    """By chunks of contexts, and by blocks where a chunk would have few of them."""
    drawn = _drawn(seed, contexts, codes, targets)
    with (
        mock.patch.object(losses, "_CHUNK_BYTES", chunk),
        mock.patch.object(losses, "_FEWEST_CONTEXTS", fewest),
        mock.patch.object(losses, "_BLOCK_CONTEXTS", block),
    ):
        ours = full_softmax(*drawn)
    theirs = _plain(*drawn)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-5)
    expected = torch.autograd.grad(theirs * 3, drawn[:2])
    for found, wanted in zip(torch.autograd.grad(ours * 3, drawn[:2]), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_bfloat16_products_change_gradients_a_little_and_the_loss_not_at_all() -> None:
    drawn = _drawn(0, 50, 40, 50)
    exact, rounded = full_softmax(*drawn), full_softmax(*drawn, torch.bfloat16)
    assert exact.item() == rounded.item()
    pairs = zip(
        torch.autograd.grad(exact, drawn[:2]), torch.autograd.grad(rounded, drawn[:2]), strict=True
    )
    for wanted, found in pairs:
        assert (found - wanted).norm() < 0.02 * wanted.norm()


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(2, 30), st.integers(1, 40))
def test_sampled_equals_full_when_every_code_is_drawn_once(
    seed: int, contexts: int, codes: int, targets: int
) -> None:
    drawn = _drawn(seed, contexts, codes, targets)
    negatives = torch.randperm(codes)
    # M = V draws from the uniform proposal: each code is expected exactly once, log 1 = 0.
    expected = torch.full((codes,), math.log(codes * (1 / codes)))
    ours = sampled_softmax(*drawn, negatives, expected)
    theirs = full_softmax(*drawn)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4, abs=1e-4)
    wanted = torch.autograd.grad(theirs, drawn[:2])
    for found, want in zip(torch.autograd.grad(ours, drawn[:2]), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-4)


def test_accidental_hits_do_not_count() -> None:
    states, embeddings, targets = _drawn(1, 1, 3, 1)
    targets = replace(targets, codes=torch.tensor([0]), weights=torch.ones(1))
    hits = torch.tensor([0, 0])
    only_hits = sampled_softmax(states, embeddings, targets, hits, torch.zeros(3))
    assert only_hits.item() == pytest.approx(0.0, abs=1e-6)


def test_sampled_gradients_are_near_the_full_ones_on_average() -> None:
    drawn = _drawn(2, 4, 200, 8)
    counts = torch.rand(200).double() * 10
    sampled = CodeLoss(counts, [slice(0, len(counts))], limit=0, negatives=150)
    torch.manual_seed(0)
    draws = [torch.autograd.grad(sampled(*drawn), drawn[0])[0] for _ in range(300)]
    wanted = torch.autograd.grad(full_softmax(*drawn), drawn[0])[0]
    mean = torch.stack(draws).mean(dim=0)
    assert (mean - wanted).norm() < 0.1 * wanted.norm()


def test_negatives_are_drawn_half_uniformly_and_half_by_their_counts() -> None:
    """And their number expected is what the correction says."""
    counts = torch.tensor([0.0, 6.0, 1.0, 0.0, 1.0])
    loss = CodeLoss(counts, [slice(0, 5)], limit=0, negatives=20_000)
    torch.manual_seed(0)
    with mock.patch.object(losses, "sampled_softmax") as called:
        loss(*_drawn(0, 2, 5, 2))
    drawn, log_expected = called.call_args.args[3:5]
    expected = 20_000 * (0.5 / 5 + 0.5 * counts / 8)
    torch.testing.assert_close(log_expected.exp(), expected)
    found = torch.bincount(drawn, minlength=5)
    assert ((found - expected).abs() < 5 * expected.sqrt()).all()


def test_a_sparse_gradient_holds_what_a_step_read_and_equals_the_dense_one() -> None:
    drawn = _drawn(4, 6, 2000, 8)
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        loss = CodeLoss(torch.ones(2000), [slice(0, 2000)], limit=0, negatives=30, sparse=sparse)
        assert loss.is_sparse == sparse
        found.append(torch.autograd.grad(loss(*drawn), drawn[:2]))
    (of_states, dense), (own_states, own) = found
    torch.testing.assert_close(own_states, of_states)
    assert own.is_sparse
    assert own._values().shape == (38, 6)
    torch.testing.assert_close(own.to_dense(), dense)


def test_only_a_single_sampled_codebook_has_sparse_gradients() -> None:
    one, two = [slice(0, 11)], [slice(0, 11), slice(11, 22)]
    assert CodeLoss(torch.ones(11), one, limit=10, negatives=5).is_sparse
    assert not CodeLoss(torch.ones(11), one, limit=11, negatives=5).is_sparse
    assert not CodeLoss(torch.ones(22), two, limit=10, negatives=5).is_sparse


def test_each_level_is_normalised_over_its_own_codes() -> None:
    states, embeddings, drawn = _drawn(3, 6, 20, 11)
    codebooks = torch.tensor([0, 1, 1, 0, 1, 0])
    ranges = [slice(0, 12), slice(12, 20)]
    codes = drawn.codes % torch.tensor([12, 8])[codebooks[drawn.contexts]]
    targets = replace(drawn, codebooks=codebooks, codes=codes)
    loss = CodeLoss(torch.ones(20), ranges, limit=100, negatives=5)
    expected = torch.zeros(())
    for context, code, weight in zip(targets.contexts, codes, targets.weights, strict=True):
        scores = states[context] @ embeddings[ranges[int(codebooks[context])]].T
        expected = expected - weight * torch.log_softmax(scores, 0)[code]
    found = loss(states, embeddings, targets)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected, [states, embeddings])
    torch.testing.assert_close(torch.autograd.grad(found, [states, embeddings]), wanted)


@settings(max_examples=40)
@given(identifiers(most=25), st.integers(0, 1000), st.sampled_from([1, 400, 10**6]))
def test_a_softmax_is_over_the_valid_continuations(
    made: Identifiers, seed: int, chunk_bytes: int
) -> None:
    spaces, rng = shared(made), np.random.default_rng(seed)
    items, levels = rng.integers(0, len(made), 30), rng.integers(0, made.levels, 30)
    states, embeddings, drawn = _drawn(seed, 30, spaces.size, 30)
    targets = replace(
        drawn,
        contexts=torch.arange(30),
        codes=torch.from_numpy(made.codes[items, levels]),
        codebooks=torch.from_numpy(levels),
        items=torch.from_numpy(items),
    )
    counts, ranges = torch.ones(spaces.size), spaces.codebooks
    valid = trie_levels(spaces, {"search": build_trie(made)})
    loss = CodeLoss(counts, ranges, 1000, negatives=5, levels=valid)
    expected = torch.zeros(())
    for row, (item, level) in enumerate(zip(items, levels, strict=True)):
        code = made.codes[item, level]
        alike = (made.codes[:, :level] == made.codes[item, :level]).all(axis=1)
        scores = embeddings[ranges[level]] @ states[row]
        following = scores[np.unique(made.codes[alike, level])]
        expected = expected + targets.weights[row] * (following.logsumexp(0) - scores[code])
    before = losses._CHUNK_BYTES
    losses._CHUNK_BYTES = chunk_bytes
    try:
        found = loss(states, embeddings, targets)
    finally:
        losses._CHUNK_BYTES = before
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    wanted = torch.autograd.grad(expected, [states, embeddings])
    torch.testing.assert_close(
        torch.autograd.grad(found, [states, embeddings]), wanted, rtol=1e-3, atol=1e-4
    )


def test_the_number_of_codes_chooses_the_loss() -> None:
    few = CodeLoss(torch.ones(10), [slice(0, 10)], limit=10, negatives=5)
    many = CodeLoss(torch.ones(11), [slice(0, 11)], limit=10, negatives=5)
    assert few.describe() == "full softmax"
    assert many.describe() == "sampled softmax, 5 negatives"
    made = Identifiers("semantic", np.array([[0, 0], [1, 2]]), (2, 3))
    valid = trie_levels(shared(made), {"search": build_trie(made)})
    by_trie = CodeLoss(torch.ones(5), shared(made).codebooks, 2, 5, levels=valid)
    assert by_trie.describe() == "full softmax, over the valid continuations"
