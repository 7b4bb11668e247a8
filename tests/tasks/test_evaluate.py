"""Evaluation of a retriever: scores for each request, means, and requests without an answer."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import WriteFolder
from twofold import artifact
from twofold.evaluation.measures import Measure
from twofold.records import InputError, Ranking, Request, Run
from twofold.tasks.evaluate import Answered, evaluate, save_evaluation
from twofold.tasks.storage import load_dataset

MEASURES = [Measure("Recall", 2), Measure("RR", 1)]


class OneItem:
    """Answers every request with one item, but for users whom it does not know."""

    name = "one item"

    def __init__(self, item_id: str, unknown: str) -> None:
        self._item_id, self._unknown = item_id, unknown

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        assert k == 2, "as deep as the deepest measure"
        answer, nothing = Ranking((self._item_id,), (1.0,)), Ranking((), ())
        return Run(
            self.name,
            {r.request_id: nothing if r.user_id == self._unknown else answer for r in requests},
        )


def test_every_request_is_scored_and_one_without_an_answer_scores_zero(
    write_folder: WriteFolder,
) -> None:
    dataset = load_dataset(write_folder())
    evaluation = evaluate(OneItem("d", "u2"), dataset, ["recommendation"], measures=MEASURES)
    # Test events: u1 d, u2 e, u3 b.
    assert evaluation.means()["recommendation"] == {
        "Recall@2": pytest.approx(1 / 3),
        "RR@1": pytest.approx(1 / 3),
    }
    assert evaluation.unanswered == {"recommendation": 1}
    assert evaluation.scores.height == 3 * len(MEASURES)


def test_a_saved_evaluation_holds_the_stamp_the_means_and_the_runs(
    write_folder: WriteFolder, tmp_path: Path
) -> None:
    dataset = load_dataset(write_folder())
    evaluation = evaluate(OneItem("d", "u2"), dataset, measures=MEASURES)
    save_evaluation(evaluation, tmp_path / "scores", {"seed": 3})
    artifact.load(tmp_path / "scores", "evaluation")
    measured = artifact.read_json(tmp_path / "scores" / "measures.json")
    assert measured["stamp"] == {"seed": 3}
    assert measured["recommendation"]["Recall@2"] == pytest.approx(1 / 3)
    names = {path.name for path in (tmp_path / "scores").iterdir()}
    assert {"per_request.parquet", "search.trec", "recommendation.qrels"} <= names


@pytest.mark.parametrize(
    ("retriever", "message"),
    [
        (None, "NoneType is no retriever; give twofold.load_model"),
        ("model", "str is no retriever"),
        (SimpleNamespace(name="x", retrieve=lambda *_: None), "returned NoneType; a twofold.Run"),
        (SimpleNamespace(name="x", retrieve=lambda *_: {"u1": ["d"]}), "returned dict; a twofold"),
    ],
)
def test_what_is_no_retriever_is_refused(
    write_folder: WriteFolder, retriever: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(retriever, load_dataset(write_folder()))


def test_what_is_no_dataset_is_refused(write_folder: WriteFolder) -> None:
    with pytest.raises(InputError, match=r"str is no dataset; give what twofold\.load_dataset"):
        evaluate(OneItem("d", "u2"), str(write_folder()))  # type: ignore[arg-type]


def test_a_split_that_does_not_exist_is_refused(write_folder: WriteFolder) -> None:
    with pytest.raises(InputError, match="split 'valid': choose test or validation"):
        evaluate(OneItem("d", "u2"), load_dataset(write_folder()), split="valid")  # type: ignore[arg-type]


@pytest.mark.parametrize("tasks", ["search", ["serach"], ["recommendation"]])
def test_a_task_that_does_not_exist_is_refused(write_folder: WriteFolder, tasks: Any) -> None:
    dataset = load_dataset(write_folder(interactions=None))
    with pytest.raises(InputError, match=r"tasks .*: give a list of some of search"):
        evaluate(OneItem("d", "u2"), dataset, tasks)


class InParts(OneItem):
    """Answers its requests in parts, last first, as a model does with its batches."""

    def shards(self, requests: Sequence[Request], k: int, size: int) -> list[Sequence[Request]]:
        assert k == 2, "as deep as the deepest measure"
        assert size == 1, "as often as possible"
        return [requests[1:], requests[:1]]


def test_a_long_evaluation_tells_the_time_left(
    write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = load_dataset(write_folder())
    clock = iter([0.0, 12.0, 18.0, 40.0])
    monkeypatch.setattr(Answered.__init__, "__defaults__", (lambda: next(clock),))
    with caplog.at_level(logging.INFO):
        parts = evaluate(InParts("d", "u2"), dataset, ["recommendation"], measures=MEASURES)
    assert caplog.messages == ["recommendation: 2 of 3 requests, 6 s left"]
    whole = evaluate(OneItem("d", "u2"), dataset, ["recommendation"], measures=MEASURES)
    assert parts.scores.equals(whole.scores)
    assert list(parts.runs["recommendation"].rankings) == list(
        whole.runs["recommendation"].rankings
    )
