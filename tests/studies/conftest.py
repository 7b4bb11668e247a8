"""One finished study, by the command line, in seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset

SETTINGS = [
    "backbone=decoder:tiny",
    "max_steps=40",
    "min_validations=4",
    "batch_tokens=512",
    "text_vocab_size=400",
    "precision=float32",
]


def study_command(dataset: Path, out: Path) -> list[str]:
    command = [sys.executable, "-c", "from twofold.cli import main; main()"]
    command += ["study", str(dataset), "--out", str(out), "--seeds", "1", "--budget", "quick"]
    command += ["--threads", "1", "--device", "cpu", "--baselines"]
    command += ["--interventions", "--only", "2x2"]
    return command + [part for setting in SETTINGS for part in ("--set", setting)]


@pytest.fixture(scope="session")
def prepared(catalog: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    save_dataset(catalog, out)
    return out


@pytest.fixture(scope="session")
def study_folder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    done = subprocess.run(study_command(prepared, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out
