"""Units that do what a test wants, in this process, in a worker or on a cluster."""

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold.records import InputError
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.units import Unit


@dataclass(frozen=True)
class Part:
    """A unit that runs `act`, a function of a module, which workers import."""

    name: str
    act: Callable[["Part", StudyContext, Mapping[Unit, Any]], Any]
    needs: Sequence["Part"] = ()
    folder: str = ""
    seed: int = 0

    @property
    def kind(self) -> str:
        return self.name

    def is_done(self, context: StudyContext) -> bool:  # noqa: ARG002
        return self.name == "done"

    def run(self, context: StudyContext, found: Mapping[Unit, Any]) -> Any:
        return self.act(self, context, found)


def log(part: Part) -> None:
    """Log a line of the study, and one below its level."""
    logging.getLogger("twofold.made").info("%d %% of %s", 40, part.name)
    logging.getLogger("twofold.made").debug("unseen")


def meets(part: Part, _context: StudyContext, _found: Mapping[Unit, Any]) -> bool:
    """Wait until another unit is at work at the same time."""
    place = Path(part.folder)
    (place / part.name).touch()
    end = time.monotonic() + 120
    while len(list(place.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return len(list(place.iterdir())) == 2


def mistaken(_part: Part, _context: StudyContext, _found: Mapping[Unit, Any]) -> None:
    raise InputError("made.csv: 3 is no film; give another")


def dies(_part: Part, _context: StudyContext, _found: Mapping[Unit, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
