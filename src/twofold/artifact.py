"""Artifacts: the output folders of stages, which have a manifest.

Invariant: a folder with a manifest is complete. Files are written to `.NAME.partial` in the same
parent folder, the manifest last; then the folder is renamed. A command locks its output folder
while it runs; the lock ends with the process.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import math
import os
import platform
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from twofold.records import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

Config = TypeVar("Config", bound="BaseModel")

FORMAT = 1
MANIFEST = "manifest.json"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a full disk, or of a full quota."""
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
        kind: the kind of the artifact, such as `model`.
        config: how the artifact was made, as recorded by its stage.
        versions: the versions of Python and of packages.
        config_sha256: the SHA-256 of `config`.
        files: relative path -> SHA-256, for all other files.
    """

    format: int
    kind: str
    config: dict[str, Any]
    config_sha256: str
    versions: dict[str, str]
    files: dict[str, str]


@functools.cache
def versions() -> Mapping[str, str]:
    """The versions of Python and of the installed packages that results depend on."""
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


def _digests(paths: Iterable[Path]) -> Iterator[str]:
    """The SHA-256 of files, computed in several threads: hashlib releases the GIL."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(sha256, paths)


def write_json(path: Path, value: Any) -> None:
    """Write `value` by `replace_file`; its keys are sorted, so equal content gives equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    replace_file(path, f"{text}\n".encode())


def read_json(path: Path, remedy: str = "make it again") -> Any:
    """Read a JSON file; raises InputError with the path and the remedy if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique_keys)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); {remedy}") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `object_pairs_hook`.

    Raises:
        ValueError: a key occurs twice, so that one of its values would be lost.
    """
    read: dict[str, Any] = {}
    for key, value in pairs:
        if key in read:
            raise ValueError(f"key '{key}' occurs twice in an object")
        read[key] = value
    return read


def read_object(path: Path, *keys: str, remedy: str) -> dict[str, Any]:
    """Read a JSON file with an object that has these keys, among others.

    Raises:
        InputError: the file cannot be read, or has another value; with the path and the remedy.
    """
    value = read_json(path, remedy)
    missing = [key for key in keys if key not in value] if isinstance(value, dict) else keys
    if missing or not isinstance(value, dict):
        lacks = f"has no {', '.join(missing)}" if missing else "is not a JSON object"
        raise InputError(f"{path}: {lacks}; {remedy}")
    return value


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`; a reader sees the old file or the complete new one, also after a
    full disk.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def write(out: Path, kind: str, config: dict[str, Any]) -> Iterator[Path]:
    """Yield a new folder; if the block succeeds, write its manifest and move it to `out`.

    Args:
        out: the artifact's folder.
        kind: the kind of the artifact.
        config: how it was made.

    Raises:
        InputError: `out` exists already.
    """
    out = real(out)
    require_absent(out)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        seal(partial, kind, config)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # otherwise it fills the disk further
        raise
    if out.exists():
        out.rmdir()
    partial.rename(out)
    sync_folder(out.parent)


def copy(folder: Path, out: Path) -> None:
    """Copy an artifact to a new folder; the new folder is complete or does not exist."""
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    partial.rename(out)
    sync_folder(out.parent)


def at_home(path: str | Path) -> Path:
    """The path with a `~` at its beginning as the home folder, as in a shell: polars reads and
    writes such a path in the home folder, and Python in a folder that is called `~`.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


def real(out: str | Path) -> Path:
    """The folder that a link `out` refers to, which need not exist yet; without a link, `out`
    itself. A `~` at the beginning is the home folder.

    Raises:
        InputError: the name is too long, or the link is broken.
    """
    out = at_home(out)
    if len(os.fsencode(out.name)) > _LONGEST_NAME:
        raise InputError(f"{out}: the name is too long; give one of at most {_LONGEST_NAME} bytes")
    try:
        return out.resolve() if out.is_symlink() else out
    except (OSError, RuntimeError) as error:
        raise InputError(f"{out}: a broken link; give another folder") from error


_LONGEST_NAME = 240
"""The largest number of bytes in a folder's name: file systems allow 255, and other names are made
from it."""

_claimed: dict[Path, int] = {}
"""Folder that this process has locked -> the thread that locked it."""


@contextmanager
def claim(out: str | Path) -> Iterator[Path]:
    """Lock the folder `out` for this process, before any work; yield it with links resolved.

    The lock is a file next to the folder. It ends with the process, also if the process is killed.
    The thread that has the lock may claim the folder again.

    Raises:
        InputError: another process writes the folder, or it cannot be written.
        OSError: the disk is full.
    """
    out, mine = real(out), threading.get_ident()
    key = out.absolute()
    if _claimed.get(key) == mine:
        yield out
        return
    _require_no_file(out)
    if out.is_dir() and not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"{out}: cannot be written; give another folder")
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(out)
    except OSError as error:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if error.errno in FULL_DISK:
            raise  # another folder would not continue what is in this one
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); give another folder"
        ) from error
    _claimed[key] = mine
    try:
        yield out
    finally:
        del _claimed[key]
        _lock_file(out).unlink(missing_ok=True)
        os.close(lock)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing was written


def free_space(folder: Path) -> float:
    """The free bytes of the disk of a folder, or of its parent if the folder does not exist yet;
    infinite on a file system that does not say how large it is."""
    usage = shutil.disk_usage(folder if folder.exists() else folder.parent)
    return usage.free if usage.total else math.inf


