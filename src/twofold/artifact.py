"""Artifacts: the folders that stages write, each with a manifest.

Invariant: a folder that has a manifest is complete. Files are written to `.NAME.partial` in the
same parent folder, the manifest last, and the folder is renamed into place.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from twofold.records import InputError

FORMAT = 1
MANIFEST = "manifest.json"
_RECORDED = (
    "twofold",
    "faiss-cpu",
    "numpy",
    "polars",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


class Manifest(TypedDict):
    """The description of an artifact.

    Attributes:
        format: the version of the format.
        kind: what the artifact is, such as `model`.
        config: how it was made, by the stage that made it.
        versions: versions of Python and of packages.
        files: relative path -> SHA-256, of all other files.
    """

    format: int
    kind: str
    config: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]


def versions() -> dict[str, str]:
    """The versions that bits depend on, without packages that are not installed."""
    installed = {"python": platform.python_version()}
    for package in _RECORDED:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` with sorted keys, so that equal content gives equal bytes."""
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )


def read_json(path: Path) -> Any:
    """Read a JSON file; raises InputError that names it where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); make it again") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`; a reader sees the old file or the whole new one."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_folder(path.parent)


@contextmanager
def write(out: Path, kind: str, config: dict[str, Any]) -> Iterator[Path]:
    """Yield a new folder, which is moved to `out` with a manifest when the block ends well.

    Args:
        out: the artifact's folder.
        kind: what the artifact is.
        config: how it was made.

    Raises:
        InputError: `out` exists already.
    """
    require_absent(out)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    seal(partial, kind, config)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    sync_folder(out.parent)


def seal(folder: Path, kind: str, config: dict[str, Any]) -> None:
    """Hash the files of a folder and write its manifest.

    Of an artifact inside the folder only its own manifest is listed. Files get the permissions of
    the folder, as safetensors makes some of them readable by their owner only.
    """
    for path in _files(folder):
        path.chmod(folder.stat().st_mode & 0o666)
    files = {str(path.relative_to(folder)): sha256(path) for path in _files(folder)}
    manifest: Manifest = {
        "format": FORMAT,
        "kind": kind,
        "config": config,
        "versions": versions(),
        "files": files,
    }
    content = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(folder / MANIFEST, content.encode())


def is_complete(folder: Path) -> bool:
    """Whether the folder has a manifest; its bytes are not verified."""
    return (folder / MANIFEST).is_file()


def load(folder: Path, kind: str) -> Manifest:
    """Read a folder's manifest and verify the files that it lists.

    Raises:
        InputError: the folder is no artifact, of another kind or of a newer format, or a file is
            missing or changed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not is_complete(folder):
        raise InputError(
            f"{folder}: no {MANIFEST}, so this is not a finished {kind}; "
            f"give a {kind} folder, or make it again"
        )
    manifest: Manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not set(Manifest.__annotations__) <= set(manifest):
        raise InputError(f"{folder / MANIFEST}: not a manifest; make the {kind} again")
    if manifest["format"] > FORMAT:
        raise InputError(
            f"{folder}: written in format {manifest['format']}, this version reads up to "
            f"{FORMAT}; upgrade twofold"
        )
    if manifest["kind"] != kind:
        raise InputError(f"{folder}: holds a {manifest['kind']}, not a {kind}")
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing, so the {kind} is incomplete; make it again")
        if sha256(path) != digest:
            raise InputError(f"{path}: changed since it was written; make the {kind} again")
    return manifest


def require_absent(out: Path) -> None:
    """Raise InputError where `out` exists and is not empty, so that nothing is overwritten."""
    if out.is_file():
        raise InputError(f"{out}: is a file; give a folder that does not exist yet")
    if out.is_mount() or out.resolve() == Path.cwd():
        raise InputError(f"{out}: cannot be replaced; give a new folder inside it")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: exists and is not empty; give another folder or remove it")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from [path / MANIFEST] if is_complete(path) else _files(path)
        elif path.name != MANIFEST:
            yield path


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
