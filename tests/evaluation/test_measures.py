"""Measures by hand; random ones are compared with ir-measures in tests/comparison."""

import pytest

from twofold.evaluation.measures import Measure, means, score, unanswered
from twofold.evaluation.runs import rank, read_qrels, read_run, write_qrels, write_run
from twofold.records import InputError, Ranking, Run

RUN = Run("made", {"q1": Ranking(("b", "a", "c"), (3.0, 2.0, 1.0)), "q2": Ranking((), ())})
QRELS = {"q1": {"a": 1, "z": 2}, "q2": {"a": 1}, "q3": {"b": 1}}


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("Recall@1", 0.0),
        ("Recall@2", 0.5),
        ("Success@2", 1.0),
        ("RR@10", 0.5),
        ("RR@1", 0.0),
        ("nDCG@10", (1 / 1.5849625) / (2 + 1 / 1.5849625)),
    ],
)
def test_by_hand(measure: str, value: float) -> None:
    scores = score(RUN, QRELS, [Measure.parse(measure)])
    assert scores["value"].to_list() == pytest.approx([value, 0.0, 0.0])


def test_requests_without_an_answer_score_zero_and_are_counted() -> None:
    assert unanswered(RUN, QRELS) == 2
    assert means(score(RUN, QRELS, [Measure("Recall", 2)])) == {"Recall@2": pytest.approx(1 / 6)}


@pytest.mark.parametrize("text", ["Recall", "recall@5", "nDCG@0", "MAP@5", "Recall@-1"])
def test_an_unknown_measure_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f"measure '{text}'"):
        Measure.parse(text)


def test_ties_go_by_item_id_descending() -> None:
    assert rank([("10", 1.0), ("9", 1.0), ("a", 0.5), ("b", 2.0)]).item_ids == ("b", "9", "10", "a")


def test_runs_and_qrels_survive_their_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trec")
    run = Run("my run", {"q 1": Ranking(("ä b", "100%"), (1.0000001192092896, -3.25e-8))})
    write_run(run, folder / "r")
    loaded = read_run(folder / "r")
    assert loaded["q 1"].item_ids == run["q 1"].item_ids
    assert loaded["q 1"].scores == pytest.approx(run["q 1"].scores, rel=1e-8)
    write_qrels({"q 1": {"ä b": 2}}, folder / "q")
    assert read_qrels(folder / "q") == {"q 1": {"ä b": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 a 1 0.5\n", "line 1: 5 fields, 6 are expected"),
        ("q1 Q0 a 1 high x\n", "line 1: score 'high' is no number"),
        ("q1 Q0 a 1 nan x\n", "line 1: score 'nan' is no number"),
        ("q1 Q0 a 1 2 x\nq1 Q0 a 2 1 x\n", "line 2: item 'a' stands twice"),
        ("", "the file is empty"),
    ],
)
def test_a_broken_run_is_named(
    tmp_path_factory: pytest.TempPathFactory, text: str, message: str
) -> None:
    path = tmp_path_factory.mktemp("trec") / "run.trec"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(path)
