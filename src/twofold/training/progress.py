"""Shows the progress of a training: a progress bar in a terminal, log lines elsewhere."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from twofold.records import TASKS
from twofold.training.config import SELECTION
from twofold.training.schedule import Schedule
from twofold.training.state import Progress

_log = logging.getLogger(__name__)

BETWEEN_VALIDATIONS = 10.0
"""The smallest number of seconds between two lines at validations."""
LONGEST_WAIT = 60.0
"""The number of seconds after which a line is logged without a validation."""
FIRST_STEPS = 20
"""The number of steps before the first line, which has their mean loss, since the loss of a single
batch is noisy."""

Advance = Callable[[Progress, float, int], None]
"""Called after each step with the progress, the step's loss and its number of examples."""


@contextlib.contextmanager
def show_progress(label: str, schedule: Schedule, progress: Progress) -> Iterator[Advance]:
    """Show the progress of a training, new or resumed."""
    if os.isatty(2):
        with _bar(label, schedule, progress) as advance:
            yield advance
        return
    lines = Lines(label, schedule, progress)
    yield lines.advance
    lines.end()


@contextlib.contextmanager
def _bar(label: str, schedule: Schedule, progress: Progress) -> Iterator[Advance]:
    """A progress bar with the last validation and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed}"),
        TextColumn("{task.fields[value]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, completed=progress.step, value="", left="")
        pace = _Pace(progress, time.monotonic)

        def advance(progress: Progress, _loss: float, _examples: int) -> None:
            bar.update(
                task,
                completed=progress.step,
                total=_last_step(schedule, progress),
                value=_validation(progress),
                left=_left(schedule, progress, pace.per_step(progress)),
            )

        yield advance


class _Pace:
    """The mean number of seconds per step since the training was started or resumed."""

    def __init__(self, progress: Progress, now: Callable[[], float]) -> None:
        self._done, self._start, self._now = progress.step, now(), now

    def per_step(self, progress: Progress) -> float:
        return (self._now() - self._start) / max(1, progress.step - self._done)


class Lines:
    """Log lines after the first steps, at validations, and after the last step.

    Args:
        label: the name of the training.
        schedule: its schedule.
        progress: the progress so far; a resumed training has taken steps before.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        label: str,
        schedule: Schedule,
        progress: Progress,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._schedule, self._now = label, schedule, now
        self._pace = _Pace(progress, now)
        self._done = self._said = progress.step
        self._last = now()
        self._loss, self._examples = 0.0, 0
        self._progress: Progress | None = None

    def advance(self, progress: Progress, loss: float, examples: int) -> None:
        """Count one step, and log a line if one is due."""
        self._progress = progress
        self._loss += loss
        self._examples += examples
        waited = self._now() - self._last
        validated = bool(progress.curve) and progress.curve[-1]["step"] == progress.step
        is_first = progress.step == self._done + FIRST_STEPS
        if is_first or waited >= (BETWEEN_VALIDATIONS if validated else LONGEST_WAIT):
            self._say(progress)

    def end(self) -> None:
        """Log the last line: why the training ended, and the share of validation in its time."""
        progress = self._progress
        if progress is None:
            return
        if progress.step > self._said:
            self._say(progress)
        if progress.ended_by:
            parts = [f"ended by {progress.ended_by} after {progress.step} steps"]
            parts += [f"best at step {progress.best_step}"] if _validation(progress) else []
            parts += _share(progress)
            _log.info("%s: %s", self._label, ", ".join(parts))

    def _say(self, progress: Progress) -> None:
        now, step = self._now(), progress.step
        seconds = max(now - self._last, 1e-9)
        of_steps = "" if self._said else f" (mean of steps 1 to {step})"
        parts = [f"step {step}", f"loss {self._loss / (step - self._said):.4f}{of_steps}"]
        parts += [_validation(progress)] if _validation(progress) else []
        parts += [f"{self._examples / seconds:.1f} examples a second"]
        parts += _share(progress)
        parts += [_left(self._schedule, progress, self._pace.per_step(progress))]
        _log.info("%s: %s", self._label, ", ".join(parts))
        self._last, self._said = now, step
        self._loss, self._examples = 0.0, 0


def _share(progress: Progress) -> list[str]:
    """The share of validation in the time; empty without validation requests."""
    if progress.curve and not _validation(progress):
        return []
    return [f"validation {progress.validation_share:.0%} of the time"]


def _last_step(schedule: Schedule, progress: Progress) -> int | None:
    """The step at which the training ends unless validation improves; None if not known yet."""
    ends = [schedule.cap] if schedule.cap else []
    if schedule.patience is not None and progress.best_step:
        ends.append(max(progress.step, schedule.patient_until(progress)))
    return min(ends, default=None)


def _left(schedule: Schedule, progress: Progress, per_step: float) -> str:
    """The time left, in words; only a cap gives an upper bound."""
    last = _last_step(schedule, progress)
    ends = [] if last is None else [per_step * (last - progress.step)]
    if schedule.max_seconds is not None:
        ends.append(max(0.0, schedule.max_seconds - progress.seconds))
    if not ends:
        return "time left unknown"
    if last is not None and last == schedule.cap and schedule.patience is None:
        return f"{in_words(min(ends))} left"
    if last is None or last == schedule.cap:
        return f"at most {in_words(min(ends))} left"
    return f"{in_words(min(ends))} left unless validation improves"


def _validation(progress: Progress) -> str:
    """The last validation, if there was one."""
    last = progress.curve[-1] if progress.curve else {}
    return validation_in_words(last["value"], last) if "value" in last else ""


def validation_in_words(value: float, tasks: Mapping[str, float]) -> str:
    """A validation for the log.

    The value of an arm with both tasks is a mean over tasks, each relative to a single-task arm
    where one is known, so the measure of each task says more.

    Args:
        value: the value by which checkpoints are compared.
        tasks: the measure of each task; other keys are ignored.
    """
    measured = [f"{tasks[task]:.4f} ({task})" for task in TASKS if task in tasks]
    values = ", ".join(measured) if len(measured) > 1 else f"{value:.4f}"
    return f"validation {SELECTION} {values}"


def in_words(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
