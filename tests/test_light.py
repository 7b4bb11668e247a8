"""Tests of data, tasks and evaluation load no torch, so that they answer in seconds."""

import subprocess
import sys

CODE = """
import pytest, sys
tested = ["tests/data", "tests/tasks", "tests/evaluation"]
failed = pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", *tested])
heavy = {"torch", "transformers", "sentence_transformers", "matplotlib", "faiss"}
sys.exit(f"loaded: {heavy & set(sys.modules)}" if heavy & set(sys.modules) else failed)
"""


def test_data_tasks_and_evaluation_are_tested_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
