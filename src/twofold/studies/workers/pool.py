"""Runs the units of a study in order, on an executor.

`processes.py` has the executor of one machine, `twofold.cluster.study` that of a Ray cluster.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from twofold.studies.workers.units import StudyContext, Unit, pending_units, run_unit
from twofold.tasks.prepared import PreparedDataset

MEMORY = 1 << 30
"""The bytes that a worker takes, in addition to those that grow with the data."""
MEMORY_OF_DATA = 16
"""A worker takes so many times the bytes of the dataset's tables."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """The number of workers, each of which runs one unit at a time, and of threads of each."""

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
        """Start a unit; never more than `size` at once."""
        ...

    def finished(self) -> tuple[Unit, Any]:
        """Wait for a unit to finish; return it, and its result.

        Raises:
            InputError: a unit failed.
        """
        ...


class Executor(Protocol):
    """What runs a study: this machine, or the machines of a cluster."""

    def allocate(
        self,
        workers: int | None,
        threads: int | None,
        units: int,
        dataset: PreparedDataset,
        device: str,
    ) -> Resources:
        """The given numbers, or the default: as many as the machines have room for.

        The threads of a unit never depend on the memory that happens to be free, since bits do.

        Args:
            workers: None for as many as there are threads and memory for.
            threads: of each worker; None for the default of the executor.
            units: how many could run at once.
            dataset: what every worker holds.
            device: `cpu` or `cuda`.
        """
        ...

    def pool(self, context: StudyContext, resources: Resources) -> AbstractContextManager[Pool]:
        """A pool whose workers end with the block."""
        ...


def worker_memory(dataset: PreparedDataset) -> int:
    """The bytes that a worker takes, about."""
    tables = (dataset.catalog.items, dataset.interactions, dataset.queries, dataset.qrels)
    return MEMORY + MEMORY_OF_DATA * sum(int(table.estimated_size()) for table in tables)


def run_units(
    targets: Iterable[Unit], context: StudyContext, pool: Pool, results: dict[Unit, Any]
) -> Iterator[tuple[Unit, Any]]:
    """Run units, and those that they need; yield each one with its result when it has finished.

    Args:
        targets: the units to run; one that is done already is left out.
        context: the study.
        pool: the workers.
        results: all results so far; new ones are added.
    """
    waiting, running = pending_units(targets, context, results), 0
    while waiting or running:
        ready = [unit for unit in waiting if all(need in results for need in unit.needs)]
        for unit in ready[: pool.size - running]:
            _log.info("%s: begins", unit.name)
            pool.start(unit, {need: results[need] for need in unit.needs})
            waiting.remove(unit)
            running += 1
        unit, results[unit] = pool.finished()
        running -= 1
        yield unit, results[unit]


class SerialPool:
    """Runs one unit after the other, in this process.

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
