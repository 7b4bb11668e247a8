"""The layout of a study's folder, and the looks that are kept in it."""

import re
from pathlib import Path

import pytest

import twofold
from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.studies.statistics.looks import looks_at, looks_end


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


@pytest.mark.parametrize(
    "content", ["", "[3", "5", "{}", '["3"]', "[null]", "[2.5]", "[true]", "[0]"]
)
def test_damaged_looks_are_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.looks_file.write_text(content)
    with pytest.raises(InputError, match=r"looks\.json: .*; restore it, or give another folder"):
        folder.looks()
    if content.startswith("[") and content.endswith("]"):
        folder.looks_file.unlink()
        folder.result.write_text(f'{{"stamp": {{"seeds": 3, "looks": {content}}}}}')
        with pytest.raises(InputError, match=r"study\.json: .*; remove it, and repeat"):
            folder.looks()


@pytest.mark.parametrize("stamp", ["5", "{}", '{"seeds": "3"}', "null"])
def test_a_result_without_seeds_is_refused_with_what_to_do(tmp_path: Path, stamp: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.result.write_text(f'{{"stamp": {stamp}}}')
    with pytest.raises(InputError, match=r"study\.json: .*; remove it, and repeat"):
        folder.looks()


@pytest.mark.parametrize(
    ("content", "says"), [("{", "not readable as JSON"), ("{}", "no stamp"), ("[]", "no stamp")]
)
def test_a_corrupt_result_is_refused_with_what_to_do(
    tmp_path: Path, content: str, says: str
) -> None:
    folder = StudyFolder(tmp_path)
    folder.result.write_text(content)
    with pytest.raises(InputError, match=rf"study\.json: .*{says}.*; remove it, and repeat"):
        folder.looks()
