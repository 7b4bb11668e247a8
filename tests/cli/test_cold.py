"""Answers from cold load little: no transformers, no compiler of torch, no scikit-learn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset

RUN = """
import json, os, sys
from twofold.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([sorted(sys.modules), sum(os.times()[:2])]))
"""
pytestmark = pytest.mark.alone
HEAVY = ("transformers", "torch._dynamo", "torch._inductor", "sympy", "sklearn", "scipy.stats")


def _run(*arguments: object) -> tuple[set[str], float]:
    """The modules that a command loads in a process of its own, and its processor seconds."""
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules, seconds = json.loads(done.stdout.strip().splitlines()[-1])
    return set(modules), seconds


@pytest.mark.parametrize("command", ["search", "recommend", "evaluate"])
def test_an_answer_from_cold_loads_little_beside_torch(
    command: str, model_folder: Path, catalog: PreparedDataset, tmp_path: Path
) -> None:
    if command == "search":
        arguments: tuple[object, ...] = (model_folder, "robots")
    elif command == "recommend":
        arguments = (model_folder, "--history", catalog.catalog.item_ids[0])
    else:
        save_dataset(catalog, tmp_path / "dataset")
        arguments = (model_folder, tmp_path / "dataset", "--out", tmp_path / "evaluated")
    modules, seconds = _run(command, *arguments)
    assert not modules & set(HEAVY)
    bare = subprocess.run(
        [sys.executable, "-c", "import os, torch; print(sum(os.times()[:2]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # Torch itself takes most of the time.
    if command != "evaluate":
        assert seconds < 2 * float(bare.stdout)
