"""What a training says while it runs, where there is no terminal."""

import logging

import pytest

from twofold.training.progress import Lines
from twofold.training.state import Progress


class Clock:
    """A clock that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _said(
    caplog: pytest.LogCaptureFixture, steps: int, ends: int, cadence: int, per_step: float
) -> list[str]:
    """The lines of a training that takes `ends` of `steps` steps."""
    clock = Clock()
    lines, progress = Lines("joint", steps, 0, clock), Progress()
    with caplog.at_level(logging.INFO, "twofold"):
        for _ in range(ends):
            clock.seconds += per_step
            progress.step += 1
            if progress.step % cadence == 0:
                progress.curve.append({"step": progress.step, "loss": 2.0, "value": 0.25})
            lines.advance(progress, 2.0, 8)
        lines.end()
    return caplog.messages


def test_there_is_a_line_at_the_first_and_the_last_step(caplog: pytest.LogCaptureFixture) -> None:
    first, last = _said(caplog, steps=40, ends=40, cadence=10, per_step=0.01)
    assert first == "joint: step 1 of 40, loss 2.0000, 800.0 examples a second, 0 s left"
    assert last == (
        "joint: step 40 of 40, loss 2.0000, validation 0.2500, 800.0 examples a second, 0 s left"
    )


def test_a_line_at_each_validation_but_not_too_often(caplog: pytest.LogCaptureFixture) -> None:
    said = _said(caplog, steps=100, ends=100, cadence=5, per_step=1.0)
    steps = [int(line.split()[2]) for line in said]
    assert steps == [1, 15, 25, 35, 45, 55, 65, 75, 85, 95, 100]
    assert said[1].endswith("validation 0.2500, 8.0 examples a second, 85 s left")


def test_validations_that_are_far_between_do_not_leave_it_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = _said(caplog, steps=400, ends=200, cadence=1000, per_step=1.0)
    assert [int(line.split()[2]) for line in said] == [1, 61, 121, 181, 200]
    assert said[1].endswith("examples a second, 6 min left")
