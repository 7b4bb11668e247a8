"""The chapter on recipes: what joint's trials reach in both tasks."""

from typing import Any

import numpy as np
import pytest

from twofold.studies import plots
from twofold.studies.analyses.tuning import ArmTuning, RecipeTrial, Tuning, frontier
from twofold.studies.result import StudyResult

FEW = {"search": 0.25, "recommendation": 0.75}


def arm(*trials: tuple[dict[str, Any], dict[str, float]]) -> ArmTuning:
    made = [
        RecipeTrial(recipe=n, rung=1, settings=settings, steps=20, value=1.0 - n / 9, tasks=tasks)
        for n, (settings, tasks) in enumerate(trials)
    ]
    return ArmTuning(
        recipes=len(made), chosen={}, measure="nDCG@10", seed=1000, steps=20, trials=made
    )


def tuned(second: dict[str, Any]) -> Tuning:
    joint = arm(
        ({}, {"search": 0.3, "recommendation": 0.2}),
        (second, {"search": 0.4, "recommendation": 0.1}),
    )
    return Tuning(
        arms={"search": arm(({}, {"search": 0.35})), "joint": joint}, steps=40, steps_of_seeds=9
    )


def test_the_frontier_shows_what_each_weight_reaches_in_both_tasks(result: StudyResult) -> None:
    tuning = tuned({"source_weights": FEW})
    assert [trial.weights for trial in tuning.frontiers["joint"]] == ["proportional", "25 : 75"]
    (axis,) = frontier(tuning, result).axes
    points = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axis.lines}
    assert points["proportional"] == [[0.3, 0.2]]
    assert points["25 : 75"] == [[0.4, 0.1]]
    dashed = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [np.asarray(line.get_xdata()).tolist() for line in dashed] == [[0.35, 0.35]], (
        "search alone"
    )


@pytest.mark.parametrize("second", [{}, {"dropout": 0.3}])
def test_without_other_weights_there_is_none(result: StudyResult, second: dict[str, Any]) -> None:
    tuning = tuned(second)
    assert tuning.frontiers == {}
    assert plots.svg(lambda: frontier(tuning, result)), "an empty figure"


def test_a_study_measures_both_tasks_in_every_trial_of_joint(result: StudyResult) -> None:
    for name, own in result.of("tuning").arms.items():
        for trial in own.trials:
            assert set(trial.tasks) == (
                {"search", "recommendation"} if name.startswith("joint") else {name.split("-")[0]}
            )
