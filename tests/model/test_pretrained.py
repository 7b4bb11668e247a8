"""Checkpoints that do not fit are refused before training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from tests.model.checkpoints import small_checkpoint
from tests.model.random_model import BACKBONES, grid, random_vocabulary
from twofold.identifiers.identifiers import shared
from twofold.model.fresh import fresh_backbone
from twofold.model.pretrained import pretrained_backbone, require_decoding_steps
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (
            "gpt2",
            {"n_positions": 50},
            r"reads 50 tokens, a request may hold 267; lower max_history",
        ),
        ("cohere", {}, "CohereForCausalLM changes its logits after the output embeddings;"),
        ("mistral", {"sliding_window": 8}, "MistralForCausalLM cannot decode semantic IDs"),
        ("neo", {"window_size": 8}, "GPTNeoForCausalLM cannot decode semantic IDs"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    family: str,
    changes: dict[str, int],
    message: str,
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
) -> None:
    folder = small_checkpoint(tmp_path / "checkpoint", "gpt2")
    small = {"vocab_size": 300, "hidden_size": 32, "pad_token_id": 0, **changes}
    small |= {"bos_token_id": 1, "eos_token_id": 1}
    llama = {**small, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    models: dict[str, Callable[[], PreTrainedModel]] = {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, **small)),
        "cohere": lambda: CohereForCausalLM(CohereConfig(**llama)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**llama, num_key_value_heads=2)),
        "neo": lambda: GPTNeoForCausalLM(
            GPTNeoConfig(num_layers=1, num_heads=2, attention_types=[[["local"], 1]], **small)
        ),
    }
    torch.manual_seed(0)
    models[family]().save_pretrained(folder)
    settings = quick_config.model_copy(
        update={"backbone": str(folder), "identifiers": "semantic", "max_history": 20}
        if "semantic" in message
        else {"backbone": str(folder)}
    )
    with pytest.raises(InputError, match=message):
        train(catalog, "joint", out=tmp_path / "model", config=settings, device="cpu")


def test_a_checkpoint_that_is_nowhere_is_named_with_a_remedy() -> None:
    spaces = shared(grid(2, 2))
    with pytest.raises(InputError, match="'nobody/nothing': not a folder with a checkpoint"):
        pretrained_backbone("nobody/nothing", spaces, 5, 4, seed=0)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_the_vocabulary_extends_that_of_the_checkpoint(family: str, tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "checkpoint", family)
    backbone, vocabulary = pretrained_backbone(str(folder), shared(grid(3, 3)), 5, 4, seed=0)
    assert backbone.model.config.vocab_size == vocabulary.size == vocabulary.code_start + 6
    assert len(backbone.output_embeddings()) == 6
    require_decoding_steps(family, backbone, vocabulary)


@pytest.mark.parametrize("name", BACKBONES)
def test_fresh_backbones_decode_side_by_side(name: str) -> None:
    vocabulary = random_vocabulary(shared(grid(3, 3, 3)))
    require_decoding_steps(name, fresh_backbone(name, vocabulary, 0.1, seed=0), vocabulary)
