"""What plan.json keeps, and which plans may continue the study that is there."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.studies.plans import PLAN, study_plan
from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.plan_file import begin
from twofold.studies.simulation import SimulationPlan


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


def _saved(folder: StudyFolder, content: dict[str, Any]) -> None:
    folder.path.mkdir()
    folder.plan.write_text(json.dumps(content))


def test_the_file_has_a_key_for_each_field_and_is_read_as_it_was(folder: StudyFolder) -> None:
    assert StudyPlan.read(folder.plan) is None
    begin(folder, study_plan(interventions=("2x2",)), resume=False)
    assert folder.plan.read_text() == json.dumps(PLAN, indent=2, sort_keys=True)
    assert StudyPlan.read(folder.plan) == study_plan()


def test_a_plan_may_grow_but_not_change(folder: StudyFolder) -> None:
    begin(folder, study_plan(), resume=False)
    grown = {"seeds": 3, "interventions": ["2x2", "caps"], "semantic_ids": True}
    begin(folder, study_plan(**grown), resume=True)
    fewer = {**grown, "seeds": 2, "interventions": []}
    was = r"started with interventions=\['2x2', 'caps'\] \(now \[\]\), seeds=3 \(now 2\)"
    with pytest.raises(InputError, match=rf"{was}; repeat its command"):
        begin(folder, study_plan(**fewer), resume=True)
    with pytest.raises(InputError, match=r"semantic_ids=True \(now False\); repeat"):
        begin(folder, study_plan(**grown | {"semantic_ids": False}), resume=True)
    other = PLAN["training"] | {"dropout": 0.2}
    with pytest.raises(InputError, match=rf"{was}, dropout=\S+ \(now 0.2\); repeat its command"):
        begin(folder, study_plan(**fewer, training=other), resume=True)
    assert StudyPlan.read(folder.plan) == study_plan(**grown), "what was refused is not saved"


def test_the_end_of_the_looks_may_change(folder: StudyFolder) -> None:
    begin(folder, study_plan(), resume=False)
    begin(folder, study_plan(seeds=5, looks_end=12), resume=True)
    assert StudyPlan.read(folder.plan) == study_plan(seeds=5, looks_end=12)


@pytest.mark.parametrize("key", ["question", "device", "training", "folds"])
def test_a_plan_without_another_key_is_refused_with_what_to_do(
    folder: StudyFolder, key: str
) -> None:
    _saved(folder, {name: value for name, value in PLAN.items() if name != key})
    with pytest.raises(
        InputError, match=rf"older .* \(plan.json lacks {key}\); continue it"
    ) as caught:
        begin(folder, study_plan(), resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"), [("{", "not readable as JSON"), ("[]", "is not a JSON object")]
)
def test_a_corrupt_plan_is_refused_with_what_to_do(
    folder: StudyFolder, content: str, says: str
) -> None:
    _saved(folder, PLAN)
    folder.plan.write_text(content)
    with pytest.raises(InputError, match=rf"plan\.json: {says}.*; restore it, or give another"):
        begin(folder, study_plan(), resume=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seeds", None, "seeds: .* a valid integer, not null"),
        ("seeds", "two", 'seeds: .* a valid integer.*, not "two"'),
        ("interventions", 5, "interventions: .*, not 5"),
        ("training", [], r"training: .*, not \[\]"),
        ("question", "why", 'question: .*, not "why"'),
    ],
)
def test_a_value_of_another_type_is_refused(
    key: str, value: object, message: str, folder: StudyFolder
) -> None:
    _saved(folder, {**PLAN, key: value})
    with pytest.raises(InputError, match=rf"plan\.json: {message}; restore it, or give another"):
        StudyPlan.read(folder.plan)


def test_a_simulation_is_no_study(folder: StudyFolder) -> None:
    plan = SimulationPlan(
        source="simulate:popularity",
        parameter="kl",
        levels=(0.0, 1.0),
        seeds=2,
        threads=1,
        training=PLAN["training"],
    )
    begin(folder, plan, resume=False)
    assert artifact.read_json(folder.plan)["levels"] == [0.0, 1.0]
    begin(folder, plan, resume=True)
    with pytest.raises(InputError, match=r"was begun by another command, .* lacks baselines, "):
        begin(folder, study_plan(), resume=True)


def test_a_study_of_another_version_is_refused_with_what_to_do(folder: StudyFolder) -> None:
    _saved(folder, {**PLAN, "training": {"dropout": 0.1, "more": 50}})
    with pytest.raises(InputError) as caught:
        begin(folder, study_plan(), resume=True)
    message = str(caught.value)
    assert "another version of twofold" in message
    assert "only one of the two knows the settings more, num_beams" in message
    assert "continue it with that version, or give another folder" in message
    assert "\n" not in message
