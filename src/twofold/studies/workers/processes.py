"""Several units of a study at once, each in a worker: a process of its own.

Small models use two threads badly, and the units of a study are independent. A worker is started as
a command and not as a copy of this process, nor by `multiprocessing`, which would run a user's
script or notebook once more; and it is spoken to through one socket, whose end each side notices:
a worker that was killed is known by name, and no worker outlives its study.
"""

import contextlib
import logging
import logging.handlers
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, Protocol

import torch

from twofold.records import InputError
from twofold.studies.workers.units import Unit, Work, outstanding, perform
from twofold.tasks.prepared import PreparedDataset

MEMORY = 1 << 30
"""The bytes that a worker takes, in addition to those that grow with the data."""
MEMORY_OF_DATA = 16
"""A worker takes so many times the bytes of the dataset's tables."""

_log = logging.getLogger(__name__)
_LOGGER = "twofold"


@dataclass(frozen=True, slots=True)
class Crew:
    """How many units are done at once, and with how many threads each."""

    workers: int
    threads: int

    @classmethod
    def of(
        cls, workers: int | None, threads: int | None, units: int, dataset: PreparedDataset
    ) -> "Crew":
        """The numbers that were asked for, or such that all threads of this process are in use.

        The threads of a unit never depend on the memory that happens to be free, since bits do.

        Args:
            workers: None for as many as there are threads and memory for.
            threads: of each; None for an equal share.
            units: how many could be done at once.
            dataset: what every worker holds.
        """
        total = torch.get_num_threads()
        own = threads or max(1, total // (workers or min(units, total)))
        if workers is None:
            workers = max(1, min(units, total // own, _room_for(dataset)))
        return cls(workers, own)


def _room_for(dataset: PreparedDataset) -> int:
    """How many workers find room in the memory that is free."""
    tables = (dataset.catalog.items, dataset.interactions, dataset.queries, dataset.qrels)
    each = MEMORY + MEMORY_OF_DATA * sum(int(table.estimated_size()) for table in tables)
    return free_memory() // each


def free_memory() -> int:
    """The bytes that this process may still take; a lot where the system does not say."""
    free = [1 << 62]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free.append(1024 * int(line.split()[1]))
    with contextlib.suppress(OSError, ValueError):  # a container with a limit of its own
        own = Path("/sys/fs/cgroup")
        limit = int((own / "memory.max").read_text())
        free.append(limit - int((own / "memory.current").read_text()))
    return max(0, min(free))


class Pool(Protocol):
    """Where units are done.

    Attributes:
        size: how many at once.
    """

    @property
    def size(self) -> int: ...

    def start(self, unit: Unit, found: Mapping[Unit, Any]) -> None:
        """Begin a unit; never more than `size` at once."""
        ...

    def finished(self) -> tuple[Unit, Any]:
        """Wait for a unit; return it, and its result.

        Raises:
            InputError: a unit could not be done.
        """
        ...


def done(
    targets: Iterable[Unit], work: Work, pool: Pool, found: dict[Unit, Any]
) -> Iterator[tuple[Unit, Any]]:
    """Do units, and those that they need, and yield each with its result as it is finished.

    Args:
        targets: what is wanted; a unit that is done already is left out.
        work: the study.
        pool: where units are done.
        found: all results so far; new ones are added.
    """
    waiting, running = outstanding(targets, work, found), 0
    while waiting or running:
        ready = [unit for unit in waiting if all(need in found for need in unit.needs)]
        for unit in ready[: pool.size - running]:
            _log.info("%s: begins", unit.name)
            pool.start(unit, {need: found[need] for need in unit.needs})
            waiting.remove(unit)
            running += 1
        unit, found[unit] = pool.finished()
        running -= 1
        yield unit, found[unit]


class ThisProcess:
    """One unit after the other, in this process.

    Args:
        work: the study.
    """

    size = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._begun: tuple[Unit, Mapping[Unit, Any]] | None = None

    def start(self, unit: Unit, found: Mapping[Unit, Any]) -> None:
        self._begun = unit, found

    def finished(self) -> tuple[Unit, Any]:
        assert self._begun is not None, "a unit is begun"
        unit, found = self._begun
        return unit, perform(unit, self._work, found)


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[str]
    connection: Connection
    relay: threading.Thread
    unit: Unit | None = None


class Workers:
    """Processes of this machine; each is started when there is a unit for it.

    Args:
        work: the study.
        size: how many at most.
    """

    def __init__(self, work: Work, size: int) -> None:
        self.size = size
        self._work = work
        self._workers: list[_Worker] = []

    def start(self, unit: Unit, found: Mapping[Unit, Any]) -> None:
        orders = [pickle.dumps((unit, found))]
        worker = next((worker for worker in self._workers if worker.unit is None), None)
        if worker is None:
            worker = _begun()
            self._workers.append(worker)
            orders.insert(0, self._introduction)
        worker.unit = unit
        # In a thread, as a worker that has just begun reads nothing for some seconds.
        threading.Thread(target=_send, args=(worker.connection, orders), daemon=True).start()

    @cached_property
    def _introduction(self) -> bytes:
        """What every worker is told first."""
        return pickle.dumps((logging.getLogger(_LOGGER).getEffectiveLevel(), self._work))

    def finished(self) -> tuple[Unit, Any]:
        while True:
            by_connection = {own.connection: own for own in self._workers if own.unit}
            for connection in wait(list(by_connection)):
                assert isinstance(connection, Connection)
                worker = by_connection[connection]
                unit = worker.unit
                assert unit is not None
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionResetError) as error:
                    raise _killed(worker.process, unit) from error
                if kind == "log":
                    _handle(content, unit)
                    continue
                worker.unit = None
                if kind == "failed":
                    raise content
                return unit, content

    def close(self) -> None:
        """End all workers: what they have not finished is continued by `--resume`."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            worker.relay.join()
        self._workers.clear()


def _begun() -> _Worker:
    """A new process, which knows nothing yet."""
    ours, theirs = Pipe()
    with theirs:
        serve = f"from twofold.studies.workers.processes import serve; serve({theirs.fileno()})"
        process = subprocess.Popen(
            [sys.executable, "-c", serve],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # so that it shows lines, and no progress bar
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is for this process, which ends the workers
        )
    relay = threading.Thread(target=_relay, args=(process,), daemon=True)
    relay.start()
    return _Worker(process, ours, relay)


def _send(connection: Connection, orders: Sequence[bytes]) -> None:
    """Send orders; that a worker was killed is noticed where its answer is read."""
    with contextlib.suppress(OSError):
        for order in orders:
            connection.send_bytes(order)


def _relay(process: subprocess.Popen[str]) -> None:
    """Pass on what a worker says on standard error, such as a library's warning."""
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            print(line, end="", file=sys.stderr)


def _handle(record: logging.LogRecord, unit: Unit) -> None:
    """Log a worker's record, which says of which unit it is."""
    record.msg = f"{unit.name}: {record.msg}"
    logging.getLogger(record.name).handle(record)


def _killed(process: subprocess.Popen[str], unit: Unit) -> InputError:
    """What to say of a worker that ended in the midst of a unit."""
    code = process.wait()
    how = f"ended with code {code}" if code >= 0 else f"was killed ({signal.Signals(-code).name})"
    return InputError(
        f"{unit.name}: its worker, process {process.pid}, {how}; what is finished is kept: run the "
        f"command again with --resume, and with fewer --workers if memory was short"
    )


@contextlib.contextmanager
def pool_of(work: Work, workers: int) -> Iterator[Pool]:
    """This process for one worker, processes for several, which end with the block."""
    if workers == 1:
        yield ThisProcess(work)
        return
    pool = Workers(work, workers)
    try:
        yield pool
    finally:
        pool.close()


def serve(descriptor: int) -> None:
    """The life of a worker: a study, then units until the study's process ends.

    Args:
        descriptor: the file descriptor of its socket.
    """
    connection, lock = Connection(descriptor), threading.Lock()

    def say(kind: str, content: Any) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            connection.send((kind, content))

    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    introduction, work = orders.get(), None
    while True:
        order = orders.get()
        try:
            if work is None:
                level, work = pickle.loads(introduction)
                logging.getLogger(_LOGGER).setLevel(level)
                logging.getLogger(_LOGGER).addHandler(_Forwarder(say))
            unit, found = pickle.loads(order)
            result = perform(unit, work, found)
        except BaseException as error:
            say("failed", _sendable(error))
        else:
            say("done", result)


def _listen(connection: Connection, orders: queue.SimpleQueue[bytes]) -> None:
    """Read orders; end this process when the study's process has ended, however it did."""
    while True:
        try:
            orders.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


class _Forwarder(logging.handlers.QueueHandler):
    """Sends records of the log, with their arguments filled in."""

    def __init__(self, say: Callable[[str, Any], None]) -> None:
        super().__init__(queue.SimpleQueue())
        self._say = say

    def enqueue(self, record: logging.LogRecord) -> None:
        self._say("log", record)


def _sendable(error: BaseException) -> BaseException:
    """An error with its traceback as a note; one that cannot be pickled by its words alone."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
