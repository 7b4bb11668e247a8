"""Runs and qrels as TREC files, and the order of equal scores."""

from pathlib import Path

import pytest

from twofold.evaluation.runs import rank, read_qrels, read_run, write_qrels, write_run
from twofold.records import InputError, Ranking, Run


def test_ties_go_by_item_id_descending() -> None:
    assert rank([("10", 1.0), ("9", 1.0), ("a", 0.5), ("b", 2.0)]).item_ids == ("b", "9", "10", "a")


def test_runs_and_qrels_survive_their_files(tmp_path: Path) -> None:
    run = Run("my run", {"q 1": Ranking(("ä b", "100%"), (1.0000001192092896, -3.25e-8))})
    write_run(run, tmp_path / "r")
    loaded = read_run(tmp_path / "r")
    assert loaded["q 1"].item_ids == run["q 1"].item_ids
    assert loaded["q 1"].scores == pytest.approx(run["q 1"].scores, rel=1e-8)
    write_qrels({"q 1": {"ä b": 2}}, tmp_path / "q")
    assert read_qrels(tmp_path / "q") == {"q 1": {"ä b": 2}}


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
def test_a_broken_run_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.trec"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 a\n", "line 1: 3 fields, 4 are expected"),
        ("q1 0 a high\n", "line 1: relevance 'high' is no whole number"),
    ],
)
def test_broken_qrels_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(InputError, match=message):
        read_qrels(tmp_path / "qrels")
