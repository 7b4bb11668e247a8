"""The loop: when it stops, what it refuses, what it leaves alone."""

from pathlib import Path

import pytest
import torch

from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train


def test_patience_ends_a_training_early(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(
        update={"max_steps": 400, "min_validations": 400, "patience": 0.01, "learning_rate": 1e-9}
    )
    stamp = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.steps < 60


def test_a_training_that_diverges_says_so(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0})
    with pytest.raises(InputError, match="training diverged"):
        train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")


def test_training_leaves_the_callers_random_state_alone(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    config = quick_config.model_copy(update={"max_steps": 2, "min_validations": 1})
    train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()
