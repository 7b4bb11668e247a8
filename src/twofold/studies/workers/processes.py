"""Runs several units of a study at once on this machine, each in a worker process.

Small models make poor use of two threads, and the units of a study are independent. A worker is
started as a command, since a fork would copy this process and `multiprocessing` would run a user's
script or notebook again. It communicates through one socket. Each side notices if the socket is
closed: a killed worker is reported by its unit, and no worker outlives its study.
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
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.messages import Job, is_result, log_level, run_job
from twofold.studies.workers.pool import Pool, Resources, SerialPool, Workload, worker_memory
from twofold.studies.workers.units import Unit


class LocalExecutor:
    """Runs a study on this machine; see `twofold.studies.workers.pool.Executor`.

    By default the workers share all threads of this process equally; on a GPU there is one worker.
    """

    def allocate(self, work: Workload) -> Resources:
        workers = work.workers
        if workers is None and work.device != "cpu":
            workers = 1
        total = torch.get_num_threads()
        each = work.threads or max(1, total // (workers or min(work.units, total)))
        if workers is None:
            room = free_memory() // worker_memory(work.dataset)
            workers = max(1, min(work.units, total // each, room))
        return Resources(workers, each)

    @contextlib.contextmanager
    def pool(self, context: StudyContext, resources: Resources) -> Iterator[Pool]:
        """A pool in this process for one worker, and of processes for several."""
        if resources.workers == 1:
            yield SerialPool(context)
            return
        pool = ProcessPool(context, resources.workers)
        try:
            yield pool
        finally:
            pool.close()


def free_memory() -> int:
    """The memory in bytes that this process may still allocate; very large if it is unknown."""
    free = [1 << 62]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free.append(1024 * int(line.split()[1]))
    with contextlib.suppress(OSError, ValueError):  # a container with its own limit
        cgroup = Path("/sys/fs/cgroup")
        limit = int((cgroup / "memory.max").read_text())
        free.append(limit - int((cgroup / "memory.current").read_text()))
    return max(0, min(free))


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[str]
    connection: Connection
    relay: threading.Thread
    unit: Unit | None = None


class ProcessPool:
    """Worker processes on this machine; each is started when there is a unit for it.

    Args:
        context: the study.
        size: the largest number of workers.
    """

    def __init__(self, context: StudyContext, size: int) -> None:
        self.size = size
        self._context = context
        self._workers: list[_Worker] = []

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        jobs = [pickle.dumps((unit, results))]
        worker = next((worker for worker in self._workers if worker.unit is None), None)
        if worker is None:
            worker = _start_worker()
            self._workers.append(worker)
            jobs[:0] = self._setup
        worker.unit = unit
        # In a thread, since a worker does not read for some seconds after its start.
        threading.Thread(target=_send, args=(worker.connection, jobs), daemon=True).start()

    @cached_property
    def _setup(self) -> Sequence[bytes]:
        """The first messages to every worker: the log level and the study."""
        return pickle.dumps(log_level()), pickle.dumps(self._context)

    def finished(self) -> tuple[Unit, Any]:
        while True:
            by_connection = {worker.connection: worker for worker in self._workers if worker.unit}
            for connection in wait(list(by_connection)):
                assert isinstance(connection, Connection)
                worker = by_connection[connection]
                unit = worker.unit
                assert unit is not None
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionResetError) as error:
                    raise _lost(worker.process, unit) from error
                if kind != "log":
                    worker.unit = None
                if is_result(unit, kind, content):
                    return unit, content

    def close(self) -> None:
        """End all workers; `--resume` continues their unfinished units."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            worker.relay.join()
        self._workers.clear()


def _start_worker() -> _Worker:
    """A new worker process, which has not received a study yet."""
    ours, theirs = Pipe()
    with theirs:
        serve = f"from twofold.studies.workers.processes import serve; serve({theirs.fileno()})"
        process = subprocess.Popen(
            [sys.executable, "-c", serve],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # so that it writes lines, and no progress bar
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is sent to this process only, which ends the workers
        )
    relay = threading.Thread(target=_relay, args=(process,), daemon=True)
    relay.start()
    return _Worker(process, ours, relay)


def _send(connection: Connection, jobs: Sequence[bytes]) -> None:
    """Send jobs; a killed worker is noticed when its result is read."""
    with contextlib.suppress(OSError):
        for job in jobs:
            connection.send_bytes(job)


def _relay(process: subprocess.Popen[str]) -> None:
    """Print a worker's standard error, such as a library's warning."""
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            print(line, end="", file=sys.stderr)


def _lost(process: subprocess.Popen[str], unit: Unit) -> InputError:
    """The error of a worker that ended before its unit had finished."""
    code = process.wait()
    how = f"ended with code {code}" if code >= 0 else f"was killed ({signal.Signals(-code).name})"
    return InputError(
        f"{unit.name}: its worker, process {process.pid}, {how}; what is finished is kept: run the "
        f"command again with --resume, and with fewer --workers if memory was short"
    )


def serve(descriptor: int) -> None:
    """The main loop of a worker: it reads a study, then runs units until the study's process ends.

    Args:
        descriptor: the file descriptor of its socket.
    """
    connection, lock = Connection(descriptor), threading.Lock()

    def send(kind: str, content: Any) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            connection.send((kind, content))

    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    level, study, context = pickle.loads(jobs.get()), jobs.get(), None

    def next_job() -> Job:
        nonlocal context
        job = jobs.get()
        context = context or pickle.loads(study)  # here, so that its error is sent
        return context, *pickle.loads(job)

    while True:
        run_job(next_job, level, send)


def _listen(connection: Connection, jobs: queue.SimpleQueue[bytes]) -> None:
    """Read jobs; end this process when the study's process has ended for any reason."""
    while True:
        try:
            jobs.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)
