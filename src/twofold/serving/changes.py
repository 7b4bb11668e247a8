"""The changes of a living catalog: an append-only log, so that the model folder stays as it is.

Invariant: a change that `append` returned from is on disk. Every line carries a checksum over
itself and the line before, so a line that was altered, lost or moved is found; a last line that a
crash cut short was never acknowledged and is taken off.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from twofold.records import InputError

FILE = "changes.jsonl"


@dataclass(frozen=True, slots=True)
class Change:
    """Items that come or go.

    Attributes:
        kind: what to do.
        items: rows of the items table for `add`, rows with an item_id for `remove`.
    """

    kind: Literal["add", "remove"]
    items: tuple[Mapping[str, str], ...]


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
        self._file = self.path.open("a+b")
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
        try:
            self._read()
        except InputError:
            self.close()
            raise

    def append(self, change: Change) -> None:
        """Write a change; on disk when this returns."""
        summed = _sum(self._sum, asdict(change))
        line = json.dumps({"sum": summed, "change": asdict(change)}, ensure_ascii=False)
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:  # a full disk must not leave half a line in front of the next
            self._file.truncate(end)
            raise
        self._sum = summed
        self.changes.append(change)

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
                good = entry["sum"] == _sum(self._sum, entry["change"])
            except (ValueError, KeyError, TypeError):
                good = False
            if not good:
                raise InputError(
                    f"{self.path} line {number}: damaged; put the file back from a copy, or keep "
                    f"the lines before it and make the later changes again"
                )
            self._sum = entry["sum"]
            change = entry["change"]
            self.changes.append(Change(change["kind"], tuple(change["items"])))
        if len(whole) < len(content):
            self._file.truncate(len(whole))
            os.fsync(self._file.fileno())


def _sum(before: str, change: Any) -> str:
    text = before + json.dumps(change, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
