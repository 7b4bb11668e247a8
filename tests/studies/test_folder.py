"""The layout of a study's folder, and the plan that is kept in it."""

import re
from pathlib import Path

import pytest

import twofold
from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.studies.statistics.looks import looks_at, looks_end

PLAN = {"seeds": 2, "interventions": ["2x2"], "training": {"dropout": 0.1, "num_beams": 50}}


def test_every_folder_that_a_study_makes_is_where_the_layout_says(study_folder: Path) -> None:
    folder = StudyFolder(study_folder)
    assert folder.model("joint", 0).is_dir()
    assert folder.evaluations("joint") == [folder.evaluation("joint", 0)]
    assert folder.baseline("search", "BM25 text").is_dir()
    assert {task for task, _ in folder.baselines()} == {"search", "recommendation"}
    for path in (folder.plan, folder.result, folder.report, folder.per_request):
        assert path.is_file()


def test_no_other_module_names_a_path_inside_a_studys_folder() -> None:
    package = Path(twofold.__file__).parent
    path = re.compile(r"\"(models|evaluations|plan\.json)\"|seed-\{")
    naming = [file.name for file in package.rglob("*.py") if path.search(file.read_text())]
    assert naming == ["folder.py"]


def test_a_plan_may_grow_but_not_change(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.begin(PLAN, resume=False)
    folder.begin({**PLAN, "seeds": 3, "interventions": ["2x2", "caps"]}, resume=True)
    with pytest.raises(InputError, match="started with another interventions, seeds; repeat"):
        folder.begin(PLAN | {"interventions": []}, resume=True)
    other = {"dropout": 0.2, "num_beams": 50}
    with pytest.raises(
        InputError, match=r"another interventions, seeds, training \(dropout\); repeat its command"
    ):
        folder.begin(PLAN | {"training": other}, resume=True)


def test_a_plan_from_before_recipes_were_chosen_has_the_fixed_one(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    assert folder.begun_with() == {}
    folder.begin(PLAN, resume=False)
    assert folder.begun_with()["tune"] == 0
    assert folder.begun_with()["folds"] == "none", "and one split for all seeds"
    folder.begin({**PLAN, "tune": 0, "seeds": 3}, resume=True)
    with pytest.raises(InputError, match="started with another tune; repeat"):
        folder.begin({**PLAN, "tune": 4, "seeds": 3}, resume=True)


def test_a_plan_with_the_former_names_of_settings_is_the_same_plan(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.begin(PLAN | {"training": {"dropout": 0.1, "beams": 50}}, resume=False)
    folder.begin(PLAN, resume=True)
    with pytest.raises(InputError, match=r"another training \(num_beams\)"):
        folder.begin(PLAN | {"training": {"dropout": 0.1, "num_beams": 10}}, resume=True)


def test_a_plan_from_before_the_time_of_the_request_is_one_without_it(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.begin(PLAN, resume=False)
    now = {"dropout": 0.1, "num_beams": 50, "request_time": False}
    folder.begin(PLAN | {"training": now}, resume=True)
    with pytest.raises(InputError, match=r"another training \(request_time\)"):
        folder.begin(PLAN | {"training": now | {"request_time": True}}, resume=True)


def test_a_study_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.begin(PLAN | {"training": {"dropout": 0.1, "more": 50}}, resume=False)
    with pytest.raises(InputError) as caught:
        folder.begin(PLAN, resume=True)
    message = str(caught.value)
    assert "another version of twofold" in message
    assert "only one of the two knows the settings more, num_beams" in message
    assert "continue it with that version, or give another folder" in message
    assert "\n" not in message


def test_looks_are_the_numbers_of_seeds_that_were_concluded(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.looks() == []
    artifact.write_json(folder.result, {"stamp": {"seeds": 3}})
    assert folder.looks() == [3]
    artifact.write_json(folder.result, {"stamp": {"seeds": 5, "looks": [3, 5]}})
    assert folder.looks() == [3, 5]


def test_a_look_counts_though_the_study_was_killed_after_it(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.looks() == []
    folder.save_looks([3])
    assert folder.looks() == [3]
    end = looks_end(5, None, folder.looks(), None)
    planned = next(looks_at(5, None, folder.looks(), end)).planned
    assert planned == [3, 5, 8, 12], "not a single look"
    artifact.write_json(folder.result, {"stamp": {"seeds": 5, "looks": [3, 5]}})
    assert folder.looks() == [3, 5]
