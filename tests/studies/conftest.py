"""One finished study, by the command line, in seconds."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twofold.studies.folder import StudyFolder
from twofold.studies.result import StudyResult, load_result

SETTINGS = [
    "backbone=decoder:tiny",
    "max_steps=40",
    "warmup_steps=2",
    "batch_tokens=512",
    "text_vocab_size=400",
    "precision=float32",
]


Command = Callable[..., tuple[int, str, str]]
"""Arguments of `twofold` -> its exit code, what it prints, and what it says on stderr."""


def study_arguments(dataset: Path, out: Path) -> list[str]:
    """What `twofold` is given for the study of the tests."""
    arguments = ["study", str(dataset), "--out", str(out), "--seeds", "1", "--budget", "quick"]
    arguments += ["--threads", "1", "--device", "cpu", "--baselines", "--tune", "2"]
    arguments += ["--interventions", "--only", "2x2"]
    return arguments + [part for setting in SETTINGS for part in ("--set", setting)]


def study_command(dataset: Path, out: Path) -> list[str]:
    """The same in a process of its own, which can be killed."""
    command = [sys.executable, "-c", "from twofold.cli import main; main()"]
    return command + study_arguments(dataset, out)


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
    """The JSON Schema of study.json in format 3, as it was first published; keys that came later
    are allowed, since a reader of that time passes over them."""
    text = (Path(__file__).parent / "study.schema.json").read_text()
    return json.loads(text.replace('"additionalProperties": false', '"additionalProperties": true'))


@pytest.fixture
def twofold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """The command line in this process, which has loaded the libraries already."""
    from twofold.cli import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["twofold", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, printed.out, printed.err

    logger = logging.getLogger("twofold")
    handlers, level = list(logger.handlers), logger.level
    yield run
    logger.handlers, logger.level = handlers, level
