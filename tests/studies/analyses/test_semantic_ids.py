"""Semantic IDs as arms of a study."""

import json
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.studies.conftest import SETTINGS
from twofold.identifiers.assign import schemes
from twofold.identifiers.scheme import SemanticScheme
from twofold.studies import arms
from twofold.studies.study import study
from twofold.studies.tables import load_result, render, study_tables
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import resolve_config


def test_there_is_an_arm_for_every_way(catalog: PreparedDataset) -> None:
    made = arms.semantic_arms(catalog, resolve_config("quick"))
    assert [arm.name for arm in made] == [
        f"semantic-{name}"
        for name in (
            "text", "search", "recommendation", "multi-task", "fused-concatenated",
            "fused-summed", "separate", "shared-prefix",
        )
    ]  # fmt: skip
    assert len({arm.settings for arm in made}) == len(made)
    one_level = arms.semantic_arms(catalog, resolve_config("quick", None, ("levels=1",)))
    assert {arm.name for arm in made} - {arm.name for arm in one_level} == {
        "semantic-shared-prefix"
    }


def test_a_finished_study_may_be_given_them(
    prepared: Path, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(dataset: PreparedDataset, shape: SemanticScheme) -> dict[str, SemanticScheme]:
        return {name: schemes(dataset, shape)[name] for name in ("text", "separate")}

    monkeypatch.setattr(arms, "schemes", two)
    out = tmp_path / "study"
    shutil.copytree(study_folder, out)
    before = load_result(out)
    assert before["semantic_ids"] is None
    study(
        load_dataset(prepared),
        out=out,
        seeds=1,
        config=resolve_config("quick", None, tuple(SETTINGS)),
        budget="quick",
        interventions=["2x2"],
        semantic_ids=True,
        baselines=True,
        resume=True,
        device="cpu",
        threads=1,
    )
    result = load_result(out)
    schema = json.loads((resources.files("twofold.studies") / "study.schema.json").read_text())
    jsonschema.validate(result, schema)
    assert result["verdicts"] == before["verdicts"]
    _stand_beside_joint(result)
    page = (out / "report.html").read_text()
    assert "Other names for the items" in page
    assert "semantic-separate" in page
    assert "Semantic IDs, Recall@30" in render(study_tables(result), "markdown")


def _stand_beside_joint(result: Mapping[str, Any]) -> None:
    found = result["semantic_ids"]
    assert set(found) == {"semantic-text", "semantic-separate"}
    for arm, made in found.items():
        assert result["training"][arm][0]["budget"] == 40
        for task, apart in made["minus_joint"].items():
            own, joint = (
                result["arms"][name][task]["Recall@30"]["mean"] for name in (arm, "joint")
            )
            assert apart["difference"] == pytest.approx(own - joint)
    assert found["semantic-text"]["embeddings"] == "text"
    assert len(found["semantic-text"]["codebook_sizes"]) == 1
    assert found["semantic-separate"]["space"] == "separate"
    assert len(found["semantic-separate"]["codebook_sizes"]) == 2, "each task has its own"
