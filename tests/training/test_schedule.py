"""When an arm is validated, when it ends, and its learning rate."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from tests.training.examples import encoded_examples
from twofold.model.encoded import EncodedSource
from twofold.records import TASKS, InputError, Task
from twofold.training import schedule as schedule_module
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.config import TrainingConfig
from twofold.training.mixture import mixture_of
from twofold.training.schedule import (
    CANDIDATES,
    LEAST_PATIENCE,
    PATIENCE_EPOCHS,
    Costs,
    Schedule,
    is_on_grid,
    schedule_of,
)
from twofold.training.state import Progress

CONTROL = Arm("search-step-matched", ("search",), step_matched=True)
ENCODED: dict[Task, EncodedSource] = {
    "search": encoded_examples([4] * 80),
    "recommendation": encoded_examples([4] * 320),
}
"""With 16 tokens in a batch: 20 batches of search and 80 of recommendation."""


def _schedule(arm: Arm, steps: int | None = None, sample: float = 1, **settings: Any) -> Schedule:
    given = {"batch_tokens": 16, "max_batch_size": 0} | settings
    config = TrainingConfig.model_validate(given)
    mixture = mixture_of(ENCODED, arm.tasks, config, seed=0)
    return schedule_of(ENCODED, mixture, arm, config, Costs(1, sample, 4 * sample), steps)


def _curve(values: Mapping[int, float]) -> list[dict[str, float]]:
    return [{"step": step, "loss": 1.0, "value": value} for step, value in values.items()]


def _looks(schedule: Schedule, steps: int) -> list[int]:
    """The steps at which a training is validated."""
    progress = Progress()
    for progress.step in range(1, steps + 1):
        if schedule.is_validated(progress):
            progress.curve.append({"step": progress.step})
    return [int(point["step"]) for point in progress.curve]


def test_validations_grow_with_the_logarithm_of_the_steps_and_have_one_grid() -> None:
    schedules = [_schedule(NAMED_ARMS[arm]) for arm in (*TASKS, "joint")]
    looks = _looks(schedules[0], 10_000)
    assert all(_looks(schedule, 10_000) == looks for schedule in schedules)
    assert len(looks) < 50 < len(_looks(schedules[0], 100_000)) < 70
    late = [second / first for first, second in itertools.pairwise(looks) if first > 100]
    assert all(1.13 < ratio < 1.17 for ratio in late)


@pytest.mark.parametrize("sample", [0.3, 1, 5, 40])
def test_validation_never_costs_more_than_its_share(sample: float) -> None:
    schedule = _schedule(NAMED_ARMS["joint"], sample=sample)
    looks = _looks(schedule, 10_000)
    assert all((n + 1) * sample <= 0.0801 * step for n, step in enumerate(looks))
    assert set(looks) <= {step for step in range(10_001) if is_on_grid(step)}
    progress = Progress(step=looks[-1], curve=[{"step": step} for step in looks])
    for point in progress.curve[: schedule.candidates(progress)]:
        point["on_all"] = 0.1
    before = schedule.spent_share(progress)
    assert before < 0.12
    progress.curve[-1]["search_on_all"] = 0.1
    assert schedule.spent_share(progress) > before, "what is compared for a task alone counts, too"


def test_few_candidates_are_compared_on_all_requests_where_that_is_expensive() -> None:
    long, short = Progress(step=10_000), Progress(step=10)
    schedule = _schedule(NAMED_ARMS["joint"], sample=5)
    assert schedule.candidates(long) == CANDIDATES
    assert schedule.candidates(short) == 0


def test_patience_is_a_share_of_the_best_step() -> None:
    schedule = _schedule(NAMED_ARMS["search"], patience=0.5)
    progress = Progress(step=1599, curve=_curve({500: 0.1, 1000: 0.2, 1500: 0.2}))
    assert schedule.patient_until(progress) == 1500 + LEAST_PATIENCE
    assert schedule.end(progress) == ""
    progress.step = 1600
    assert schedule.end(progress) == "patience"


@pytest.mark.parametrize(
    ("batch_tokens", "waited"),
    [(100, LEAST_PATIENCE), (16, PATIENCE_EPOCHS * 80), (4, 500)],
)
def test_patience_waits_some_epochs_for_what_the_start_knew(
    batch_tokens: int, waited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_module, "MOST_LEAST_PATIENCE", 500)
    schedule = _schedule(NAMED_ARMS["recommendation"], batch_tokens=batch_tokens)
    early = Progress(step=8 + waited, curve=_curve({8: 0.3, 100: 0.1}))
    assert schedule.patient_until(early) == 12 + waited
    assert not schedule.end(early)


@pytest.mark.parametrize(
    ("settings", "step", "ended_by"),
    [
        ({"max_steps": 50}, 50, "max_steps"),
        ({"epochs": 0.5}, 50, "epochs"),
        ({"epochs": 0.5, "max_steps": 40}, 40, "max_steps"),
        ({"epochs": 0.5, "max_steps": 60}, 50, "epochs"),
    ],
)
def test_a_cap_ends_a_training(settings: dict[str, Any], step: int, ended_by: str) -> None:
    schedule = _schedule(NAMED_ARMS["joint"], **settings)
    assert schedule.cap == step
    assert schedule.end(Progress(step=step, curve=_curve({step: 0.1}))) == ended_by
    assert _looks(schedule, step)[-1] == step, "the last step is validated"


def test_patience_waits_for_the_task_that_is_learned_later() -> None:
    schedule = _schedule(NAMED_ARMS["joint"], patience=0.5, batch_tokens=100)
    curve = [
        {"step": 100, "search": 0.9, "recommendation": 0.1, "value": 0.5},
        {"step": 200, "search": 0.7, "recommendation": 0.2, "value": 0.45},
        {"step": 300, "search": 0.6, "recommendation": 0.1, "value": 0.35},
    ]
    assert schedule.patient_until(Progress(curve=curve)) == 300 + LEAST_PATIENCE


def test_time_is_a_cap() -> None:
    schedule = _schedule(NAMED_ARMS["joint"], max_time=2)
    assert not schedule.is_late(Progress(seconds=119.9))
    late = Progress(step=7, seconds=120.0)
    assert schedule.is_late(late)
    assert schedule.end(late) == "max_time"


def test_a_control_that_improves_takes_the_steps_that_it_is_given() -> None:
    schedule = _schedule(CONTROL, steps=700, max_steps=1000, patience=0.5)
    for step in range(1, 700):
        assert not schedule.end(Progress(step=step, curve=_curve({200: 0.1})))
    assert schedule.end(Progress(step=700)) == "steps"


def test_a_control_waits_four_times_as_long_as_the_plain_arm() -> None:
    plain = _schedule(NAMED_ARMS["search"], patience=0.5)
    control = _schedule(CONTROL, steps=10_000, patience=0.5)
    progress = Progress(curve=_curve({1000: 0.1, 1100: 0.05}))
    assert plain.patient_until(progress) == 1500 + LEAST_PATIENCE
    assert control.patient_until(progress) == 3000 + LEAST_PATIENCE
    progress.step = 3000 + LEAST_PATIENCE
    assert control.end(progress) == "patience"


@pytest.mark.parametrize(
    ("arm", "settings"),
    [(NAMED_ARMS["search"], {}), (CONTROL, {"lr_schedule": "cosine", "max_steps": 1000})],
)
def test_other_given_steps_and_those_of_a_cosine_are_all_taken(
    arm: Arm, settings: dict[str, Any]
) -> None:
    schedule = _schedule(arm, steps=700, **settings)
    assert not schedule.end(Progress(step=699, curve=_curve({1: 0.1})))
    assert schedule.end(Progress(step=700)) == "steps"


def test_without_validation_a_training_takes_ten_epochs() -> None:
    schedule = _schedule(NAMED_ARMS["search"], sample=0)
    blind = [{"step": 199, "loss": 1.0}]
    assert not schedule.end(Progress(step=199, curve=blind))
    assert schedule.end(Progress(step=200, curve=blind)) == "epochs"


def test_the_rate_rises_and_then_stays() -> None:
    schedule = _schedule(NAMED_ARMS["joint"], warmup_steps=10)
    rates = [schedule.factor(step) for step in range(1000)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert set(rates[10:]) == {1.0}


def test_a_cosine_falls_to_a_tenth_at_its_horizon() -> None:
    settings: dict[str, Any] = {"lr_schedule": "cosine", "max_steps": 100, "warmup_steps": 10}
    rates = [_schedule(NAMED_ARMS["joint"], **settings).factor(step) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("arm", "steps"),
    [(NAMED_ARMS["joint"], 1000), (NAMED_ARMS["search"], 200), (CONTROL, 1000)],
)
def test_with_a_cosine_an_arm_takes_its_share_of_joints_steps(arm: Arm, steps: int) -> None:
    schedule = _schedule(arm, lr_schedule="cosine", max_steps=1000)
    assert schedule.horizon == schedule.cap == steps


def test_a_cosine_needs_a_horizon() -> None:
    with pytest.raises(InputError, match="lr_schedule=cosine needs a number of steps: give"):
        _schedule(NAMED_ARMS["joint"], lr_schedule="cosine")
