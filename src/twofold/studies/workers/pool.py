"""Runs the units of a study in order, on an executor.

`processes.py` has the executor of one machine, `twofold.cluster.study` the one of a Ray cluster.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
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
    total = len(waiting)
    if pool.size > 1:
        waiting = longest_chain_first(waiting)
    while waiting or running:
        unfinished = {*waiting, *running}
        ready = [unit for unit in waiting if unfinished.isdisjoint(unit.needs)]
        for unit in ready[: pool.size - len(running)]:
            pool.start(unit, {need: results[need] for need in unit.needs if need in results})
            waiting.remove(unit)
            _log.info("%s: begins, %d of %d", unit.name, total - len(waiting), total)
            running.add(unit)
        unit, results[unit] = pool.finished()
        running.remove(unit)
        yield unit, results[unit]


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
