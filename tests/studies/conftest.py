"""One finished study, by the command line, in seconds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twofold.studies.folder import StudyFolder
from twofold.studies.result import StudyResult, load_result
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


@pytest.fixture(scope="session")
def result(study_folder: Path) -> StudyResult:
    """The study's result as it is read."""
    return load_result(study_folder)


@pytest.fixture(scope="session")
def content(study_folder: Path) -> dict[str, Any]:
    """The study's result as JSON."""
    parsed: dict[str, Any] = json.loads(StudyFolder(study_folder).result.read_text())
    return parsed


def published_schema() -> Any:
    """The JSON Schema of study.json in format 3, as it was first published."""
    return json.loads((Path(__file__).parent / "study.schema.json").read_text())
