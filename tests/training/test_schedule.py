"""The steps of each arm, the cadence of its validations, and the learning rate."""

import dataclasses
from pathlib import Path

import pytest

from tests.training.examples import encoded_examples
from twofold.model.vocabulary import EncodedExample
from twofold.records import TASKS, Task
from twofold.retrieval.generative import load_model
from twofold.studies.arms import ARMS
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.config import TrainingConfig
from twofold.training.schedule import learning_rate_factor, schedule_of
from twofold.training.train import train


def test_a_plain_arm_takes_joints_epochs_and_a_control_its_steps(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path, tmp_path: Path
) -> None:
    joint = load_model(model_folder).model.stamp
    budgets, cadences = {}, {joint.curve[0]["step"]}
    for arm in ARMS:
        if arm.name == "joint":
            continue
        config = quick_config.model_copy(update={"patience": 9.0})
        out = tmp_path / arm.name
        stamp = train(catalog, arm, out=out, config=config, device="cpu").model.stamp
        budgets[arm.name] = stamp.max_steps
        if not arm.step_matched:
            assert stamp.epochs == pytest.approx(joint.epochs, rel=0.1)
        cadences.add(stamp.curve[0]["step"])
    assert budgets["search-step-matched"] == joint.max_steps == 40
    assert len(cadences) == 1
    assert min(budgets.values()) >= 10 * cadences.pop(), "every arm is validated ten times"
    assert budgets["search"] + budgets["recommendation"] == pytest.approx(40, abs=1)


def test_epochs_take_the_place_of_steps(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"epochs": 2.0, "patience": 9.0})
    stamp = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.epochs == pytest.approx(2.0)
    assert stamp.max_steps == stamp.steps != quick_config.max_steps


def test_the_learning_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [learning_rate_factor(n, 100, 0.1) for n in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


ENCODED: dict[Task, list[EncodedExample]] = {
    "search": encoded_examples([4] * 80),
    "recommendation": encoded_examples([4] * 320),
}
"""With 16 tokens in a batch: 20 batches of search and 80 of recommendation."""


def _config(**settings: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"batch_tokens": 16, "max_batch_size": 0} | settings)


@pytest.mark.parametrize(
    ("arm", "steps"),
    [
        (NAMED_ARMS["joint"], 1000),
        (NAMED_ARMS["search"], 200),
        (NAMED_ARMS["recommendation"], 800),
        (Arm("search-step-matched", ("search",), step_matched=True), 1000),
    ],
)
def test_arms_take_joints_epochs_or_its_steps(arm: Arm, steps: int) -> None:
    schedule = schedule_of(ENCODED, arm, _config(max_steps=1000), seed=0)
    assert (schedule.steps, schedule.cadence, schedule.patience) == (steps, 20, 300)


def test_the_cadence_is_common_and_the_longest_arm_is_validated_seventy_times_at_most() -> None:
    few: dict[Task, list[EncodedExample]] = {**ENCODED, "search": encoded_examples([4] * 4)}
    config = _config(max_steps=8100)
    schedules = {t: schedule_of(few, NAMED_ARMS[t], config, seed=0) for t in (*TASKS, "joint")}
    assert schedules["joint"].cadence == 8100 // 70 == schedules["recommendation"].cadence
    assert schedules["search"].steps == 100
    assert schedules["search"].cadence == 10, "ten validations for the shortest as well"


def test_an_arm_with_settings_of_its_own_is_validated_as_the_configuration_says() -> None:
    arm = dataclasses.replace(NAMED_ARMS["joint"], settings=(("num_beams", 20),))
    config = _config(max_steps=1000, min_validations=4)
    assert schedule_of(ENCODED, arm, config, seed=0).cadence == 100
