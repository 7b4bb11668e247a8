"""An analysis of one's own: one file, here this one."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest

from twofold.evaluation.significance import mean
from twofold.studies import analyses, plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.cells import Cell, Table, render
from twofold.studies.folder import StudyFolder
from twofold.studies.pages.tables import study_tables
from twofold.studies.result import StudyResult, load_result, result_schema
from twofold.studies.study import Study, study
from twofold.studies.values import CorrectedDifference, Value
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Lengths(Value):
    """How long histories are."""

    mean: float
    arms: list[str]


def lengths(evidence: Evidence) -> Lengths:
    histories = evidence.dataset.training_histories.values()
    mean = sum(len(history) for history in histories) / len(histories)
    return Lengths(mean=mean, arms=list(evidence.scores.arms))


def figure(result: Lengths, study: StudyResult) -> "Figure":
    figure, (axis,) = plots.panels(1, 1, 1.0)
    axis.barh(0, result.mean)
    axis.set_xlabel(f"history length, {study.stamp.source}")
    return figure


def tables(result: Lengths, _study: StudyResult) -> Iterable[Table]:
    yield Table("Lengths", ["mean"], [("histories", [Cell(result.mean)])])


CHAPTER = """
<h2>Lengths of histories</h2>
<p>{{ result.mean | number }} events in {{ tasks | join(" and ") }};
{{ result.arms | length }} arms.</p>
{{ figures.lengths | safe }}
"""

TINY = Analysis("lengths", Lengths, lengths, CHAPTER, {"lengths": figure}, tables)


@pytest.fixture
def finished(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Study:
    """A study with one more analysis."""
    monkeypatch.setattr(analyses, "ANALYSES", (*analyses.ANALYSES, TINY))
    config = quick_config.model_copy(update={"max_steps": 4})
    return study(catalog, out=tmp_path / "study", seeds=1, config=config, tune=0)


def test_an_analysis_of_ones_own_is_in_the_result_the_report_and_the_tables(
    finished: Study,
) -> None:
    content = load_result(finished.folder)
    mean = content.of("lengths").mean
    assert finished.result["lengths"]["mean"] == mean > 1
    schema = result_schema()
    jsonschema.validate(finished.result, schema)
    assert "lengths" in schema["required"]
    page = StudyFolder(finished.folder).report.read_text()
    assert "<h2>Lengths of histories</h2>" in page
    assert f"{mean:.4f} events in search and recommendation;\n5 arms." in page
    assert "history length, simulate:catalog" in page
    assert f"| histories | {mean:.4f} |" in render(study_tables(content), "markdown")
    assert page.index("<h2>The data") < page.index("<h2>Lengths") < page.index("<h2>Protocol")


def test_a_table_of_tests_is_corrected_for_their_number() -> None:
    """About ten of 200 differences without an effect exclude 0, and hardly ever one stands out."""
    rng = np.random.default_rng(0)
    nothing = [mean(rng.normal(0, 1, (1, 100)), np.arange(100)) for _ in range(200)]
    something = [mean(rng.normal(1, 1, (1, 100)), np.arange(100)) for _ in range(20)]
    tested = CorrectedDifference.table([*nothing, *something])
    assert sum(each.excludes_zero for each in tested[:200]) >= 4
    assert sum(each.stands_out for each in tested[:200]) <= 3
    assert all(each.stands_out for each in tested[200:])
