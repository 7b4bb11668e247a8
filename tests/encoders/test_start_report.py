"""What a start knows is what an untrained model answers."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WriteFolder
from tests.planted import NO_TITLES, planted_dataset
from tests.training.measured import values_of
from twofold.cli import main
from twofold.encoders import start_report
from twofold.encoders.item_vectors import ItemStart, item_start
from twofold.encoders.start_report import report_starts
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.records import TASKS, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.report import data_report
from twofold.tasks.report_text import report_text
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import resolve_config
from twofold.training.start import start
from twofold.training_examples import Source


def _untrained_value(dataset: PreparedDataset, task: Task, item_init: str) -> float:
    config = resolve_config("quick", item_init=item_init)
    spaces = shared(atomic(len(dataset.catalog)))
    initial = start(dataset, NAMED_ARMS[task], spaces, config, seed=0)
    model = GenerativeModel(
        catalog=dataset.catalog,
        vocabulary=initial.vocabulary,
        backbone=initial.backbone.eval(),
        tasks=(task,),
        seen=dataset.protocol.seen,
        precision="float32",
        tries=tries_of(spaces),
    )
    judged = dataset.task(task).requests("validation")
    return float(values_of(GenerativeRetriever(model), judged).mean())


@pytest.mark.parametrize("task", ["search", "recommendation"])
def test_it_is_what_an_untrained_model_answers(task: Task) -> None:
    dataset = planted_dataset()
    known = report_starts(dataset)
    assert known is not None
    for item_init in ("text", "factors", "text+factors"):
        untrained = _untrained_value(dataset, task, item_init)
        # Texts leave ties among the items of a group, which a model's random weights break.
        ties = 0.2 if item_init == "text" else 0.05
        assert known[item_init][task] == pytest.approx(untrained, abs=ties)
    assert known["factors"][task] > known["text"][task], "the groups of texts say nothing"


def test_without_text_only_factors_are_reported() -> None:
    known = report_starts(planted_dataset(titles=NO_TITLES, queries=False))
    assert known is not None
    assert list(known) == ["factors", "text+factors"]
    assert list(known["factors"]) == ["recommendation"]


def test_a_large_catalog_is_not_measured_and_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start_report, "MOST_ITEMS", 10)
    dataset = planted_dataset()
    report = {**data_report(dataset), "starts": report_starts(dataset)}
    assert report["starts"] is None
    assert "not evaluated: the catalog is too large" in report_text(report)


def test_prepare_prints_it(
    write_folder: WriteFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "prepared"
    monkeypatch.setattr(sys, "argv", ["twofold", "prepare", str(write_folder()), "--out", str(out)])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert "nDCG@10 of the initial item embeddings" in printed
    assert "| text+factors |" in printed


def test_a_long_measurement_tells_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]

    def slow(*given: Any) -> ItemStart | None:
        now[0] += 20
        return item_start(*given)

    monkeypatch.setattr(start_report, "item_start", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO):
        report_starts(planted_dataset())
    assert caplog.messages[:2] == [
        "initial item embeddings: 1 of 6 measured, 100 s left",
        "initial item embeddings: 2 of 6 measured, 80 s left",
    ]


def test_no_more_targets_are_learned_from_than_are_bearable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[int] = []

    def counted(sources: Mapping[Task, Source], *rest: Any) -> ItemStart | None:
        learned.extend(source.targets for source in sources.values())
        return item_start(sources, *rest)

    monkeypatch.setattr(start_report, "item_start", counted)
    monkeypatch.setattr(start_report, "MOST_TARGETS", dict.fromkeys(TASKS, 200))
    assert report_starts(planted_dataset())
    assert learned
    assert 100 < min(learned) <= max(learned) <= 200
