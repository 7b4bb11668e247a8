"""An append-only log of catalog changes; the model folder is never changed.

Invariant: when `append` returns, the change is on disk. Every line has a checksum of itself and of
the line before, so an altered, lost or moved line is detected. If a crash has truncated the last
line, it was never acknowledged and is removed, with a warning.
"""

import base64
import fcntl
import hashlib
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twofold import artifact
from twofold.records import InputError

FILE = "changes.jsonl"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """Items to add or to remove; the attributes are the keys on disk.

    Attributes:
        kind: `add` or `remove`.
        items: the fields of the items for `add`, only their item_id for `remove`.
        placed: model version -> the placement of the items that were new to that model, so that it
            is not computed again after a restart; see `replay`.
    """

    kind: Literal["add", "remove"]
    items: Sequence[Mapping[str, str]]
    placed: Mapping[str, str] = field(default_factory=dict)


class ChangeLog:
    """The changes in a state folder, oldest first; the folder is locked by one process at a time.

    Args:
        folder: the state folder; it is created if it does not exist.

    Raises:
        InputError: it is a file, cannot be created or holds a manifest, another process has locked
            it, or a line is damaged.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; give a folder for the changes of the catalog")
        if (folder / artifact.MANIFEST).exists():
            raise InputError(
                f"{folder}: holds a model or another output of twofold, which stays as it is; give "
                "a folder of its own for the changes of the catalog"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot be written ({error.strerror})"
            raise InputError(
                f"{folder}: {reason}; give another folder for the changes of the catalog"
            ) from error
        self.path = folder / FILE
        # Unbuffered: after an error of a full disk, nothing must be written later.
        self._file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(
                f"{self.path}: is in use by a running server or by another command; change items "
                f"through the server's POST /admin/items or stop it, or wait for the command"
            ) from error
        self.changes: list[CatalogChange] = []
        self._last_checksum = ""
        self._broken = False
        try:
            self._read()
            artifact.sync_folder(folder)  # the directory entry of a file created just now
        except InputError:
            self.close()
            raise

    def append(self, change: CatalogChange) -> None:
        """Write a change; it is on disk when this returns.

        Raises:
            OSError: the change could not be written, and the log is unchanged.
            InputError: an earlier write failed and could not be undone.
        """
        if self._broken:
            raise InputError(f"{self.path}: an earlier write failed; restart the server")
        checksum = _checksum(self._last_checksum, asdict(change))
        line = json.dumps({"sum": checksum, "change": asdict(change)}, ensure_ascii=False)
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._write(line.encode() + b"\n")
            os.fsync(self._file.fileno())
        except OSError:  # a full disk must not leave a partial line before the next one
            self._broken = True
            self._file.truncate(end)
            os.fsync(self._file.fileno())
            self._broken = False
            raise
        self._last_checksum = checksum
        self.changes.append(change)

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Unlock the log for other processes."""
        self._file.close()

    def _read(self) -> None:
        """Read and verify all changes, and remove a last line that was written only in part."""
        self._file.seek(0)
        content = self._file.read()
        *lines, rest = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not self._accept(line):
                raise InputError(
                    f"{self.path} line {number}: corrupt; restore the file from a backup, or "
                    f"keep the lines before it and repeat the later changes"
                )
        if not rest:
            return
        if self._accept(rest):  # an editor has removed the last line break
            self._write(b"\n")
        else:
            _log.warning("%s: removed a last line that was written only in part", self.path)
            self._file.truncate(len(content) - len(rest))
        os.fsync(self._file.fileno())

    def _accept(self, line: bytes) -> bool:
        """Append the change of a line, unless the line is damaged."""
        try:
            entry = json.loads(line)
            change = CatalogChange(**entry["change"])
            if entry["sum"] != _checksum(self._last_checksum, entry["change"]):
                return False
        except (ValueError, KeyError, TypeError):
            return False
        self._last_checksum = entry["sum"]
        self.changes.append(change)
        return True


def encode_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Encode arrays as text for a JSON line."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return base64.b64encode(buffer.getvalue()).decode()


def decode_arrays(text: str) -> dict[str, np.ndarray]:
    """The inverse of `encode_arrays`."""
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as arrays:
        return dict(arrays)


def _checksum(previous: str, change: Any) -> str:
    text = previous + json.dumps(change, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
