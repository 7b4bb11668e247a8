"""How a training shows how far it is: a progress bar in a terminal, lines of the log elsewhere."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from twofold.training.state import Progress

_log = logging.getLogger(__name__)

BETWEEN_VALIDATIONS = 10.0
"""The fewest seconds between two lines, each at a validation."""
LONGEST_WAIT = 60.0
"""The seconds after which there is a line without a validation."""

Advance = Callable[[Progress, float, int], None]
"""Called after each step with the progress, the step's loss and its number of examples."""


@contextlib.contextmanager
def shown(label: str, steps: int, done: int) -> Iterator[Advance]:
    """Show the progress of a training of `steps` steps, of which `done` were taken before."""
    if os.isatty(2):
        with _bar(label, steps, done) as advance:
            yield advance
        return
    lines = Lines(label, steps, done)
    yield lines.advance
    lines.end()


@contextlib.contextmanager
def _bar(label: str, steps: int, done: int) -> Iterator[Advance]:
    """A progress bar with the time left and the last validation."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=steps, completed=done, value="")

        def advance(progress: Progress, _loss: float, _examples: int) -> None:
            bar.update(task, completed=progress.step, value=_validation(progress))

        yield advance


class Lines:
    """Lines of the log: the first step, validations, and the last step.

    Args:
        label: what trains.
        steps: the steps that it is allowed.
        done: the steps that were taken before, by a training that is resumed.
        now: the clock, in seconds.
    """

    def __init__(
        self, label: str, steps: int, done: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._label, self._steps, self._now = label, steps, now
        self._done = self._said = done
        self._start = self._last = now()
        self._loss, self._examples = 0.0, 0
        self._progress: Progress | None = None

    def advance(self, progress: Progress, loss: float, examples: int) -> None:
        """Count one step, and log a line where it is time for one."""
        self._progress = progress
        self._loss += loss
        self._examples += examples
        waited = self._now() - self._last
        validated = bool(progress.curve) and progress.curve[-1]["step"] == progress.step
        is_first, is_last = progress.step == self._done + 1, progress.step >= self._steps
        is_time = waited >= (BETWEEN_VALIDATIONS if validated else LONGEST_WAIT)
        if is_first or is_last or is_time:
            self._say(progress)

    def end(self) -> None:
        """Log the last line, where patience ended the training early."""
        if self._progress is not None and self._progress.step > self._said:
            self._say(self._progress)

    def _say(self, progress: Progress) -> None:
        now, step = self._now(), progress.step
        seconds = max(now - self._last, 1e-9)
        left = (now - self._start) / (step - self._done) * (self._steps - step)
        parts = [f"step {step} of {self._steps}", f"loss {self._loss / (step - self._said):.4f}"]
        parts += [_validation(progress)] if _validation(progress) else []
        parts += [f"{self._examples / seconds:.1f} examples a second", f"{_duration(left)} left"]
        _log.info("%s: %s", self._label, ", ".join(parts))
        self._last, self._said = now, step
        self._loss, self._examples = 0.0, 0


def _validation(progress: Progress) -> str:
    """The last validation, if there was one."""
    last = progress.curve[-1] if progress.curve else {}
    return f"validation {last['value']:.4f}" if "value" in last else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
