"""The contract of sources has teeth: a source that breaks a promise fails the test of it."""

import re
import subprocess
import sys
from pathlib import Path

SOURCES = """
import itertools
from twofold.testing import SourceContract

seeds = itertools.count()


class TestKeepsTheContract(SourceContract):
    def source(self, folder):
        return "simulate:taste:users=40"


class TestDiffersEachTime(SourceContract):
    def source(self, folder):
        return f"simulate:taste:users=40,seed={next(seeds)}"


class TestHasNoQueries(SourceContract):
    def source(self, folder):
        (folder / "items.csv").write_text("item_id,title\\na,A\\nb,B\\nc,C\\n")
        (folder / "interactions.csv").write_text("user_id,item_id\\nu,a\\nu,b\\nu,c\\n")
        return folder
"""


def test_each_broken_promise_fails_its_own_test(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(SOURCES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert set(re.findall(r"^FAILED test_mine.py::(\w+)::(\w+)", done.stdout, re.M)) == {
        ("TestDiffersEachTime", "test_reading_twice_gives_the_same_data"),
        ("TestHasNoQueries", "test_the_tasks_are_those_that_the_data_make_possible"),
    }, done.stdout
