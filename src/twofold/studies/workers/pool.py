"""In which order the units of a study are done, and what machines must offer to do them.

`processes.py` has the machine that the study runs on; `twofold.cluster` has those of a Ray cluster.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from twofold.studies.workers.units import Unit, Work, outstanding, perform
from twofold.tasks.prepared import PreparedDataset

MEMORY = 1 << 30
"""The bytes that a worker takes, in addition to those that grow with the data."""
MEMORY_OF_DATA = 16
"""A worker takes so many times the bytes of the dataset's tables."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Crew:
    """How many units are done at once, and with how many threads each."""

    workers: int
    threads: int


class Pool(Protocol):
    """Where units are done.

    Attributes:
        size: how many at once.
    """

    @property
    def size(self) -> int: ...

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        """Begin a unit; never more than `size` at once."""
        ...

    def finished(self) -> tuple[Unit, Any]:
        """Wait for a unit; return it, and its result.

        Raises:
            InputError: a unit could not be done.
        """
        ...


class Machines(Protocol):
    """What a study may run on."""

    def crew(
        self,
        workers: int | None,
        threads: int | None,
        units: int,
        dataset: PreparedDataset,
        device: str,
    ) -> Crew:
        """The numbers that were asked for, or such that the machines are in use.

        The threads of a unit never depend on the memory that happens to be free, since bits do.

        Args:
            workers: None for as many as there are threads and memory for.
            threads: of each; None for the default of these machines.
            units: how many could be done at once.
            dataset: what every worker holds.
            device: `cpu` or `cuda`.
        """
        ...

    def pool(self, work: Work, crew: Crew) -> AbstractContextManager[Pool]:
        """A pool whose workers end with the block."""
        ...


def memory_of_worker(dataset: PreparedDataset) -> int:
    """The bytes that a worker takes, about."""
    tables = (dataset.catalog.items, dataset.interactions, dataset.queries, dataset.qrels)
    return MEMORY + MEMORY_OF_DATA * sum(int(table.estimated_size()) for table in tables)


def done(
    targets: Iterable[Unit], work: Work, pool: Pool, results: dict[Unit, Any]
) -> Iterator[tuple[Unit, Any]]:
    """Do units, and those that they need, and yield each with its result as it is finished.

    Args:
        targets: what is wanted; a unit that is done already is left out.
        work: the study.
        pool: where units are done.
        results: all results so far; new ones are added.
    """
    waiting, running = outstanding(targets, work, results), 0
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


class ThisProcess:
    """One unit after the other, in this process.

    Args:
        work: the study.
    """

    size = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._begun: tuple[Unit, Mapping[Unit, Any]] | None = None

    def start(self, unit: Unit, results: Mapping[Unit, Any]) -> None:
        self._begun = unit, results

    def finished(self) -> tuple[Unit, Any]:
        assert self._begun is not None, "a unit is begun"
        unit, results = self._begun
        return unit, perform(unit, self._work, results)
