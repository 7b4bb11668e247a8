"""Folders with a manifest: whole or not there."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from twofold import artifact
from twofold.records import InputError


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with contextlib.suppress(RuntimeError), artifact.write(out, "thing", {}) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError("killed")
    assert not out.exists()
    with artifact.write(out, "thing", {"a": 1}) as folder:
        assert not (folder / "half").exists()
        (folder / "whole").write_text("x")
    assert artifact.load(out, "thing")["config"] == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with artifact.write(tmp_path / "out", "thing", {}) as folder:
        (folder / "file").write_text("x")
    with (
        pytest.raises(InputError, match="exists and is not empty; give another folder"),
        artifact.write(tmp_path / "out", "thing", {}),
    ):
        pass
    with pytest.raises(InputError, match="is a file; give a folder"):
        artifact.require_absent(tmp_path / "out" / "file")


def test_an_inner_artifact_is_listed_by_its_manifest(tmp_path: Path) -> None:
    with artifact.write(tmp_path / "out", "outer", {}) as folder:
        with artifact.write(folder / "inner", "inner", {}) as inner:
            (inner / "file").write_text("x")
        (folder / "plain").mkdir()
        (folder / "plain" / "file").write_text("y")
    files = artifact.load(tmp_path / "out", "outer")["files"]
    assert sorted(files) == ["inner/manifest.json", "plain/file"]


def test_a_replaced_file_is_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    artifact.replace_file(path, b"one")
    artifact.replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_get_the_permissions_of_the_folder(tmp_path: Path) -> None:
    with artifact.write(tmp_path / "out", "thing", {}) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").touch(0o600)
        folder.chmod(0o750)
    assert (tmp_path / "out" / "inner" / "file").stat().st_mode & 0o777 == 0o640


HOLD = """
import sys, time
from pathlib import Path
from twofold import artifact
with artifact.claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def _holder(out: Path) -> subprocess.Popen[str]:
    """A process that holds a folder."""
    command = [sys.executable, "-c", HOLD, str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_held_by_one_process_until_that_is_killed(tmp_path: Path) -> None:
    out, link = tmp_path / "out", tmp_path / "link"
    link.symlink_to(out)
    with _holder(out) as holder:
        for name in (out, link):
            with pytest.raises(InputError, match=f"process {holder.pid} is"), artifact.claim(name):
                pass
        holder.kill()
    with artifact.claim(link) as place:
        assert place == out
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_the_holder_may_claim_again_and_another_thread_may_not(tmp_path: Path) -> None:
    out, said = tmp_path / "new" / "out", []

    def claim() -> None:
        try:
            with artifact.claim(out):
                said.append("held")
        except InputError as error:
            said.append(str(error))

    with artifact.claim(out):
        claim()
        thread = threading.Thread(target=claim)
        thread.start()
        thread.join()
    claim()
    assert said[0] == said[2] == "held"
    assert "is writing it" in said[1]
    assert not (tmp_path / "new").exists(), "nothing was written"


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for out, says in (
        (tmp_path / "file" / "out", r"out: cannot be written \(.*\); give another folder"),
        (tmp_path / ("x" * 250), "the name is too long"),
        (tmp_path / ("x" * 300), "the name is too long"),
        (tmp_path / "file", "is a file; give a folder that does not exist yet"),
        (Path(os.devnull), "is a file; give a folder that does not exist yet"),
        (loop, "a broken link|cannot be written"),
    ):
        with pytest.raises(InputError, match=says), artifact.claim(out):
            raise AssertionError(out)
    with pytest.raises(InputError, match="is a file"):
        artifact.require_absent(Path(os.devnull))


def test_a_full_disk_keeps_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that a full disk stopped resumes; half of its study.json could not be read."""
    file = tmp_path / "study.json"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for before in (None, {"a": 1}):
        if before:
            artifact.write_json(file, before)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                artifact.write_json(file, {"b": 2})
        assert [path.name for path in tmp_path.iterdir()] == (["study.json"] if before else [])
    assert artifact.read_json(file) == {"a": 1}


def test_a_full_disk_is_no_reason_for_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line says to free some space and to resume, as the folder may have results."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(OSError, match="No space left"), artifact.claim(tmp_path / "out"):
            raise AssertionError
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)  # of the process's number, which only a message shows
        with artifact.claim(tmp_path / "out"):
            pass
    assert not list(tmp_path.iterdir())


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(OSError), artifact.write(tmp_path / "out", "thing", {}) as folder:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value"),
    [("config", None), ("config", []), ("files", "x"), ("format", "1"), ("format", None)],
)
def test_a_manifest_with_a_value_of_another_type_is_none(
    tmp_path: Path, key: str, value: object
) -> None:
    with artifact.write(tmp_path / "out", "thing", {}):
        pass
    manifest = tmp_path / "out" / "manifest.json"
    artifact.write_json(manifest, artifact.read_json(manifest) | {key: value})
    with pytest.raises(InputError, match=r"manifest.json: not a manifest; make the thing again"):
        artifact.load(tmp_path / "out", "thing")


@pytest.mark.parametrize("config", [{}, {"a": 2}, {"a": 1, "b": 1}])
def test_a_config_that_was_edited_is_refused(tmp_path: Path, config: dict[str, int]) -> None:
    with artifact.write(tmp_path / "out", "thing", {"a": 1}):
        pass
    manifest = tmp_path / "out" / "manifest.json"
    artifact.write_json(manifest, artifact.read_json(manifest) | {"config": config})
    message = r"manifest.json: config changed since it was written; make the thing again"
    for read in (artifact.load, artifact.read_manifest):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "out", "thing")


def test_a_config_has_the_same_hash_when_it_is_read(tmp_path: Path) -> None:
    config = {"tuple": (1, 2), "numbers": {10: "a", 2: "b"}, "tiny": 1e-300, "none": None}
    with artifact.write(tmp_path / "out", "thing", config):
        pass
    assert artifact.load(tmp_path / "out", "thing")["config"]["numbers"] == {"10": "a", "2": "b"}


def test_what_processes_share_is_made_by_one_while_the_others_wait(tmp_path: Path) -> None:
    shared = tmp_path / "deep" / "shared"
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from twofold import artifact\n"
        "out = Path(sys.argv[1])\n"
        "with artifact.waiting_for(out):\n"
        "    if not artifact.is_complete(out):\n"
        "        with artifact.write(out, 'thing', {}) as folder:\n"
        "            print('made')\n"
        "            time.sleep(0.3)\n"
    )
    command = [sys.executable, "-c", script, str(shared)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(said) == ["", "", "made\n"]


def test_a_copy_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with artifact.write(tmp_path / "one", "kind", {"a": 1}) as folder:
        (folder / "content").write_text("whole")

    def killed(source: Path, target: Path) -> None:
        target.mkdir()
        shutil.copy(source / artifact.MANIFEST, target)
        raise KeyboardInterrupt

    out = tmp_path / "two"
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            artifact.copy(tmp_path / "one", out)
    assert not out.exists()
    artifact.copy(tmp_path / "one", out)
    assert artifact.load(out, "kind") == artifact.load(tmp_path / "one", "kind")
    assert (out / "content").read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
