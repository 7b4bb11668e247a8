"""Commands without the libraries of the extras, which are blocked in a process of their own."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import WriteFolder
from twofold.extras import EXTRAS


def _run_without(modules: Iterable[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    code = f"import sys\nfor module in {list(modules)}: sys.modules[module] = None\n"
    code += "from twofold.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_training_and_its_answers_need_no_extra(
    write_folder: WriteFolder, tmp_path: Path
) -> None:
    every = [module for modules in EXTRAS.values() for module in modules]
    small = ("--backbone", "decoder:tiny", "--set", "max_steps=2")
    done = _run_without(every, "train", write_folder(), "--out", tmp_path / "model", *small)
    assert done.returncode == 0, done.stderr
    done = _run_without(every, "search", tmp_path / "model", "first letter", "-k", 2)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (
            "matplotlib",
            ["study"],
            'a study needs matplotlib, which is not installed: install the extra "study"',
        ),
        (
            "faiss",
            ["train", "--identifiers", "semantic"],
            'semantic IDs needs faiss, which is not installed: install the extra "semantic"',
        ),
    ],
)
def test_a_command_names_its_extra_before_it_writes(
    write_folder: WriteFolder, tmp_path: Path, module: str, arguments: list[str], message: str
) -> None:
    folder, out = write_folder(), tmp_path / "made" / "out"
    done = _run_without([module], arguments[0], folder, "--out", out, *arguments[1:])
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.parent.exists()
