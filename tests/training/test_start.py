"""Where a training starts: identifiers, initial embeddings, and what a checkpoint has learned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.planted import TEXT_GROUPS, planted_dataset, purity, with_other_held_out
from twofold import artifact
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.vectors import Vectors
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.vocabulary import train_tokenizer
from twofold.records import Request
from twofold.retrieval.generative import load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.start import assign_identifiers, start
from twofold.training.train import train


def _config() -> TrainingConfig:
    return resolve_config(
        "quick", backbone="decoder:tiny", text_encoder="tfidf", text_vocab_size=400
    )


def _item_embeddings(dataset: PreparedDataset, config: TrainingConfig) -> Vectors:
    spaces = shared(atomic(len(dataset.catalog)))
    return start(dataset, spaces, config, seed=0).backbone.output_embeddings().detach().numpy()


def test_item_embeddings_start_at_the_texts() -> None:
    assert purity(_item_embeddings(planted_dataset(), _config()), TEXT_GROUPS) > 0.9


def test_held_out_queries_are_not_read() -> None:
    dataset, config = planted_dataset(), _config()
    assert np.array_equal(
        _item_embeddings(dataset, config), _item_embeddings(with_other_held_out(dataset), config)
    )


@pytest.mark.parametrize("backbone", ["decoder:tiny", "t5:tiny", "sasrec:tiny"])
@pytest.mark.parametrize("kind", ["tfidf", "sentence"])
def test_a_model_with_an_encoder_answers_the_same_after_loading(
    catalog: PreparedDataset,
    sentence_encoder: SentenceEncoder,
    quick_config: TrainingConfig,
    tmp_path: Path,
    backbone: str,
    kind: str,
) -> None:
    name = "tfidf" if kind == "tfidf" else sentence_encoder.name
    config = quick_config.model_copy(
        update={
            "text_encoder": name,
            "backbone": backbone,
            "hybrid": "none",  # its scores are larger than this limit can distinguish
            "max_steps": 6,
            "item_text_queries": 2,
        }
    )
    trained = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    requests = [
        Request("query", query="dark western film"),
        Request("history", history=("film-1", "film-2")),
        Request("both", query="wedding", history=("film-9",)),
    ]
    loaded = load_model(tmp_path / "m").retrieve(requests, 10)
    for request_id, ranking in trained.retrieve(requests, 10).rankings.items():
        assert loaded[request_id].item_ids == ranking.item_ids
        # A loaded model sums in packed layers: equal up to the rounding of float32 logits.
        assert loaded[request_id].scores == pytest.approx(ranking.scores, rel=1e-6, abs=1e-5)


def test_what_a_checkpoint_has_learned_is_kept(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(catalog.catalog.texts, 300), eos_token="</s>"
    )
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    learned = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **heads))
    learned.save_pretrained(tmp_path / "checkpoint")
    changes = {
        "backbone": str(tmp_path / "checkpoint"),
        "text_encoder": "tfidf",
        "learning_rate": 1e-9,
    }
    config = quick_config.model_copy(update=changes | {"max_steps": 1, "min_validations": 1})
    trained = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu")
    for block in ("self_attn.o_proj", "mlp.down_proj"):
        name = f"model.layers.0.{block}"
        kept = trained.model.backbone.model.get_submodule(name).weight
        torch.testing.assert_close(kept, learned.get_submodule(name).weight, atol=1e-6, rtol=0)


def test_semantic_ids_come_from_the_sentence_encoder_of_the_configuration(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
) -> None:
    semantic = quick_config.model_copy(
        update={"identifiers": "semantic", "id_embeddings": "search", "max_steps": 4}
    )
    config = semantic.model_copy(update={"text_encoder": f"tfidf+{sentence_encoder.name}"})
    kept = tmp_path / "encoders"
    named = assign_identifiers(catalog, config, kept)
    assert artifact.is_complete(kept / "search"), "tuned on the task's pairs"
    assert named.spaces.digest != assign_identifiers(catalog, semantic, kept).spaces.digest
    model = train(catalog, "joint", out=tmp_path / "model", config=config, device="cpu").model
    assert model.vocabulary.spaces.digest == named.spaces.digest
    assert {path.name for path in tmp_path.iterdir()} == {"encoders", "model"}
