"""The compact Llama is transformers' Llama: outputs, gradients, files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from tests.model.random_model import grid, random_vocabulary
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.backbone import Decoder, LlamaDecoder, autocast
from twofold.model.checkpoint import load_backbone
from twofold.model.fresh import fresh_backbone
from twofold.model.llama import Llama, LlamaConfig

CPU = torch.device("cpu")
CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=40,
)


def _both(folder: Path) -> tuple[Llama, LlamaForCausalLM]:
    torch.manual_seed(0)
    ours = Llama.fresh(CONFIG)
    for norm in (parameter for name, parameter in ours.named_parameters() if "norm" in name):
        torch.nn.init.normal_(norm, mean=1.0, std=0.1)
    ours.save_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(theirs) is LlamaForCausalLM
    return ours, theirs


def test_states_and_gradients_equal_those_of_transformers(tmp_path: Path) -> None:
    ours, theirs = _both(tmp_path)
    tokens, weights = torch.randint(0, 50, (3, 17)), torch.randn(3, 17, 64)
    states = ours.model.read(ours.get_input_embeddings()(tokens))
    expected = theirs.model(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(states, expected, atol=2e-5, rtol=1e-4)
    (states * weights).sum().backward()  # type: ignore[no-untyped-call]
    (expected * weights).sum().backward()
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-3, rtol=1e-3)


def test_bfloat16_products_round_as_those_of_transformers(tmp_path: Path) -> None:
    ours, theirs = _both(tmp_path)
    tokens = torch.randint(0, 50, (3, 17))
    exact = theirs.model(input_ids=tokens).last_hidden_state
    with autocast(CPU, "bfloat16"):
        states = ours.model.read(ours.get_input_embeddings()(tokens))
        expected = theirs.model(input_ids=tokens).last_hidden_state
    assert states.dtype == torch.float32
    assert (states - exact).norm() < 1.2 * (expected - exact).norm()


def test_long_sequences_go_through_torchs_own_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = _both(tmp_path)
    embedded = torch.randn(2, 30, 64, requires_grad=True)
    short = torch.autograd.grad(ours.model.read(embedded).square().sum(), embedded)[0]
    monkeypatch.setattr("twofold.model.kernels._MAX_WEIGHTS", 1)
    long = torch.autograd.grad(ours.model.read(embedded).square().sum(), embedded)[0]
    torch.testing.assert_close(long, short, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "changed",
    [
        {"num_key_value_heads": 2},
        {"attention_bias": True},
        {"tie_word_embeddings": False},
        {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}},
        {"model_type": "qwen2"},
        {"hidden_act": "gelu"},
    ],
)
def test_other_models_are_left_to_transformers(tmp_path: Path, changed: dict[str, object]) -> None:
    Llama.fresh(CONFIG).save_pretrained(tmp_path)
    assert LlamaConfig.read(tmp_path) == CONFIG
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(written | changed), encoding="utf-8")
    assert LlamaConfig.read(tmp_path) is None


@torch.no_grad()
def test_a_folder_that_transformers_wrote_is_read(tmp_path: Path) -> None:
    ours, theirs = _both(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert LlamaConfig.read(tmp_path / "theirs") == CONFIG
    again = Llama.from_pretrained(tmp_path / "theirs", CONFIG)
    embedded = torch.randn(2, 5, 64)
    assert torch.equal(again.model.read(embedded), ours.model.read(embedded))


@torch.no_grad()
def test_decoding_steps_give_the_states_of_the_whole_sequence() -> None:
    ours = Llama.fresh(CONFIG)
    embedded = torch.randn(2, 9, 64)
    whole = ours.model.read(embedded)
    cache: list[tuple[torch.Tensor, torch.Tensor]] = []
    first = ours.model.extend(embedded[:, :8], cache)
    mask, positions = torch.zeros(2, 1, 1, 9), torch.full((2, 1), 8)
    last = ours.model.extend(embedded[:, 8:], cache, mask, positions)
    torch.testing.assert_close(torch.cat([first, last], dim=1), whole, atol=1e-5, rtol=1e-4)


def test_a_step_of_training_has_the_gradients_of_its_parts() -> None:
    vocabulary = random_vocabulary(shared(atomic(6)))
    backbone = fresh_backbone("decoder:tiny", vocabulary, 0.0, seed=0)
    assert isinstance(backbone, LlamaDecoder)
    batch = vocabulary.collate([vocabulary.encode_request(np.arange(n), None) for n in (3, 5)])
    table = backbone.model.get_input_embeddings().weight
    states, rows = backbone(batch)
    fused = torch.autograd.grad((states @ rows.T).square().sum(), table)[0]
    states, rows = backbone.states(batch), backbone.output_embeddings()
    plain = torch.autograd.grad((states @ rows.T).square().sum(), table)[0]
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-4)


def test_dropout_keeps_the_mean_and_drops_whole_input_tokens() -> None:
    vocabulary = random_vocabulary(shared(grid(3, 3)))
    backbone = fresh_backbone("decoder:tiny", vocabulary, 0.5, seed=0)
    assert isinstance(backbone, LlamaDecoder)
    batch = vocabulary.collate([vocabulary.encode_request(np.arange(4), None)] * 400)
    torch.manual_seed(0)
    dropped = backbone.train().states(batch)
    kept = backbone.eval().states(batch)
    assert not torch.equal(dropped[0], dropped[1])
    assert torch.equal(kept[0], kept[1])


@torch.no_grad()
def test_a_saved_decoder_answers_as_in_transformers(tmp_path: Path) -> None:
    vocabulary = random_vocabulary(shared(atomic(6)))
    backbone = fresh_backbone("decoder:tiny", vocabulary, 0.1, seed=0).eval()
    backbone.save(tmp_path)
    batch = vocabulary.collate([vocabulary.encode_request(np.arange(n), None) for n in (3, 5)])
    theirs = Decoder(AutoModelForCausalLM.from_pretrained(tmp_path), vocabulary).eval()
    loaded = load_backbone(tmp_path, vocabulary).eval()
    assert isinstance(loaded, LlamaDecoder)
    torch.testing.assert_close(loaded.states(batch), backbone.states(batch))
    torch.testing.assert_close(theirs.states(batch), backbone.states(batch), atol=1e-5, rtol=1e-4)
