"""Several units of a study at once on this machine, each in a worker: a process of its own.

Small models use two threads badly, and the units of a study are independent. A worker is started as
a command and not as a copy of this process, nor by `multiprocessing`, which would run a user's
script or notebook once more; and it is spoken to through one socket, whose end each side notices:
a worker that was killed is known by name, and no worker outlives its study.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

import torch

from twofold.records import InputError
from twofold.studies.workers.messages import Order, answer, is_result, log_level
from twofold.studies.workers.pool import Crew, Pool, ThisProcess, memory_of_worker
from twofold.studies.workers.units import Unit, Work
from twofold.tasks.prepared import PreparedDataset


class ThisMachine:
    """The machine that the study runs on; see `twofold.studies.workers.pool.Machines`.

    By default all threads of this process are in use, in workers with an equal share each; on a
    GPU there is one worker.
    """

    def crew(
        self,
        workers: int | None,
        threads: int | None,
        units: int,
        dataset: PreparedDataset,
        device: str,
    ) -> Crew:
        if workers is None and device != "cpu":
            workers = 1
        total = torch.get_num_threads()
        own = threads or max(1, total // (workers or min(units, total)))
        if workers is None:
            room = free_memory() // memory_of_worker(dataset)
            workers = max(1, min(units, total // own, room))
        return Crew(workers, own)

    @contextlib.contextmanager
    def pool(self, work: Work, crew: Crew) -> Iterator[Pool]:
        """This process for one worker, processes for several."""
        if crew.workers == 1:
            yield ThisProcess(work)
            return
        pool = Workers(work, crew.workers)
        try:
            yield pool
        finally:
            pool.close()


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

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        orders = [pickle.dumps((unit, results))]
        worker = next((worker for worker in self._workers if worker.unit is None), None)
        if worker is None:
            worker = _begun()
            self._workers.append(worker)
            orders[:0] = self._introduction
        worker.unit = unit
        # In a thread, as a worker that has just begun reads nothing for some seconds.
        threading.Thread(target=_send, args=(worker.connection, orders), daemon=True).start()

    @cached_property
    def _introduction(self) -> Sequence[bytes]:
        """What every worker is told first."""
        return pickle.dumps(log_level()), pickle.dumps(self._work)

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
                if kind != "log":
                    worker.unit = None
                if is_result(unit, kind, content):
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


def _killed(process: subprocess.Popen[str], unit: Unit) -> InputError:
    """What to say of a worker that ended in the midst of a unit."""
    code = process.wait()
    how = f"ended with code {code}" if code >= 0 else f"was killed ({signal.Signals(-code).name})"
    return InputError(
        f"{unit.name}: its worker, process {process.pid}, {how}; what is finished is kept: run the "
        f"command again with --resume, and with fewer --workers if memory was short"
    )


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
    level, study, work = pickle.loads(orders.get()), orders.get(), None

    def order() -> Order:
        nonlocal work
        next_order = orders.get()
        work = work or pickle.loads(study)  # here, so that an error of it is said
        return work, *pickle.loads(next_order)

    while True:
        answer(order, level, say)


def _listen(connection: Connection, orders: queue.SimpleQueue[bytes]) -> None:
    """Read orders; end this process when the study's process has ended, however it did."""
    while True:
        try:
            orders.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)
