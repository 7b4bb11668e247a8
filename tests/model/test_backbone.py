"""Backbones: hidden states, the output embeddings of the codes, and codes that are added."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.model.random_model import BACKBONES, grid, random_vocabulary
from twofold.encoders.tfidf import TfidfEncoder
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.backbone import Backbone, autocast, resolve_device, resolve_precision
from twofold.model.fresh import fresh_backbone
from twofold.model.kernels import coalesced
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.records import InputError

TEXTS = ["slow space opera", "space heist", "slow dance", "space dance"]
NONE = np.zeros(0, np.int64)
CPU = torch.device("cpu")


def test_a_backbone_that_cannot_read_is_refused() -> None:
    class Unfinished(Backbone):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished(torch.nn.Linear(1, 1), random_vocabulary(shared(grid(4, 4))))  # type: ignore[abstract]


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_the_state_of_a_request_does_not_depend_on_its_padding(name: str) -> None:
    vocabulary = random_vocabulary(shared(grid(4, 4)))
    backbone = fresh_backbone(name, vocabulary, 0.1, seed=0).eval()
    short = vocabulary.encode_request(np.arange(1), None)
    longest = vocabulary.encode_request(np.arange(5), "slow space dance")
    alone = backbone.states(vocabulary.collate([short]))
    padded = backbone.states(vocabulary.collate([short, longest]))
    assert alone.shape == (1, 64)
    torch.testing.assert_close(padded[:1], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_vector_of_a_query_is_added_at_its_last_token() -> None:
    encoder = TfidfEncoder.fit([*TEXTS, *TEXTS])
    tokenizer = train_tokenizer(TEXTS * 3, 300)
    vocabulary = fresh_vocabulary(tokenizer, shared(atomic(4)), 5, 4, encoder)
    backbone = fresh_backbone("decoder:tiny", vocabulary, 0.0, seed=0).eval()
    assert backbone.query_map is not None
    batch = vocabulary.collate(
        [vocabulary.encode_request(NONE, "space opera"), vocabulary.encode_request(NONE + 1, None)]
    )
    plain = backbone.model.get_input_embeddings()(batch.tokens)
    added = backbone.inputs(batch) - plain
    last = int(batch.lengths[0]) - 1
    expected = backbone.query_map(torch.from_numpy(encoder.encode(["space opera"])))
    torch.testing.assert_close(added[0, last], expected[0])
    added[0, last] = 0
    assert not added.any(), "no other token, and nothing for a request without a query"


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_codes_that_are_appended_are_scored_by_their_rows(name: str) -> None:
    vocabulary = random_vocabulary(shared(atomic(6)))
    backbone = fresh_backbone(name, vocabulary, 0.1, seed=0).eval()
    batch = vocabulary.collate([vocabulary.encode_request(np.arange(3), None)])
    states = backbone.states(batch)
    before = backbone.logits(states, slice(0, 6))
    new = [torch.full((2, 64), 0.5) for _ in backbone.code_tables()]
    backbone.append_rows(new)
    assert backbone.model.config.vocab_size == vocabulary.size + 2
    assert [len(table) for table in backbone.code_tables()] == [8] * len(new)
    torch.testing.assert_close(backbone.logits(states, slice(0, 6)), before)
    added = backbone.logits(states, slice(6, 8))
    torch.testing.assert_close(added, states.sum(dim=1, keepdim=True).expand(1, 2) / 2)


def test_a_device_that_is_not_there_is_named_with_a_remedy() -> None:
    assert resolve_device("cpu") == CPU
    for name in ("warp", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(InputError, match=f"--device '{name}': not usable here; use cpu"):
            resolve_device(name)


def test_a_precision_that_is_named_is_kept_and_auto_is_resolved() -> None:
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    assert resolve_precision("auto", CPU) in ("float32", "bfloat16")


def test_products_have_the_precision() -> None:
    matrix = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (matrix @ matrix).dtype == torch.float32


@pytest.mark.parametrize("name", BACKBONES)
def test_a_sparse_gradient_of_the_rows_is_the_dense_one(name: str) -> None:
    vocabulary = random_vocabulary(shared(atomic(6)))
    backbone = fresh_backbone(name, vocabulary, 0.0, seed=0)
    batch = vocabulary.collate(
        [vocabulary.encode_request(np.arange(n), "slow dance") for n in (1, 3)]
    )
    found = []
    for sparse in (False, True):
        if sparse:
            backbone.read_sparsely()
        backbone.zero_grad()
        states, rows = backbone(batch)
        read = F.embedding(torch.tensor([0, 5, 0]), rows, sparse=sparse)
        (states.square().sum() + (states[:1] * read).sum()).backward()
        found.append([table.grad for table in backbone.embedding_tables()])
    for dense, sparse_one in zip(*found, strict=True):
        assert sparse_one.is_sparse
        torch.testing.assert_close(sparse_one.to_dense(), dense)
        own = coalesced(sparse_one)
        assert own.is_coalesced()
        assert (own._indices()[0].diff() > 0).all()
        assert len(own._values()) < len(dense)
        torch.testing.assert_close(own.to_dense(), dense)
