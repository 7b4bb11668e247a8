"""The units of a study: their order, and what each of them frees."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.studies.plans import study_plan
from twofold.records import TASKS
from twofold.studies.arms import ARMS, control_name
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.conditions import Condition
from twofold.studies.planning.questions import Text
from twofold.studies.trainings.recipes import RecipeChoice
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.pool import Pace, SerialPool, run_units
from twofold.studies.workers.units import (
    Baselines,
    TrainedArm,
    Unit,
    longest_chain_first,
    pending_units,
    trained_arms,
    units_of,
)
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig
from twofold.training.start import CACHE_KEYS


def _context(dataset: PreparedDataset, place: Path, folds: str) -> StudyContext:
    folder = StudyFolder(place)
    conditions: dict[Text, Condition] = {
        text: Condition(ARMS, replace(folder, trained_as=f"-{text}"), None, TrainingConfig())
        for text in get_args(Text)
    }
    return StudyContext(dataset, conditions, folder, "cpu", study_plan(folds=folds))


def test_the_models_of_a_condition_are_done_before_those_of_the_next(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    """So a worker never holds the encoders of both at once."""
    context = _context(catalog, tmp_path, "none")
    named = [unit.name for unit in pending_units(units_of(context, 2), context, {})]
    assert named == [
        "baselines of seed 0",
        *_first_seed("with item text"),
        *_first_seed("from behaviour"),
        *(f"seed 1 with item text, {arm}" for arm in TRAINED),
        *(f"seed 1 from behaviour, {arm}" for arm in TRAINED),
    ]


TRAINED = (*TASKS, "joint", *map(control_name, TASKS))
"""The arms in the order in which one seed trains them."""


def _first_seed(condition: str) -> list[str]:
    """Each arm after its recipe."""
    tuned = [(f"recipe of {arm} {condition}", f"seed 0 {condition}, {arm}") for arm in TRAINED[:3]]
    return [
        *(name for both in tuned for name in both),
        *(f"seed 0 {condition}, {arm}" for arm in TRAINED[3:]),
    ]


def test_several_workers_start_what_most_others_wait_for(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    """After the first seed. The controls, which no other unit needs, are last."""
    context = _context(catalog, tmp_path, "none")
    pending = pending_units(units_of(context, 3), context, {})
    ordered = longest_chain_first(pending)
    assert sorted(ordered, key=pending.index) == pending
    place = {unit: number for number, unit in enumerate(ordered)}
    assert all(place[need] < place[unit] for unit in ordered for need in unit.needs)
    named = [unit.name for unit in ordered]
    first = [unit for unit in ordered if unit.seed == 0]
    assert ordered[: len(first)] == first, "since it tells what the others will cost"
    others = [unit.kind.split()[0] for unit in ordered[len(first) :]]
    assert set(others[:8]) == set(TASKS), "of both seeds and conditions, before any joint"
    assert others[8:12] == ["joint"] * 4
    assert set(named[:4]) == {
        f"recipe of {task} {condition}"
        for task in TASKS
        for condition in ("with item text", "from behaviour")
    }
    assert all("step-matched" in name for name in named[-8:])


def test_an_arm_that_is_finished_is_neither_repeated_nor_waited_for(
    catalog: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between the arms of a seed."""
    context = _context(catalog, tmp_path, "none")
    finished = {*TASKS}
    monkeypatch.setattr(SeedOutputs, "is_done", lambda _outputs, arm: arm.name in finished)
    made: list[str] = []
    monkeypatch.setattr(SeedTrainings, "run", lambda _trainings, arm: made.append(arm.name))
    monkeypatch.setattr(RecipeChoice, "choose", lambda _choice, name, _tuned: name)
    results = dict[Unit, Any]()
    list(run_units(trained_arms(context, "with", 0), context, SerialPool(context), results))
    assert made == list(TRAINED[2:])


def test_the_time_left_is_that_of_the_same_arms_of_other_seeds() -> None:
    now = [0.0]
    pace = Pace(2, lambda: now[0])
    joint, search = (
        [TrainedArm("with", seed, arm) for seed in range(3)] for arm in ("joint", "search")
    )
    for unit, seconds in ((joint[0], 300.0), (search[0], 60.0)):
        assert pace.left([]) == "0 s", "nothing runs or waits"
        pace.begin(unit)
        assert pace.left([]) == "", "no arm of this name has finished"
        now[0] += seconds
        pace.end(unit)
    pace.begin(joint[1])
    assert pace.left([search[1], joint[2], search[2]]) == "6 min", "(300 + 300 + 2 * 60) / 2 s"
    now[0] += 200
    assert pace.left([search[2]]) == "80 s", "100 of this arm and 60 of the other, by two workers"
    assert pace.left([search[2], Baselines(1)]) == ""
    assert pace.left([TrainedArm("without", 1, "search")]) == "", "may take another time"


@pytest.mark.parametrize(("folds", "times"), [("all", 2), ("none", 1)])
def test_the_models_of_a_seed_share_what_no_other_one_reads(
    catalog: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folds: str,
    times: int,
) -> None:
    """Where all seeds learn from the same data, the next one starts from the same."""
    made: list[str] = []

    def train(trainings: SeedTrainings, _arm: Arm) -> None:
        for name in CACHE_KEYS:
            trainings.dataset.cached((name, "of an arm"), partial(made.append, name))

    monkeypatch.setattr(SeedTrainings, "run", train)
    context = _context(replace(catalog), tmp_path, folds)
    for text in get_args(Text):
        for unit in trained_arms(context, text, 0):
            unit.run(context, dict.fromkeys(unit.needs))
    assert made == list(CACHE_KEYS) * times
