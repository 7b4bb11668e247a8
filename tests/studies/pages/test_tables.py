"""Tables of a study for a paper, and two studies side by side."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.studies.conftest import Command
from twofold import artifact
from twofold.records import InputError
from twofold.studies.cells import render
from twofold.studies.folder import KIND
from twofold.studies.pages.tables import _scores, compare, study_tables
from twofold.studies.result import load_result


def test_every_number_of_the_csv_stands_in_the_result(study_folder: Path) -> None:
    result = load_result(study_folder)
    known = json.dumps(result.to_json())
    rows = list(csv.DictReader(io.StringIO(render(study_tables(result), "csv"))))
    numbers = [row[key] for row in rows for key in ("value", "low", "high") if row[key]]
    measured = [number for number in numbers if number.lstrip("-").replace(".", "").isdigit()]
    assert len(measured) > 100
    assert all(number in known for number in measured)
    titles = {row["table"] for row in rows}
    primary = result.stamp.primary
    assert {f"Verdicts, {primary}", f"Slices, search, {primary}"} <= titles
    assert "Attribution to popularity and content" in titles


@pytest.mark.parametrize(
    ("verdict", "word"), [("hurts", "hurts (provisional)"), ("not enough data", "not enough data")]
)
def test_only_a_verdict_can_be_provisional(study_folder: Path, verdict: str, word: str) -> None:
    result = load_result(study_folder)
    few = {"verdict": verdict, "provisional": True}
    answers = [
        answer.model_copy(
            update={
                "verdicts": {
                    task: judged.model_copy(update=few) for task, judged in answer.verdicts.items()
                }
            }
        )
        for answer in result.questions
    ]
    first = study_tables(result.model_copy(update={"questions": answers}))[0]
    assert {cells[0] for _, cells in first.rows} == {word}


def test_the_command_prints_tables(study_folder: Path, twofold: Command) -> None:
    code, printed, _ = twofold("report", study_folder, "--format", "latex")
    assert code == 0
    assert printed.startswith(r"\begin{table}")


def test_a_folder_without_a_study_is_named(tmp_path: Path, twofold: Command) -> None:
    code, _, said = twofold("report", tmp_path)
    assert code == 2
    assert said.startswith(f"twofold: {tmp_path}: no manifest.json")
    assert said.count("\n") == 1


def _changed(study_folder: Path, out: Path, **stamp: object) -> Path:
    """A copy of a study whose stamp says something else."""
    shutil.copytree(study_folder, out, ignore=shutil.ignore_patterns("models", "evaluations"))
    result = json.loads((out / "study.json").read_text())
    result["stamp"].update(stamp)
    (out / artifact.MANIFEST).unlink()
    artifact.write_json(out / "study.json", result)
    artifact.seal(out, KIND, {})
    return out


def test_a_study_compared_with_itself_differs_by_nothing(study_folder: Path) -> None:
    sides, *both = compare(study_folder, study_folder)
    asked = ("from behaviour", "with item text", "deployed")
    assert [row[0] for row in sides.rows[:6]] == [
        f"verdict on {task}, {models}" for models in asked for task in ("recommendation", "search")
    ]
    assert all(one == other for _, (one, other) in sides.rows)
    for table in both:
        assert {"joint", table.title.split(",")[0]} <= {name for name, _ in table.rows}
        for _, cells in table.rows:
            assert str(cells[2]).startswith("+.0000")


def test_studies_with_other_training_can_be_compared(study_folder: Path, tmp_path: Path) -> None:
    other = _changed(study_folder, tmp_path / "other", budget="standard")
    sides, *_ = compare(study_folder, other)
    assert ("budget", ["quick", "standard"]) in sides.rows


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        ({"seen": "keep"}, "seen is 'exclude' and 'keep'"),
        ({"data": "0" * 64}, "data is '"),
        ({"split": "temporal", "cutoff": 3.0}, "split is 'last' and 'temporal'; cutoff is None"),
    ],
)
def test_studies_of_different_protocols_are_refused(
    study_folder: Path, tmp_path: Path, stamp: dict[str, object], words: str
) -> None:
    other = _changed(study_folder, tmp_path / "other", **stamp)
    with pytest.raises(InputError, match="cannot be compared") as caught:
        compare(study_folder, other)
    assert words in str(caught.value)


def test_with_folds_a_user_is_another_request_in_every_seed() -> None:
    """And both are of one user, so that they vary together."""
    rows = [
        ("joint", seed, task, request, "Recall@30", value)
        for seed, task, request, value in [
            (0, "recommendation", "ann", 0.1),
            (0, "recommendation", "bob", 0.2),
            (1, "recommendation", "ann", 0.3),
            (1, "recommendation", "bob", 0.4),
        ]
    ]
    columns = ["arm", "seed", "task", "request_id", "measure", "value"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    asked = ("joint", "recommendation", "Recall@30")
    folded = _scores(frame, *asked, folded=True)
    expected = [[0.1, 0.2, np.nan, np.nan], [np.nan, np.nan, 0.3, 0.4]]
    np.testing.assert_array_equal(folded.by_request, expected)
    assert folded.clusters.tolist() == [0, 1, 0, 1]
    fixed = _scores(frame, *asked, folded=False)
    assert fixed.by_request.tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert fixed.clusters.tolist() == [0, 1]
