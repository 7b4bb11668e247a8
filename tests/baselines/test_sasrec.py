"""SASRec is as published: nothing that our own models add is part of it."""

from pathlib import Path

from tests.planted import planted_dataset
from twofold.baselines.sasrec import sasrec
from twofold.training.config import TrainingConfig


def test_it_has_no_history_match_where_an_arm_has_one(
    quick_config: TrainingConfig, tmp_path: Path
) -> None:
    """`test_history_match.py` shows that an arm has one with these data and so few steps."""
    config = quick_config.model_copy(update={"max_steps": 2})
    model = sasrec(planted_dataset(), tmp_path / "m", config, device="cpu").model
    assert model.history_match is None
    assert model.stamp.history_match is None
