"""The units of a study as tasks of a Ray cluster.

Every machine works in the folder of the command, on storage that all of them share. A unit writes
its models there, as it would on one machine. If its worker is lost, another one continues from the
last checkpoint. Results of units, errors and log lines come back through Ray.

Invariant: no number depends on the machine of a unit, or on how often it was started.
"""

import contextlib
import functools
import logging
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from twofold.cluster.machines import LOSSES, room_for, work_in
from twofold.records import InputError
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.messages import Job, is_result, log_level, run_job
from twofold.studies.workers.pool import Pool, Resources, Workload, worker_memory
from twofold.studies.workers.units import Unit
from twofold.tasks.prepared import PreparedDataset

_log = logging.getLogger(__name__)


class RayExecutor:
    """Runs a study on the cluster that this process is connected to; see `Executor`.

    By default a worker has one thread, and there are as many workers as the cluster has resources
    for.
    """

    def allocate(self, work: Workload) -> Resources:
        each = work.threads or 1
        room = room_for(_needs(each, work.device, work.dataset))
        return Resources(work.workers or max(1, min(work.units, room)), each)

    @contextlib.contextmanager
    def pool(self, context: StudyContext, resources: Resources) -> Iterator[Pool]:
        pool = RayPool(context, resources)
        try:
            yield pool
        finally:
            pool.close()


def _needs(threads: int, device: str, dataset: PreparedDataset) -> dict[str, float]:
    """The Ray resources of a unit."""
    needs: dict[str, float] = {"CPU": threads, "memory": worker_memory(dataset)}
    return needs if device == "cpu" else {**needs, "GPU": 1}


class RayPool:
    """Tasks of a Ray cluster, one for each unit.

    Args:
        context: the study; it is sent to the cluster once.
        resources: the number of units that run at the same time, and their threads.
    """

    def __init__(self, context: StudyContext, resources: Resources) -> None:
        self.size = resources.workers
        needs = _needs(resources.threads, context.plan.device, context.dataset)
        # Ray's own retries would repeat the log of a lost worker, with other lines.
        self._task = ray.remote(_messages).options(
            num_returns="streaming",
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
            memory=needs["memory"],
            max_retries=0,
        )
        self._context = [ray.put(context)]  # in a list, since Ray would pass its content
        self._running: dict[Any, tuple[Unit, Mapping[Unit, Any]]] = {}
        self._losses: dict[Unit, int] = {}

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        messages = self._task.remote(Path.cwd(), log_level(), self._context, unit, results)
        self._running[messages] = unit, results

    def finished(self) -> tuple[Unit, Any]:
        while True:
            [messages], _ = ray.wait(list(self._running), num_returns=1)
            unit, results = self._running[messages]
            try:
                kind, content = ray.get(next(messages))
            except RayTaskError:
                raise
            except RayError as error:
                del self._running[messages]
                self._lost(unit, error)
                self.start(unit, results)
                continue
            if kind != "log":
                del self._running[messages]
            if is_result(unit, kind, content):
                return unit, content

    def _lost(self, unit: Unit, error: RayError) -> None:
        """Log that a worker was lost.

        Raises:
            InputError: the unit has lost too many workers.
        """
        reason = str(error).strip().splitlines()[0]
        self._losses[unit] = self._losses.get(unit, 0) + 1
        if self._losses[unit] > LOSSES:
            raise InputError(
                f"{unit.name}: has lost {LOSSES + 1} workers, the last one as follows: {reason} "
                f"What is finished is kept: run the command again with --resume, and with fewer "
                f"--workers if memory was short"
            ) from error
        _log.info("%s: its worker was lost, another continues it (%s)", unit.name, reason)

    def close(self) -> None:
        """Cancel all tasks; `--resume` continues what they have not finished."""
        for messages in self._running:
            ray.cancel(messages, force=True)
        self._running.clear()


def _messages(
    place: Path,
    level: int,
    context: "list[ray.ObjectRef[StudyContext]]",
    unit: Unit,
    results: Mapping[Unit, Any],
) -> Iterator[tuple[str, Any]]:
    """The messages of a worker while it runs a unit; a Ray task.

    Args:
        place: the working directory of the command.
        level: the log level of the study.
        context: the study.
        unit: the unit.
        results: the results that it needs.
    """
    messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def job() -> Job:
        return _at(place, _context(context[0])), unit, results

    def send(kind: str, content: Any) -> None:
        messages.put((kind, content))

    threading.Thread(target=run_job, args=(job, level, send), daemon=True).start()
    kind = "log"
    while kind == "log":
        kind, content = messages.get()
        yield kind, content


@functools.lru_cache(maxsize=1)
def _context(reference: "ray.ObjectRef[StudyContext]") -> StudyContext:
    """The study; a process reads it once for all its units."""
    context: StudyContext = ray.get(reference)
    return context


def _at(place: Path, context: StudyContext) -> StudyContext:
    """The study, after changing to the working directory of its command.

    Raises:
        InputError: this machine cannot access the folder of the study.
    """
    work_in(place)
    if not context.folder.plan.is_file():
        raise InputError(
            f"{context.folder.path}: is not accessible on machine {socket.gethostname()} of the "
            f"cluster; give --out on storage that all its machines share, at the same path"
        )
    return context
