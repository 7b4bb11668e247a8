"""The units of a study: their order, and what each of them frees."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.studies.plans import study_plan
from twofold.studies.arms import ARMS
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.conditions import Condition
from twofold.studies.planning.questions import Text
from twofold.studies.workers import units
from twofold.studies.workers.units import Seed, StudyContext, pending_units, units_of
from twofold.tasks.prepared import PreparedDataset
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
    arms = ("search", "recommendation", "joint")
    assert named == [
        "baselines of seed 0",
        *(f"recipe of {arm} with item text" for arm in arms),
        "seed 0 with item text",
        *(f"recipe of {arm} from behaviour" for arm in arms),
        "seed 0 from behaviour",
        "seed 1 with item text",
        "seed 1 from behaviour",
    ]


@pytest.mark.parametrize(("folds", "times"), [("all", 2), ("none", 1)])
def test_a_seed_frees_what_no_other_one_reads(
    catalog: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folds: str,
    times: int,
) -> None:
    """Where all seeds learn from the same data, the next one starts from the same."""
    made: list[str] = []

    def train(dataset: PreparedDataset, *_: Any) -> None:
        for name in CACHE_KEYS:
            dataset.cached((name, "of an arm"), partial(made.append, name))

    monkeypatch.setattr(units, "run_arms", train)
    context = _context(replace(catalog), tmp_path, folds)
    for _ in range(2):
        Seed("with", 0, is_tuned=False).run(context, {})
    assert made == list(CACHE_KEYS) * times
