"""Temporary folders go with their process, and arrays and pieces come back as they were written."""

import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from twofold.records import InputError
from twofold.tasks.streaming.files import ArrayFile, TemporaryFolder, append_by


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_what_uses_it(temporary: Path) -> None:
    made = TemporaryFolder(1)
    assert made.path.is_dir()
    other = TemporaryFolder(1)
    assert made.path.is_dir()
    del made, other
    gc.collect()
    assert not list(temporary.iterdir())


_KILLED = """
import os, signal
from twofold.tasks.streaming.files import TemporaryFolder
folder = TemporaryFolder(1)
(folder.path / "bucket-0").write_bytes(b"rows")
print(folder.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(temporary: Path) -> None:
    kept = temporary / "twofold-of-somebody"
    kept.mkdir()
    (kept / "lock").touch()
    environment = os.environ | {"TMPDIR": str(temporary)}
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED], env=environment, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.strip())
    assert (left / "bucket-0").exists()
    made = TemporaryFolder(1)
    assert not left.exists()
    assert sorted(temporary.iterdir()) == sorted([kept, made.path])


def test_too_little_space_is_said_before_work_begins(temporary: Path) -> None:
    with pytest.raises(InputError) as refused:
        TemporaryFolder(2**60)
    said = str(refused.value)
    assert said.startswith(f"{temporary}: has ")
    assert "temporary files take about 1073741824.0 GiB; free some space, or name " in said
    assert not list(temporary.iterdir())


def test_an_array_is_written_piece_by_piece(temporary: Path) -> None:
    file = ArrayFile(temporary, "numbers", "<i4")
    assert file.mapped().tolist() == []
    for start in (0, 3):
        file.write(np.arange(start, start + 3))
    assert file.mapped().tolist() == [0, 1, 2, 3, 4, 5]
    np.save(temporary / "whole.npy", np.arange(6, dtype=np.int32))
    assert (temporary / "numbers.npy").read_bytes() == (temporary / "whole.npy").read_bytes()


def test_rows_go_to_the_file_of_their_number_in_their_order(temporary: Path) -> None:
    rows = np.array([(n,) for n in range(6)], dtype=[("value", "u4")])
    for part in (slice(0, 4), slice(4, 6)):
        numbers = np.array([2, 0, 2, 65_535, 0, 0], dtype=np.uint32)[part]
        append_by(rows[part], numbers, lambda number: temporary / str(number))
    found = {path.name: np.fromfile(path, "u4").tolist() for path in temporary.iterdir()}
    assert found == {"0": [1, 4, 5], "2": [0, 2], "65535": [3]}


def test_a_folder_that_is_taken_before_its_lock_is_held_is_made_anew(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    taken: list[Path] = []

    def late(file: int, how: int) -> None:
        if len(taken) < 2:
            (own,) = temporary.iterdir()
            taken.append(own)
            shutil.rmtree(own)
            if len(taken) == 2:
                raise BlockingIOError
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    made = TemporaryFolder(1)
    assert made.path not in taken
    assert list(temporary.iterdir()) == [made.path]
    assert len(taken) == 2
