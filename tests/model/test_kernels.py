"""Weights laid out for answering give what the plain ones give."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from twofold.identifiers.identifiers import Identifiers, shared
from twofold.model.backbone import autocast
from twofold.model.fresh import fresh_backbone
from twofold.model.kernels import PackedLinear, can_pack
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer

TOKENIZER = train_tokenizer(["slow space opera", "space heist", "slow dance"] * 3, 300)
CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not can_pack(CPU), reason="this torch was built without oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2, 5, 8)])
def test_a_packed_layer_multiplies_as_the_plain_one(shape: tuple[int, ...], bias: bool) -> None:
    layer, states = nn.Linear(8, 5, bias=bias), torch.randn(shape)
    packed = PackedLinear(layer.weight, layer.bias, torch.float32)
    torch.testing.assert_close(packed(states), layer(states))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 2e-2)])
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
