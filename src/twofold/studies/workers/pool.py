"""Runs the units of a study in order, on an executor.

`processes.py` has the executor of one machine, `twofold.cluster.study` the one of a Ray cluster.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.units import (
    Unit,
    longest_chain_first,
    pending_units,
    run_unit,
)
from twofold.tasks.prepared import PreparedDataset
from twofold.training.progress import in_words

MEMORY = 1 << 30
"""The memory of a worker in bytes, in addition to the part that grows with the data."""
MEMORY_OF_DATA = 16
"""The memory of a worker that grows with the data, as a multiple of the tables' bytes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workload:
    """The units of a study that could run at once, and the given workers and threads.

    Attributes:
        workers: the number of workers; None for as many as threads and memory allow.
        threads: the threads of each worker; None for the default of the executor.
        units: the number of units that could run at once.
        dataset: the dataset, which every worker loads.
        device: `cpu` or `cuda`.
    """

    workers: int | None
    threads: int | None
    units: int
    dataset: PreparedDataset
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Resources:
    """The number of workers, each of which runs one unit at a time, and the threads of each."""

    workers: int
    threads: int


class Pool(Protocol):
    """The workers that run units.

    Attributes:
        size: the number of workers.
    """

    @property
    def size(self) -> int: ...

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        """Start a unit; at most `size` units run at once."""
        ...

    def finished(self) -> tuple[Unit, Any]:
        """Wait until a unit has finished; return the unit and its result.

        Raises:
            InputError: a unit failed.
        """
        ...


class Executor(Protocol):
    """Runs the units of a study on this machine, or on the machines of a cluster."""

    def allocate(self, work: Workload) -> Resources:
        """The given numbers, or the default: as many as the machines have threads and memory for.

        The threads of a unit never depend on the free memory, since results depend on threads.
        """
        ...

    def pool(self, context: StudyContext, resources: Resources) -> AbstractContextManager[Pool]:
        """A pool whose workers end with the block."""
        ...


def worker_memory(dataset: PreparedDataset) -> int:
    """The approximate memory of a worker, in bytes."""
    tables = (dataset.catalog.items, dataset.interactions, dataset.queries, dataset.qrels)
    return MEMORY + MEMORY_OF_DATA * sum(int(table.estimated_size()) for table in tables)


def run_units(
    targets: Iterable[Unit], context: StudyContext, pool: Pool, results: dict[Unit, Any]
) -> Iterator[tuple[Unit, Any]]:
    """Run units and those that they need; yield each unit with its result when it has finished.

    Args:
        targets: the units to run; finished ones are skipped.
        context: the study.
        pool: the workers.
        results: all results so far; new ones are added.
    """
    waiting, running = pending_units(targets, context, results), set[Unit]()
    total, pace = len(waiting), Pace(pool.size)
    if pool.size > 1:
        waiting = longest_chain_first(waiting)
    while waiting or running:
        unfinished = {*waiting, *running}
        ready = [unit for unit in waiting if unfinished.isdisjoint(unit.needs)]
        for unit in ready[: pool.size - len(running)]:
            pool.start(unit, {need: results[need] for need in unit.needs if need in results})
            waiting.remove(unit)
            pace.begin(unit)
            running.add(unit)
            place, left = f"{total - len(waiting)} of {total}", pace.left(waiting)
            _log.info("%s: begins, %s%s", unit.name, place, left and f", about {left} left")
        unit, results[unit] = pool.finished()
        pace.end(unit)
        running.remove(unit)
        yield unit, results[unit]


class Pace:
    """The time left, from that of the finished units of the same kinds.

    Args:
        workers: the number of units that run at once.
        now: the clock, in seconds.
    """

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._workers, self._now = workers, now
        self._began: dict[Unit, float] = {}
        self._took: dict[str, list[float]] = {}

    def begin(self, unit: Unit) -> None:
        """Count the time of a unit from now on."""
        self._began[unit] = self._now()

    def end(self, unit: Unit) -> None:
        """A unit has finished."""
        self._took.setdefault(unit.kind, []).append(self._now() - self._began.pop(unit))

    def left(self, waiting: Iterable[Unit]) -> str:
        """The time until all units have finished, in words; empty if no unit of some kind has
        finished yet, as in the first seed.

        Args:
            waiting: the units that have not begun.
        """
        waiting = list(waiting)
        if any(unit.kind not in self._took for unit in (*waiting, *self._began)):
            return ""
        now = self._now()
        means = {kind: sum(times) / len(times) for kind, times in self._took.items()}
        left = sum(means[unit.kind] for unit in waiting)
        left += sum(max(0.0, means[unit.kind] - now + at) for unit, at in self._began.items())
        return in_words(left / self._workers)


class SerialPool:
    """Runs one unit after another in this process.

    Args:
        context: the study.
    """

    size = 1

    def __init__(self, context: StudyContext) -> None:
        self._context = context
        self._started: tuple[Unit, Mapping[Unit, Any]] | None = None

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        self._started = unit, results

    def finished(self) -> tuple[Unit, Any]:
        assert self._started is not None, "a unit was started"
        unit, results = self._started
        return unit, run_unit(unit, self._context, results)
