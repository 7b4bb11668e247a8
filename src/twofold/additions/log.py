"""The changes of a living catalog: an append-only log, so that the model folder stays as it is.

Invariant: a change that `append` returned from is on disk. Every line carries a checksum over
itself and the line before, so a line that was altered, lost or moved is found; a last line that a
crash cut short was never acknowledged and is taken off.
"""

import base64
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twofold import artifact
from twofold.records import InputError

FILE = "changes.jsonl"


@dataclass(frozen=True, slots=True)
class Change:
    """Items that come or go.

    Attributes:
        kind: what to do.
        items: rows of the items table for `add`, rows with an item_id for `remove`.
        placed: model version -> where that model placed the items that were new to it, so that a
            restart need not work it out again; see `replay`.
    """

    kind: Literal["add", "remove"]
    items: Sequence[Mapping[str, str]]
    placed: Mapping[str, str] = field(default_factory=dict)


class ChangeLog:
    """The changes in a state folder, oldest first; one process at a time holds it.

    Args:
        folder: made where it is missing.

    Raises:
        InputError: another process holds it, or a line is damaged.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        # Without a buffer: what a full disk refused must not be written later after all.
        self._file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(
                f"{self.path}: a running server holds it; change items through its "
                f"POST /admin/items, or stop it"
            ) from error
        self.changes: list[Change] = []
        self._sum = ""
        self._broken = False
        try:
            self._read()
            artifact.sync_folder(folder)  # the file's own entry, where it was made just now
        except InputError:
            self.close()
            raise

    def append(self, change: Change) -> None:
        """Write a change; on disk when this returns.

        Raises:
            OSError: it could not be written, and is not there.
            InputError: what an earlier write left could not be taken back.
        """
        if self._broken:
            raise InputError(f"{self.path}: could not be written before; start the server anew")
        summed = _sum(self._sum, asdict(change))
        line = json.dumps({"sum": summed, "change": asdict(change)}, ensure_ascii=False)
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._write(line.encode() + b"\n")
            os.fsync(self._file.fileno())
        except OSError:  # a full disk must not leave half a line in front of the next
            self._broken = True
            self._file.truncate(end)
            os.fsync(self._file.fileno())
            self._broken = False
            raise
        self._sum = summed
        self.changes.append(change)

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                change = Change(**entry["change"])
                good = entry["sum"] == _sum(self._sum, entry["change"])
            except (ValueError, KeyError, TypeError):
                good = False
            if not good:
                raise InputError(
                    f"{self.path} line {number}: damaged; put the file back from a copy, or keep "
                    f"the lines before it and make the later changes again"
                )
            self._sum = entry["sum"]
            self.changes.append(change)
        if len(whole) < len(content):
            self._file.truncate(len(whole))
            os.fsync(self._file.fileno())


def as_text(arrays: Mapping[str, np.ndarray]) -> str:
    """Arrays as a line can hold them."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    return base64.b64encode(packed.getvalue()).decode()


def as_arrays(text: str) -> dict[str, np.ndarray]:
    """What `as_text` wrote."""
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as arrays:
        return dict(arrays)


def _sum(before: str, change: Any) -> str:
    text = before + json.dumps(change, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
