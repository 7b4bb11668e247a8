"""What a stopped command says, and what it keeps."""

import errno
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from tests.commands import COMMAND, failing, mistake, run_alone, run_here
from tests.conftest import WriteFolder
from twofold.cli import disk_is_full
from twofold.tasks import storage

SMALL = (
    "--backbone",
    "decoder:tiny",
    "--set",
    "max_steps=100000",
    "--set",
    "patience=100000",
    "--threads",
    "1",
)


def test_ctrl_c_prints_how_to_resume(write_folder: WriteFolder, tmp_path: Path) -> None:
    arguments = ["train", str(write_folder()), "--out", str(tmp_path / "a model"), *SMALL]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    state = tmp_path / ".a model.training"
    deadline = time.monotonic() + 120
    while not list(state.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    last = said.splitlines()[-1]
    assert last.startswith("interrupted: to continue, run: twofold train ")
    assert last.endswith(" --resume")
    assert f"--out '{tmp_path}/a model'" in last
    assert "Traceback" not in said
    assert list(state.glob("step-*"))
    assert "add --resume to continue it" in mistake(*arguments)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        OSError("131072 requested and 4096 written"),
    ],
)
def test_a_full_disk_is_one_line(
    write_folder: WriteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(storage, "save_dataset", full)
    said = mistake("prepare", write_folder(), "--out", tmp_path / "out")
    assert "the disk is full (" in said
    assert "free some space, then run: twofold prepare" in said
    wrapped = ValueError("saving failed")
    wrapped.__cause__ = error
    assert disk_is_full(wrapped)
    assert not disk_is_full(ValueError("x"))


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG), "file"), "a file exceeds its size limit"),
        (
            SafetensorError("underlying IO error: File too large (os error 27)"),
            "a file exceeds its size limit",
        ),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "too many files are open"),
        (
            RuntimeError("can't allocate memory. Error code 12 (Cannot allocate memory)"),
            "there is not enough memory",
        ),
        (MemoryError("Unable to allocate 8 GiB"), "there is not enough memory"),
    ],
)
def test_what_a_limit_of_the_system_refuses_is_one_line(
    write_folder: WriteFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    problem: str,
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(storage, "save_dataset", refused)
    said = mistake("prepare", write_folder(), "--out", tmp_path / "out")
    assert f"{problem} (" in said
    assert "raise ulimit -" in said


def test_a_current_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = "cd gone && rmdir ../gone && exec " + shlex.join([*COMMAND, "sources"])
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert "the current folder was removed; change to one that exists" in failing(done)


def test_a_link_to_itself_is_refused(write_folder: WriteFolder, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    said = mistake("prepare", write_folder(), "--out", tmp_path / "loop")
    assert "loop: a broken link; give another folder" in said


def test_a_terminal_that_lacks_a_letter_gets_an_escape(
    write_folder: WriteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run_alone("prepare", write_folder("caf\u00e9"), "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Data report: ")
    assert "caf\\xe9" in done.stdout


def test_out_is_refused_before_the_work(write_folder: WriteFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in ("prepare", "train", "study"):
        said = mistake(command, tmp_path / "no data", "--out", tmp_path / "file" / "out")
        assert "out: cannot be written" in said or "is a file" in said
    assert run_here("prepare", write_folder(), "--out", tmp_path / "new" / "out").returncode == 0