@contextmanager
def waiting_for(out: Path) -> Iterator[None]:
    """Lock the folder `out` while the block runs; if another process has the lock, wait for it.

    This is for folders that several processes share and the first one makes; the lock file stays.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with _lock_file(out).open("a") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lock_file(out: Path) -> Path:
    return out.parent / f".{out.name}.lock"


def _locked(out: Path) -> int:
    """The descriptor of a folder's lock file; the lock ends when it is closed."""
    path = _lock_file(out)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode(errors="replace").strip()
            os.close(lock)
            named = f"process {holder}" if holder else "another process"
            raise InputError(
                f"{out}: {named} is writing it; wait until that ends, or give another folder"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                os.close(lock)
                raise
            return lock  # a file system without locks
        # The process that had the lock may have removed the file since it was opened.
        if _is_still(path, lock):
            with contextlib.suppress(OSError):  # on a full disk, the number is missing
                os.ftruncate(lock, 0)
                os.write(lock, f"{os.getpid()}\n".encode())
            return lock
        os.close(lock)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def seal(folder: Path, kind: str, config: dict[str, Any]) -> None:
    """Hash the files of a folder and write its manifest.

    If the folder contains another artifact, only the manifest of that one is listed. Files get the
    permissions of the folder, since safetensors makes some of them readable by their owner only.
    """
    for path in _files(folder):
        path.chmod(folder.stat().st_mode & 0o666)
    paths = list(_files(folder))
    names = (str(path.relative_to(folder)) for path in paths)
    manifest: Manifest = {
        "format": FORMAT,
        "kind": kind,
        "config": config,
        "config_sha256": _config_digest(config),
        "versions": dict(versions()),
        "files": dict(zip(names, _digests(paths), strict=True)),
    }
    content = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(folder / MANIFEST, content.encode())


def is_complete(folder: Path) -> bool:
    """Whether the folder has a manifest; its files are not verified."""
    return (folder / MANIFEST).is_file()


def load(folder: Path, kind: str) -> Manifest:
    """Read a folder's manifest and verify the files that it lists.

    Raises:
        InputError: the folder is not an artifact, has another kind or a newer format, or a file is
            missing or changed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not is_complete(folder):
        raise InputError(
            f"{folder}: no {MANIFEST}, so this is not a finished {kind}; "
            f"give a {kind} folder, or make it again"
        )
    manifest = read_manifest(folder, kind)
    paths = [folder / name for name in manifest["files"]]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: missing, so the {kind} is incomplete; make it again")
    for path, given, digest in zip(paths, manifest["files"].values(), _digests(paths), strict=True):
        if digest != given:
            raise InputError(f"{path}: changed since it was written; make the {kind} again")
    return manifest


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun.startswith(tuple("aeiou")) else f"a {noun}"


def read_manifest(folder: Path, kind: str) -> Manifest:
    """Read the manifest of a folder of this kind, without verifying the folder's files.

    Raises:
        InputError: the manifest was changed, or is of another kind or a newer format.
    """
    manifest: Manifest = read_json(folder / MANIFEST)
    if not _is_manifest(manifest):
        raise InputError(f"{folder / MANIFEST}: not a manifest; make the {kind} again")
    if manifest["format"] > FORMAT:
        raise InputError(
            f"{folder}: written in format {manifest['format']}, this version reads up to "
            f"{FORMAT}; upgrade twofold"
        )
    if manifest["kind"] != kind:
        there, expected = (_with_article(each) for each in (manifest["kind"], kind))
        raise InputError(f"{folder}: is {there}, not {expected}; give the folder of {expected}")
    if _config_digest(manifest["config"]) != manifest["config_sha256"]:
        raise InputError(
            f"{folder / MANIFEST}: config changed since it was written; make the {kind} again"
        )
    return manifest


def load_config(folder: Path, kind: str, schema: type[Config]) -> Config:
    """Verify a folder as `load` does, and return its config as an object of type `schema`.

    Raises:
        InputError: as `load`, or the config lacks a key or has a value of another type.
    """
    from pydantic import ValidationError

    config = load(folder, kind)["config"]
    try:
        return schema.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["config", *map(str, first["loc"])])
        given = "" if first["type"] == "missing" else f", not {json.dumps(first['input'])[:80]}"
        raise InputError(
            f"{folder / MANIFEST}: {place}: {first['msg']}{given}; make the {kind} again"
        ) from error


def _config_digest(config: dict[str, Any]) -> str:
    """The SHA-256 of a config as JSON, in hex."""
    # Read back first: keys that are numbers are sorted in another order than their texts.
    text = json.dumps(json.loads(json.dumps(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_manifest(value: Any) -> bool:
    """Whether a value has all keys of a manifest, with values of the right types."""
    kinds = {
        "format": int,
        "kind": str,
        "config": dict,
        "config_sha256": str,
        "versions": dict,
        "files": dict,
    }
    return isinstance(value, dict) and all(
        isinstance(value.get(key), kind) for key, kind in kinds.items()
    )


def require_absent(out: Path) -> None:
    """Raise InputError if `out` exists and is not empty, so that nothing is overwritten."""
    out = real(out)
    _require_no_file(out)
    if out.is_mount() or out.resolve() == Path.cwd():
        raise InputError(f"{out}: cannot be replaced; give a new folder inside it")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: exists and is not empty; give another folder or remove it")


def _require_no_file(out: Path) -> None:
    """Raise InputError if `out` is a file of any kind, such as a device."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder that does not exist yet")


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
