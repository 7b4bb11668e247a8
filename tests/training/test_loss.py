"""The losses against plain torch, and against each other."""

import math

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
from twofold.training.loss import CodeLoss, continuations, full_softmax, sampled_softmax

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _made(seed: int, contexts: int, codes: int, targets: int) -> Tensors:
    torch.manual_seed(seed)
    return (
        torch.randn(contexts, 6, requires_grad=True),
        torch.randn(codes, 6, requires_grad=True),
        torch.randint(0, contexts, (targets,)),
        torch.randint(0, codes, (targets,)),
        torch.rand(targets),
    )


def _plain(
    states: torch.Tensor,
    rows: torch.Tensor,
    contexts: torch.Tensor,
    codes: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    each = F.cross_entropy(states[contexts] @ rows.T, codes, reduction="none")
    return (weights * each).sum()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 40), st.integers(1, 60),
    st.sampled_from([1, 400, 10**6]),
)  # fmt: skip
def test_full_softmax_equals_cross_entropy(
    seed: int, contexts: int, codes: int, targets: int, chunk_bytes: int
) -> None:
    made = _made(seed, contexts, codes, targets)
    before = losses._CHUNK_BYTES
    losses._CHUNK_BYTES = chunk_bytes
    try:
        ours = full_softmax(*made)
    finally:
        losses._CHUNK_BYTES = before
    theirs = _plain(*made)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-5)
    expected = torch.autograd.grad(theirs * 3, made[:2])
    for found, wanted in zip(torch.autograd.grad(ours * 3, made[:2]), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_bfloat16_products_change_gradients_a_little_and_the_loss_not_at_all() -> None:
    made = _made(0, 50, 40, 50)
    exact, rounded = full_softmax(*made), full_softmax(*made, torch.bfloat16)
    assert exact.item() == rounded.item()
    pairs = zip(
        torch.autograd.grad(exact, made[:2]), torch.autograd.grad(rounded, made[:2]), strict=True
    )
    for wanted, found in pairs:
        assert (found - wanted).norm() < 0.02 * wanted.norm()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(2, 30), st.integers(1, 40))
def test_sampled_equals_full_when_every_code_is_drawn_once(
    seed: int, contexts: int, codes: int, targets: int
) -> None:
    made = _made(seed, contexts, codes, targets)
    negatives = torch.randperm(codes)
    # M = V draws from the uniform proposal: each code is expected exactly once, log 1 = 0.
    expected = torch.full((codes,), math.log(codes * (1 / codes)))
    ours = sampled_softmax(*made, negatives, expected)
    theirs = full_softmax(*made)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4, abs=1e-4)
    wanted = torch.autograd.grad(theirs, made[:2])
    for found, want in zip(torch.autograd.grad(ours, made[:2]), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-4)


def test_accidental_hits_do_not_count() -> None:
    states, rows, _, _, _ = _made(1, 1, 3, 1)
    one, zero = torch.ones(1), torch.zeros(3)
    index = torch.tensor([0])
    only_hits = sampled_softmax(states, rows, index, index, one, torch.tensor([0, 0]), zero)
    assert only_hits.item() == pytest.approx(0.0, abs=1e-6)


def test_sampled_gradients_are_near_the_full_ones_on_average() -> None:
    made = _made(2, 4, 200, 8)
    counts = torch.rand(200).double() * 10
    sampled = CodeLoss(counts, [slice(0, len(counts))], limit=0, negatives=150)
    torch.manual_seed(0)
    slots = torch.zeros(len(made[0]), dtype=torch.long)
    draws = [torch.autograd.grad(sampled(*made, slots, slots), made[0])[0] for _ in range(300)]
    wanted = torch.autograd.grad(full_softmax(*made), made[0])[0]
    mean = torch.stack(draws).mean(dim=0)
    assert (mean - wanted).norm() < 0.1 * wanted.norm()


def test_each_level_is_normalised_over_its_own_codes() -> None:
    states, rows, contexts, codes, weights = _made(3, 6, 20, 11)
    slots = torch.tensor([0, 1, 1, 0, 1, 0])
    tables = [slice(0, 12), slice(12, 20)]
    codes = codes % torch.tensor([12, 8])[slots[contexts]]
    loss = CodeLoss(torch.ones(20), tables, limit=100, negatives=5)
    expected = torch.zeros(())
    for context, code, weight in zip(contexts, codes, weights, strict=True):
        scores = states[context] @ rows[tables[int(slots[context])]].T
        expected = expected - weight * torch.log_softmax(scores, 0)[code]
    found = loss(states, rows, contexts, codes, weights, slots, torch.zeros_like(slots))
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected, [states, rows])
    torch.testing.assert_close(torch.autograd.grad(found, [states, rows]), wanted)


@settings(max_examples=40, deadline=None)
@given(identifiers(most=25), st.integers(0, 1000), st.sampled_from([1, 400, 10**6]))
def test_a_softmax_is_over_what_goes_on(made: Identifiers, seed: int, chunk_bytes: int) -> None:
    spaces, rng = shared(made), np.random.default_rng(seed)
    items, slots = rng.integers(0, len(made), 30), rng.integers(0, made.levels, 30)
    states, rows, _, _, weights = _made(seed, 30, spaces.size, 30)
    counts, sizes = torch.ones(spaces.size), spaces.codebooks
    goes_on = continuations(spaces, {"search": build_trie(made)})
    loss = CodeLoss(counts, sizes, 1000, negatives=5, continuations=goes_on)
    expected = torch.zeros(())
    for row, (item, slot) in enumerate(zip(items, slots, strict=True)):
        code = made.codes[item, slot]
        alike = (made.codes[:, :slot] == made.codes[item, :slot]).all(axis=1)
        scores = rows[sizes[slot]] @ states[row]
        following = scores[np.unique(made.codes[alike, slot])]
        expected = expected + weights[row] * (following.logsumexp(0) - scores[code])
    codes = torch.from_numpy(made.codes[items, slots])
    before = losses._CHUNK_BYTES
    losses._CHUNK_BYTES = chunk_bytes
    try:
        found = loss(
            states, rows, torch.arange(30), codes, weights, torch.from_numpy(slots),
            torch.from_numpy(items),
        )  # fmt: skip
    finally:
        losses._CHUNK_BYTES = before
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    wanted = torch.autograd.grad(expected, [states, rows])
    torch.testing.assert_close(
        torch.autograd.grad(found, [states, rows]), wanted, rtol=1e-3, atol=1e-4
    )


def test_the_number_of_codes_chooses_the_loss() -> None:
    few = CodeLoss(torch.ones(10), [slice(0, 10)], limit=10, negatives=5)
    many = CodeLoss(torch.ones(11), [slice(0, 11)], limit=10, negatives=5)
    assert few.describe() == "full softmax"
    assert many.describe() == "sampled softmax, 5 negatives"
    made = Identifiers("semantic", np.array([[0, 0], [1, 2]]), (2, 3))
    goes_on = continuations(shared(made), {"search": build_trie(made)})
    by_trie = CodeLoss(torch.ones(5), shared(made).codebooks, 2, 5, continuations=goes_on)
    assert by_trie.describe() == "full softmax, over the codes that go on"
