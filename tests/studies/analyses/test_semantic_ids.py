"""Semantic IDs as arms of a study."""

import shutil
from pathlib import Path

import jsonschema
import pytest

from tests.studies.conftest import SETTINGS, published_schema
from twofold.identifiers import assign
from twofold.identifiers.assign import schemes
from twofold.identifiers.identifiers import SemanticScheme
from twofold.studies.analyses.semantic_ids import SemanticIds
from twofold.studies.cells import render
from twofold.studies.pages.tables import study_tables
from twofold.studies.result import StudyResult, load_result, result_schema
from twofold.studies.study import study
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import resolve_config


def test_a_finished_study_may_be_given_them(
    prepared: Path, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(dataset: PreparedDataset, shape: SemanticScheme) -> dict[str, SemanticScheme]:
        return {name: schemes(dataset, shape)[name] for name in ("text", "separate")}

    monkeypatch.setattr(assign, "schemes", two)
    out = tmp_path / "study"
    shutil.copytree(study_folder, out)
    before = load_result(out)
    assert before.of("semantic_ids") is None
    study(
        load_dataset(prepared),
        out=out,
        seeds=1,
        config=resolve_config("quick", None, tuple(SETTINGS)),
        budget="quick",
        interventions=["2x2"],
        semantic_ids=True,
        baselines=True,
        tune=2,
        resume=True,
        device="cpu",
        threads=1,
    )
    result = load_result(out)
    jsonschema.validate(result.to_json(), result_schema())
    jsonschema.validate(result.to_json(), published_schema())
    assert result.verdicts == before.verdicts
    _are_compared_with_joint(result)
    page = (out / "report.html").read_text()
    assert "<h2>Semantic IDs" in page
    assert "semantic-separate" in page
    assert f"Semantic IDs, {result.stamp.primary}" in render(study_tables(result), "markdown")


def _are_compared_with_joint(result: StudyResult) -> None:
    arms: dict[str, SemanticIds] = result.of("semantic_ids")
    assert set(arms) == {"semantic-text", "semantic-separate"}
    for name, arm in arms.items():
        assert result.of("training")[name][0].budget == 40
        for task, effect in arm.minus_joint.items():
            own, joint = (
                result.arms[f"{each}-with-text"][task][result.stamp.primary].mean
                for each in (name, "joint")
            )
            assert effect.difference == pytest.approx(own - joint)
    assert arms["semantic-text"].embeddings == "text"
    assert len(arms["semantic-text"].codebook_sizes) == 1
    assert arms["semantic-separate"].space == "separate"
    assert len(arms["semantic-separate"].codebook_sizes) == 2, "each task has its own"
