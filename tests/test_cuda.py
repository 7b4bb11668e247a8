"""On a GPU: a model trained there answers alike there and on a CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twofold.additions.fields import new_items_table
from twofold.additions.placement import ItemPlacer, with_items
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.tuning import TuningConfig, tune_encoder
from twofold.records import Request
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.scoring import Context, score_items
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU of CUDA here")

SEMANTIC: dict[str, Any] = {"identifiers": "semantic", "levels": 2, "codebook_size": 8}
MODELS: dict[str, dict[str, Any]] = {
    "decoder": {"backbone": "decoder:tiny"},
    "t5": {"backbone": "t5:tiny"},
    "sasrec": {"backbone": "sasrec:tiny"},
    "semantic decoder": {"backbone": "decoder:tiny", **SEMANTIC},
    "semantic t5": {"backbone": "t5:tiny", **SEMANTIC},
}


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def folder(
    request: pytest.FixtureRequest,
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model trained on the GPU."""
    out = tmp_path_factory.mktemp("cuda") / "joint"
    config = quick_config.model_copy(update=MODELS[request.param])
    train(catalog, "joint", out=out, config=config, device="cuda")
    return out


@pytest.fixture(scope="module")
def asked(catalog: PreparedDataset) -> list[Request]:
    """Test requests of both tasks."""
    judged = [catalog.task(task).requests("test") for task in catalog.tasks]
    return [request for requests in judged for request in requests.requests[:20]]


def test_the_loss_falls(folder: Path) -> None:
    losses = [point["loss"] for point in load_model(folder).model.stamp.curve]
    assert min(losses[len(losses) // 2 :]) < losses[0]


def test_both_devices_answer_alike(folder: Path, asked: list[Request]) -> None:
    there, here = load_model(folder, "cuda"), load_model(folder)
    assert there.model.device.type == "cuda"
    on_gpu, on_cpu = there.retrieve(asked, 10), here.retrieve(asked, 10)
    for request in asked:
        answer, right = on_gpu[request.request_id], on_cpu[request.request_id]
        scores = dict(zip(right.item_ids, right.scores, strict=True))
        for item, score in zip(answer.item_ids, answer.scores, strict=True):
            assert score == pytest.approx(scores.get(item, right.scores[-1]), abs=1e-3)


def test_both_devices_score_alike(folder: Path) -> None:
    items = np.arange(7)
    contexts = [Context(np.array([1, 2]), None), Context(np.array([5]), None)]
    there, here = (
        score_items(load_model(folder, device).model, contexts, items) for device in ("cuda", "cpu")
    )
    assert there == pytest.approx(here, abs=1e-3)


def test_new_items_are_found(folder: Path) -> None:
    before = load_model(folder, "cuda")
    rows = [{"item_id": "new", "title": "Robots in love", "genre": "Comedy"}]
    items = new_items_table(before.model.catalog, rows)
    placement = ItemPlacer.of(before.model).place(before.model, items)
    after = GenerativeRetriever(with_items(before.model, items, placement))
    run = after.retrieve([Request("r", query="robots in love")], len(after.model.catalog))
    assert "new" in run["r"].item_ids


def test_training_resumes_where_it_stopped(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    train(catalog, "joint", out=tmp_path / "m", config=quick_config, device="cuda")
    again = train(
        catalog, "joint", out=tmp_path / "m", config=quick_config, device="cuda", resume=True
    )
    assert again.model.device.type == "cuda"


def test_an_encoder_is_tuned(
    catalog: PreparedDataset, sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    tuned = tune_encoder(
        catalog, sentence_encoder, tmp_path / "tuned", None, TuningConfig(epochs=1), device="cuda"
    )
    assert tuned.fingerprint != sentence_encoder.fingerprint
    assert np.isfinite(tuned.encode(["a robot"])).all()
