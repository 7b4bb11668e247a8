"""The benchmark of the recipe's choice: one row a recipe, one of them chosen, and the regret."""

from pathlib import Path

import pytest
from recipes import regret, score_recipes

from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig


def test_every_recipe_is_trained_and_one_is_chosen(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    arm = NAMED_ARMS["search"]
    rows = score_recipes(catalog, arm, tmp_path, quick_config, 2, seed=0)
    assert len({row["recipe"] for row in rows}) == 2
    assert [row["chosen"] for row in rows].count("yes") == 1
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert score_recipes(catalog, arm, tmp_path, quick_config, 2, seed=0) == rows
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == made


def test_the_regret_is_the_share_of_the_best_value_that_the_chosen_one_lacks() -> None:
    rows: list[dict[str, object]] = [
        {"recipe": "a", "chosen": "", "test": 0.4},
        {"recipe": "b", "chosen": "yes", "test": 0.3},
    ]
    assert regret(rows, "test") == pytest.approx(0.25)
    rows[1]["test"] = 0.5
    assert regret(rows, "test") == 0
