"""Both families train, save, load in plain transformers, and score there as they do here."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
)

from tests.model.checkpoints import small_checkpoint
from twofold.records import Request
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

REQUESTS = [
    Request("history", history=("film-1", "film-2", "film-3")),
    Request("query", query="dark western film"),
    Request("both", query="wedding", history=("film-9",)),
]


@pytest.mark.parametrize(
    "backbone", ["decoder:tiny", "t5:tiny", "sasrec:tiny", "gpt2 folder", "t5 folder"]
)
def test_a_backbone_trains_saves_and_answers_in_plain_transformers(
    backbone: str, catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    if backbone.endswith("folder"):
        family = backbone.removesuffix(" folder")
        backbone = str(small_checkpoint(tmp_path / "checkpoint", family))
    config = quick_config.model_copy(
        update={
            "backbone": backbone,
            "hybrid": "none",  # a part of ours, outside the checkpoint
            "max_steps": 8,
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
        scores = dict(zip(ours[request.request_id].item_ids, ours[request.request_id].scores,
                         strict=True))  # fmt: skip
        expected = dict(zip(loaded.model.catalog.item_ids, theirs.tolist(), strict=True))
        assert scores == pytest.approx(expected, abs=1e-4)


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
