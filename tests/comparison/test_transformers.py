"""Both families train, save, load in plain transformers, and score there as they do here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    CohereConfig,
    CohereForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from twofold.model.vocabulary import train_tokenizer
from twofold.records import InputError, Request
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

REQUESTS = [
    Request("history", history=("film-1", "film-2", "film-3")),
    Request("query", query="dark western film"),
    Request("both", query="wedding", history=("film-9",)),
]


def _checkpoint(folder: Path, family: str) -> Path:
    """A small pretrained checkpoint of the classes that real ones have."""
    tokenizer = train_tokenizer(["a dark western film", "robots and a wedding"] * 3, 300)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>"
    )
    wrapped.save_pretrained(folder)
    size = len(wrapped)
    torch.manual_seed(0)
    if family == "t5":
        # As flan-t5: gated, output rows not tied, more rows than the tokenizer has tokens.
        config = T5Config(
            vocab_size=size + 28,
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        )
        T5ForConditionalGeneration(config).save_pretrained(folder)
    else:
        gpt = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=300)
        GPT2LMHeadModel(gpt).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "backbone", ["decoder:tiny", "t5:tiny", "sasrec:tiny", "gpt2 folder", "t5 folder"]
)
def test_a_backbone_trains_saves_and_answers_in_plain_transformers(
    backbone: str, catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    if backbone.endswith("folder"):
        family = backbone.removesuffix(" folder")
        backbone = str(_checkpoint(tmp_path / "checkpoint", family))
    config = quick_config.model_copy(
        update={
            "backbone": backbone,
            "hybrid": "none",  # a layer of ours, next to the checkpoint
            "max_steps": 8,
            "min_validations": 2,
            "max_history": 20,
            "text_encoder": "none",  # its vector of a query is none of transformers' inputs
        }
    )
    trained = train(catalog, "joint", out=tmp_path / "model", config=config, device="cpu")
    loaded = load_model(tmp_path / "model")
    ours = loaded.retrieve(REQUESTS, 60)
    for request in REQUESTS:
        kept = trained.retrieve(REQUESTS, 60)[request.request_id]
        assert ours[request.request_id].item_ids == kept.item_ids
        assert ours[request.request_id].scores == pytest.approx(kept.scores, abs=1e-5)
        theirs = _scores_in_transformers(tmp_path / "model" / "backbone", loaded, request)
        found = dict(zip(ours[request.request_id].item_ids, ours[request.request_id].scores,
                         strict=True))  # fmt: skip
        expected = dict(zip(loaded.model.catalog.item_ids, theirs.tolist(), strict=True))
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (
            "gpt2",
            {"n_positions": 50},
            r"reads 50 tokens, a request may hold 267; lower max_history",
        ),
        ("cohere", {}, "CohereForCausalLM changes its logits after the output rows"),
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
    folder = _checkpoint(tmp_path / "checkpoint", "gpt2")
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


def _scores_in_transformers(
    folder: Path, retriever: GenerativeRetriever, request: Request
) -> torch.Tensor:
    """Log-probabilities over the codes from the public forward pass."""
    vocabulary = retriever.model.vocabulary
    tokens = torch.from_numpy(retriever._encode(request).tokens)[None]
    config_text = (folder / "config.json").read_text()
    with torch.inference_mode():
        if "T5For" in config_text:
            model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
            start = torch.tensor([[model.config.decoder_start_token_id]])
            logits = model(input_ids=tokens, decoder_input_ids=start).logits[0, -1]
        else:
            logits = AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits[0, -1]
    return torch.log_softmax(logits[vocabulary.code_start : vocabulary.size].float(), dim=0)
