"""How the arms of a study are trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twofold.records import TASKS
from twofold.studies.trainings import arm_training
from twofold.studies.trainings.arm_training import ArmTraining, identifiers_of
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig
from twofold.training.tuning.trials import Tuned


def test_batches_of_an_arm_grow_with_those_of_its_recipe(quick_config: TrainingConfig) -> None:
    arm = Arm("semantic-text", TASKS, settings=(("batch_tokens", 3 * quick_config.batch_tokens),))
    recipe = Tuned(
        quick_config.model_copy(update={"batch_tokens": 2 * quick_config.batch_tokens}), 0.5, {}
    )
    assert ArmTraining(quick_config).with_scaled_batches(arm) == arm
    grown = ArmTraining(quick_config, tuned={"joint": recipe}).with_scaled_batches(arm)
    assert dict(grown.settings)["batch_tokens"] == 6 * quick_config.batch_tokens


def test_identifiers_are_assigned_once_for_all_arms_with_the_same_settings(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where each arm is a unit of its own, which asks for its function."""
    assigned: list[str] = []

    def assign(_dataset: PreparedDataset, config: TrainingConfig, _encoders: Path) -> str:
        assigned.append(config.id_embeddings)
        return config.id_embeddings

    monkeypatch.setattr(arm_training, "assign_identifiers", assign)
    dataset, semantic = replace(catalog), ("identifiers", "semantic")
    for _ in range(2):
        identifiers: Callable[..., Any] = identifiers_of(dataset, quick_config, tmp_path)
        assert identifiers(()) is None, "training assigns atomic ones"
        for embeddings in ("text", "co-occurrence"):
            assert identifiers((semantic, ("id_embeddings", embeddings))) == embeddings
    assert assigned == ["text", "co-occurrence"]
