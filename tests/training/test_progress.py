"""What a training says while it runs, where there is no terminal."""

import logging
from collections.abc import Mapping

import pytest

from twofold.training.progress import Lines
from twofold.training.schedule import Costs, Schedule
from twofold.training.state import Progress

VALUES = {"search": 0.5, "recommendation": 0.1, "value": 0.9}


class Clock:
    """A clock that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _schedule(cap: int | None = None, **settings: float | None) -> Schedule:
    patience = settings.get("patience", 0.5)
    return Schedule(Costs(1, 1, 1), 0, 0.1, patience, cap, max_seconds=settings.get("max_seconds"))


def _said(
    caplog: pytest.LogCaptureFixture,
    schedule: Schedule,
    ends: int,
    cadence: int,
    per_step: float,
    values: Mapping[str, float] = VALUES,
) -> list[str]:
    """The lines of a training of `ends` steps, of which the first validation is the best."""
    clock, progress = Clock(), Progress()
    lines = Lines("joint", schedule, progress, clock)
    with caplog.at_level(logging.INFO, "twofold"):
        for _ in range(ends):
            clock.seconds += per_step
            progress.seconds, progress.validation_seconds = clock.seconds, clock.seconds / 10
            progress.step += 1
            if progress.step % cadence == 0:
                progress.curve.append({"step": progress.step, "loss": 2.0, **values})
                progress.best_step = cadence
            lines.advance(progress, 2.0, 8)
        progress.ended_by = "max_steps"
        lines.end()
    return caplog.messages


def test_the_first_line_is_of_several_steps_and_the_last_says_what_ended_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, last, end = _said(caplog, _schedule(40), ends=40, cadence=10, per_step=0.01)
    measured = (
        "validation nDCG@10 0.5000 (search), 0.1000 (recommendation), 800.0 examples a second"
    )
    assert first == (
        f"joint: step 20, loss 2.0000 (mean of steps 1 to 20), {measured}, "
        f"validation 10% of the time, at most 0 s left"
    )
    assert last.startswith(f"joint: step 40, loss 2.0000, {measured}")
    assert end == (
        "joint: ended by max_steps after 40 steps, best at step 10, validation 10% of the time"
    )


def test_the_measure_of_a_single_task_needs_no_name(caplog: pytest.LogCaptureFixture) -> None:
    values = {"search": 0.5, "value": 0.5}
    first = _said(caplog, _schedule(40), ends=40, cadence=10, per_step=0.01, values=values)[0]
    assert ", validation nDCG@10 0.5000, 800.0 examples" in first


def test_a_line_at_each_validation_but_not_too_often(caplog: pytest.LogCaptureFixture) -> None:
    said = _said(caplog, _schedule(100, patience=None), ends=100, cadence=5, per_step=1.0)
    steps = [int(line.split()[2].strip(",")) for line in said[:-1]]
    assert steps == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert said[1].endswith("validation 10% of the time, 80 s left")


def test_validations_that_are_far_between_do_not_leave_it_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = _said(caplog, _schedule(), ends=200, cadence=1000, per_step=1.0)
    assert [int(line.split()[2].strip(",")) for line in said[:-1]] == [20, 80, 140, 200]
    assert said[0].endswith("time left unknown")


@pytest.mark.parametrize(
    ("schedule", "left"),
    [
        (_schedule(), "85 s left unless validation improves"),
        (_schedule(50), "at most 20 s left"),
        (_schedule(1000), "85 s left unless validation improves"),
        (_schedule(50, patience=None), "20 s left"),
        (_schedule(patience=None, max_seconds=90), "at most 60 s left"),
        (_schedule(max_seconds=90), "60 s left unless validation improves"),
    ],
)
def test_time_left_is_said_as_far_as_it_is_known(
    caplog: pytest.LogCaptureFixture, schedule: Schedule, left: str
) -> None:
    """At step 30, with the best validation at step 10: patience ends at 15 + 100 steps."""
    said = _said(caplog, schedule, ends=30, cadence=10, per_step=1.0)
    assert said[-2].endswith(f"validation 10% of the time, {left}")


def test_a_training_that_validates_nothing_says_nothing_of_validation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    progress = Progress()
    lines = Lines("joint", _schedule(cap=30), progress, Clock())
    progress.step, progress.best_step = 30, 30
    progress.curve.append({"step": 30, "loss": 2.0})
    with caplog.at_level(logging.INFO, "twofold"):
        lines.advance(progress, 2.0, 8)
        progress.ended_by = "max_steps"
        lines.end()
    assert caplog.messages[-1] == "joint: ended by max_steps after 30 steps"
    assert "validation" not in caplog.text
