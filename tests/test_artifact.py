"""Folders with a manifest: whole or not there."""

import contextlib
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
