"""Tools for streaming: arrays and a temporary folder on disk, progress, and an exception."""

import fcntl
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from twofold import artifact
from twofold.records import InputError

T = TypeVar("T")

PIECE = 1_000_000
"""The number of rows that are read or written at once."""
_PREFIX, _LOCK = "twofold-prepare-", ".twofold-prepare.lock"
_PER_LINE = 10.0
"""The seconds between two lines of progress."""
_GIB = 2**30

_log = logging.getLogger(__name__)


class NotStreamableError(Exception):
    """A table must be read whole; the message has the reason.

    Its report needs places and counts that only the whole table has, or the file is not a table.
    """


class ArrayFile:
    """Writes one array of numbers piece by piece, as a NumPy file.

    Args:
        folder: the folder of the file.
        name: the name of the file.
        dtype: the type of the numbers.
    """

    def __init__(self, folder: Path, name: str, dtype: str) -> None:
        self._path, self._dtype, self._count = folder / f"{name}.npy", np.dtype(dtype), 0
        self._path.touch()
        self._write_header()

    def write(self, numbers: npt.NDArray[np.generic]) -> None:
        """Append numbers."""
        with self._path.open("ab") as file:
            numbers.astype(self._dtype).tofile(file)
        self._count += len(numbers)

    def mapped(self) -> Any:
        """The whole array, mapped into memory."""
        self._write_header()
        mode: Any = "r" if self._count else None  # an empty array cannot be mapped
        return np.load(self._path, mmap_mode=mode, allow_pickle=False).view(np.ndarray)

    def _write_header(self) -> None:
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count,)}
        with self._path.open("r+b") as file:
            np.lib.format.write_array_header_1_0(file, described)


def append_by(
    rows: npt.NDArray[np.void], numbers: npt.NDArray[np.integer[Any]], path: Callable[[int], Path]
) -> None:
    """Append every row to the file of its number, in the given order.

    Args:
        rows: the rows, (n,).
        numbers: below 65,536, (n,).
        path: the file of a number.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")  # by counting
    rows, numbers = rows[order], numbers[order]
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[0] + 1))
    for number, group in zip(numbers[first].tolist(), np.split(rows, first[1:]), strict=True):
        # One open file at a time: a process may not open thousands.
        with path(number).open("ab") as file:
            group.tofile(file)


class TemporaryFolder:
    """A temporary folder that is removed with this object, or later by another process.

    A killed process leaves its folder behind. The process had locked a file in it, and the lock
    ends with the process, so others can see that the folder is not in use.

    Args:
        bytes_: the approximate number of bytes that will be written.

    Raises:
        InputError: the disk has too little free space.
    """

    def __init__(self, bytes_: int) -> None:
        parent = Path(tempfile.gettempdir())
        _remove_left_over(parent)
        free = artifact.free_space(parent)
        if free < bytes_:
            raise InputError(
                f"{parent}: has {free / _GIB:.1f} GiB left, and temporary files take about "
                f"{bytes_ / _GIB:.1f} GiB; free some space, or name another folder in TMPDIR"
            )
        self.path, lock = _locked_folder()
        weakref.finalize(self, _remove, self.path, lock)


def _locked_folder() -> tuple[Path, int]:
    """A new folder, and the descriptor of its lock, which ends when it is closed."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process is removing it, since it was not locked yet
            os.close(lock)
            continue
        except OSError:  # a file system without locks
            return folder, lock
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_left_over(parent: Path) -> None:
    """Remove the temporary folders of processes that have ended."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
                _log.info("%s: removed, as the process that made it is gone", lock.parent)
        except OSError:  # in use, of another user, or on a file system without locks
            continue


def with_progress(steps: Iterable[T], what: str, size: int, unit: str = "pieces") -> Iterator[T]:
    """Yield the steps, and log the progress and the remaining time every `_PER_LINE` seconds."""
    start = last = time.monotonic()
    for done, step in enumerate(steps):
        now = time.monotonic()
        if done and now - last > _PER_LINE:
            last = now
            left = (now - start) / done * (size - done)
            _log.info("%s: %d of %d %s, %.0f s left", what, done, size, unit, left)
        yield step
