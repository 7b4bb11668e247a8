"""Weights laid out for answering give what the plain ones give."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from tests.model.random_model import CPU, IN_BFLOAT16
from twofold.identifiers.identifiers import Identifiers, shared
from twofold.model import kernels
from twofold.model.backbone import autocast
from twofold.model.fresh import fresh_backbone
from twofold.model.kernels import PackedLinear, can_pack, linear
from twofold.model.t5 import Dropout, Linear
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.training_examples import Example

TOKENIZER = train_tokenizer(["slow space opera", "space heist", "slow dance"] * 3, 300)

pytestmark = pytest.mark.skipif(not can_pack(CPU), reason="this torch was built without oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2, 5, 8)])
def test_a_packed_layer_multiplies_as_the_plain_one(shape: tuple[int, ...], bias: bool) -> None:
    layer, states = nn.Linear(8, 5, bias=bias), torch.randn(shape)
    packed = PackedLinear(layer.weight, layer.bias, torch.float32)
    torch.testing.assert_close(packed(states), layer(states))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_can_be_copied_and_pickled(copied: Callable[[Any], Any], bias: bool) -> None:
    layer, states = nn.Linear(40, 33, bias=bias), torch.randn(7, 40)
    packed = PackedLinear(layer.weight, layer.bias, torch.float32)
    assert torch.equal(copied(packed)(states), packed(states))


@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("shape", [(1, 8), (7, 8), (2, 5, 8)])
def test_a_trained_layer_has_the_gradients_of_torch(
    shape: tuple[int, ...], avx512: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor with AVX-512 other products compute them than on one without."""
    monkeypatch.setattr(kernels, "_has_avx512", lambda: avx512)
    states, weight = torch.randn(shape), torch.randn(5, 8)
    grad = torch.randn(*shape[:-1], 10)[..., ::2]  # not contiguous
    results = []
    for product in (linear, F.linear):
        inputs = [tensor.clone().requires_grad_() for tensor in (states, weight)]
        made = product(*inputs)
        results.append([made, *torch.autograd.grad(made, inputs, grad)])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-4), pytest.param("bfloat16", 2e-2, marks=IN_BFLOAT16.marks)],
)
@pytest.mark.parametrize("name", ["decoder:tiny", "t5:tiny", "sasrec:tiny"])
@torch.no_grad()
def test_a_packed_backbone_scores_as_before(name: str, precision: str, tolerance: float) -> None:
    codes = np.stack(np.divmod(np.arange(25), 5), axis=1)
    spaces = shared(Identifiers("semantic", codes, (5, 5)))
    vocabulary = fresh_vocabulary(TOKENIZER, spaces, max_history=5, max_query_tokens=4)
    plain = fresh_backbone(name, vocabulary, 0.1, seed=0).eval()
    packed = copy.deepcopy(plain)
    packed.pack(precision, spaces.codebooks)
    # Plain layers would be trained; what is left is only read.
    layers = [m for m in packed.modules() if isinstance(m, nn.Linear | Conv1D)]
    assert layers == [packed.model.get_output_embeddings()]
    sequences = [vocabulary.encode_request(np.arange(n), "slow space") for n in range(4)]
    batch = vocabulary.collate(sequences)
    with autocast(CPU, precision):
        before, after = plain.states(batch), packed.states(batch)
    torch.testing.assert_close(after, before, rtol=tolerance, atol=tolerance)
    for codebook in spaces.codebooks:
        torch.testing.assert_close(packed.logits(before, codebook), plain.logits(before, codebook))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_t5_has_the_gradients_of_transformers(precision: str) -> None:
    """With requests of several lengths, targets of several codes, and no dropout."""
    codes = np.stack(np.divmod(np.arange(25), 5), axis=1)
    spaces = shared(Identifiers("semantic", codes, (5, 5)))
    vocabulary = fresh_vocabulary(TOKENIZER, spaces, max_history=5, max_query_tokens=4)
    ours = fresh_backbone("t5:tiny", vocabulary, 0.0, seed=0).train()
    theirs = copy.deepcopy(ours)
    theirs.model.set_attn_implementation("sdpa")
    kinds = [type(module) for module in ours.modules()]
    assert Linear in kinds
    assert Dropout in kinds
    for module in theirs.modules():
        if type(module) is Linear:
            module.__class__ = nn.Linear  # type: ignore[assignment]
    history = np.array([3, 7, 11, 2])
    requests = [
        Example(history=history[:n], query=None, targets=history[n : n + 1], visible=np.array([n]))
        for n in (1, 2, 3)
    ]
    batch = vocabulary.collate([e for request in requests for e in vocabulary.encode(request)])
    assert len(set(batch.lengths.tolist())) > 1, "there is padding"
    found = []
    for backbone, kind in ((theirs, "float32"), (ours, precision), (theirs, precision)):
        backbone.zero_grad()
        with autocast(CPU, kind):
            states = backbone.states(batch)
        total = (states * torch.linspace(0, 1, states.numel()).view_as(states)).sum()
        total.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in backbone.parameters() if p.grad is not None]
        found.append([states.detach(), *grads])
    for exact, own, other in zip(*found, strict=True):
        far = float((other - exact).norm() / exact.norm())
        assert float((own - exact).norm() / exact.norm()) < 1e-5 + 2 * far


def test_dropout_keeps_the_mean_and_answers_see_none_of_it() -> None:
    states, layer = torch.ones(200, 100), Dropout(0.3)
    dropped = layer(states)
    assert abs(float((dropped == 0).float().mean()) - 0.3) < 0.02
    assert abs(float(dropped.mean()) - 1) < 0.02
    assert layer.eval()(states) is states
