"""The groups of test requests of the quality benchmark."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from quality_tables import read_groups, system_rows

from twofold.baselines.selection import every_baseline
from twofold.studies.folder import StudyFolder
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.baselines import run_baselines
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import resolve_config


@pytest.mark.parametrize(
    ("arms", "references"),
    [
        (["search"], {"query": "search"}),
        (["recommendation"], {"recommendation": "recommendation"}),
        (["search", "recommendation", "joint"], {"query": "joint", "recommendation": "joint"}),
    ],
)
def test_requests_are_compared_with_an_arm_that_was_scored_on_them(
    catalog: PreparedDataset, arms: Sequence[str], references: dict[str, str], tmp_path: Path
) -> None:
    """Also if the baselines were scored on the other task."""
    config = resolve_config("quick", max_steps=2, backbone="decoder:tiny")
    save_dataset(catalog, tmp_path / "dataset")
    baselines = [b for b in every_baseline(catalog, tmp_path, config) if "popularity" in b.name]
    folder = StudyFolder(tmp_path)
    run_baselines(catalog, folder, baselines)
    outputs = SeedOutputs([NAMED_ARMS[arm] for arm in arms], folder, 0)
    SeedTrainings(catalog, ArmTraining(config, threads=1), outputs).run_all()
    groups = list(read_groups(tmp_path))
    assert {group.name: group.reference for group in groups} == references
    for group in groups:
        assert {row["kind"] for row in system_rows(group)} == {"ours", "baseline"}
