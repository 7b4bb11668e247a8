"""study.json: its schema, and reading it again."""

import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.studies.conftest import published_schema
from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import KIND, StudyFolder
from twofold.studies.result import StudyResult, load_result, result_schema


def test_a_result_fits_the_schema_next_to_it(study_folder: Path, content: dict[str, Any]) -> None:
    schema = artifact.read_json(StudyFolder(study_folder).schema)
    assert schema == result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "verdicts": {"search": {"verdict": "maybe"}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "more": 1}, schema)


def test_keys_are_those_of_the_schema_that_was_first_published(content: dict[str, Any]) -> None:
    jsonschema.validate(content, published_schema())
    new, old = result_schema(), published_schema()
    assert set(new["properties"]) >= set(old["properties"])
    assert set(new["required"]) >= set(old["required"])


def test_a_result_that_was_read_writes_the_same(
    result: StudyResult, content: dict[str, Any]
) -> None:
    assert result.to_json() == content


def _changed(study_folder: Path, out: Path, **changes: Any) -> Path:
    """A copy of a study with other content; a key given as None is left out."""
    shutil.copytree(study_folder, out, ignore=shutil.ignore_patterns("models", "evaluations"))
    path = StudyFolder(out).result
    content = {**artifact.read_json(path), **changes}
    (out / artifact.MANIFEST).unlink()
    artifact.write_json(path, {key: value for key, value in content.items() if value is not None})
    artifact.seal(out, KIND, {})
    return out


def test_a_study_from_before_an_analysis_lacks_its_chapter_alone(
    study_folder: Path, tmp_path: Path
) -> None:
    older = load_result(_changed(study_folder, tmp_path / "older", wins=None))
    assert older.of("wins") is None
    assert older.of("slices")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "study.json has format 2, and this version reads 3; repeat the study's"),
        ({"arms": {"joint": 1}}, "study.json is not as expected at arms.joint"),
    ],
)
def test_a_result_that_cannot_be_read_is_named(
    study_folder: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    out = _changed(study_folder, tmp_path / "other", **changes)
    with pytest.raises(InputError) as caught:
        load_result(out)
    assert words in str(caught.value)
    assert str(out) in str(caught.value)
