"""When a trained model gets the hybrid part of recommendation, and with which weight."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.planted import planted_dataset
from twofold.model.hybrid import HistoryMatch, history_matches
from twofold.records import Floats
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.top_k import RankCounter
from twofold.tasks.evaluate import evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train
from twofold.training.validation import values_of, values_with


@pytest.fixture
def two_steps(quick_config: TrainingConfig) -> TrainingConfig:
    return quick_config.model_copy(update={"max_steps": 2, "item_init": "random"})


@pytest.mark.parametrize(
    ("arm", "identifiers"),
    [("recommendation", "atomic"), ("joint", "atomic"), ("recommendation", "semantic")],
)
def test_a_model_that_has_learned_little_gains_by_it(
    arm: str, identifiers: str, two_steps: TrainingConfig, tmp_path: Path
) -> None:
    dataset = planted_dataset()
    config = two_steps.model_copy(update={"identifiers": identifiers, "num_beams": 10})
    trained = train(dataset, arm, out=tmp_path / "m", config=config, device="cpu").model
    match = trained.history_match
    assert match is not None
    assert trained.stamp.history_match == match.description
    loaded = load_model(tmp_path / "m").model
    assert loaded.stamp.history_match == match.description
    values = [
        evaluate(GenerativeRetriever(model), dataset, ["recommendation"]).means()
        for model in (loaded, loaded.generative)
    ]
    with_match, alone = (own["recommendation"]["nDCG@10"] for own in values)
    assert with_match > alone + 0.2
    assert loaded.generative.history_match is None


@pytest.mark.parametrize(
    ("arm", "changed"),
    [
        ("recommendation", {"hybrid": "none"}),
        ("recommendation", {"hybrid": "none", "identifiers": "semantic"}),
        ("search", {}),
    ],
)
def test_it_is_not_tried(
    arm: str, changed: dict[str, str], two_steps: TrainingConfig, tmp_path: Path
) -> None:
    config = two_steps.model_copy(update=changed)
    model = train(planted_dataset(), arm, out=tmp_path / "m", config=config, device="cpu").model
    assert model.history_match is None
    assert model.stamp.history_match is None


@pytest.mark.parametrize("identifiers", ["atomic", "semantic"])
def test_one_pass_measures_all_matches_as_the_model_would_answer(
    catalog: PreparedDataset,
    model_folder: Path,
    semantic_folder: Path,
    identifiers: str,
) -> None:
    """With few beams, so that a match also adds items that the beam search missed."""
    model = load_model({"atomic": model_folder, "semantic": semantic_folder}[identifiers]).model
    judged = catalog.task("recommendation").requests("validation").sample(20)
    parts, weights = history_matches(catalog), [0.0, 0.5, 6.0]
    for part, of_part in zip(parts, values_with(model, judged, parts, weights, 10), strict=True):
        for weight, values in zip(weights, of_part, strict=True):
            match = replace(part, weight=weight) if weight else None
            own = GenerativeRetriever(replace(model, history_match=match), beams=10)
            np.testing.assert_allclose(values, values_of(own, judged), atol=1e-6)


def test_validation_may_choose_the_similarity_of_texts(
    catalog: PreparedDataset,
    two_steps: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def values_with(_: RankCounter, parts: list[HistoryMatch], weights: list[float]) -> Floats:
        values = np.zeros((len(parts), len(weights), 50))
        values[[part.texts is not None for part in parts], -1] = 1.0
        return values

    monkeypatch.setattr(RankCounter, "values_with", values_with)
    for texts, text_share in (("auto", 0.5), ("none", None)):
        config = two_steps.model_copy(update={"item_texts": texts})
        model = train(catalog, "recommendation", out=tmp_path / texts, config=config).model
        assert (model.stamp.history_match or {}).get("text_share") == text_share


def test_an_uncertain_gain_is_left_out(
    catalog: PreparedDataset,
    two_steps: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gain that one request in fifty has."""

    def values_with(_: RankCounter, parts: list[object], weights: list[float]) -> Floats:
        values = np.zeros((len(parts), len(weights), 50))
        values[-1, -1, 0] = 1.0
        return values

    monkeypatch.setattr(RankCounter, "values_with", values_with)
    model = train(catalog, "recommendation", out=tmp_path / "m", config=two_steps).model
    assert model.history_match is None
    assert model.stamp.history_match == {"weight": 0.0}
