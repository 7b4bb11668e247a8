"""Runs and qrels as TREC files, read as trec_eval reads them, and the order of equal scores."""

import codecs
import logging
from pathlib import Path

import ir_measures
import pytest

from twofold.evaluation.runs import (
    rank,
    read_qrels,
    read_run,
    require_common_ids,
    write_qrels,
    write_run,
)
from twofold.records import InputError, Ranking, Run

RUN = "q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\n"
QRELS = "q1 0 a 1\nq2 0 b 2\n"


def run_of(tmp_path: Path, content: str | bytes) -> Run:
    path = tmp_path / "run.trec"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_run(path)


def qrels_of(tmp_path: Path, content: str | bytes) -> dict[str, dict[str, int]]:
    path = tmp_path / "qrels"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return {request_id: dict(relevant) for request_id, relevant in read_qrels(path).items()}


def test_ties_go_by_item_id_descending() -> None:
    assert rank([("10", 1.0), ("9", 1.0), ("a", 0.5), ("b", 2.0)]).item_ids == ("b", "9", "10", "a")


def test_runs_survive_their_files(tmp_path: Path) -> None:
    ids = ("ä b", "100%", "a%20b", "x\u00a0y", "t\tz")
    run = Run("my run", {"q 1": Ranking(ids, (3.0, 2.0, 1.0000001192092896, 0.5, -3.25e-8))})
    write_run(run, tmp_path / "r")
    loaded = read_run(tmp_path / "r", ["q 1", *ids])
    assert loaded["q 1"].item_ids == ids
    assert loaded["q 1"].scores == pytest.approx(run["q 1"].scores, rel=1e-8)


def test_only_white_space_is_written_otherwise(tmp_path: Path) -> None:
    write_run(Run("r", {"q%": Ranking(("a b", "100%", "a%20"), (3.0, 2.0, 1.0))}), tmp_path / "r")
    write_qrels({"q%": {"a b": 1, "100%": 0}}, tmp_path / "q")
    assert (tmp_path / "r").read_text() == (
        "q% Q0 a%20b 1 3 r\nq% Q0 100% 2 2 r\nq% Q0 a%20 3 1 r\n"
    )
    assert (tmp_path / "q").read_text() == "q% 0 a%20b 1\nq% 0 100% 0\n"
    assert read_run(tmp_path / "r")["q%"].item_ids == ("a%20b", "100%", "a%20")
    assert read_qrels(tmp_path / "q") == {"q%": {"a%20b": 1, "100%": 0}}


def test_a_name_becomes_an_id_again_only_where_no_other_id_has_it(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("q Q0 a%20b 1 2 r\nq Q0 100%25 2 1 r\n")
    assert read_run(tmp_path / "r", ["a b", "100%"])["q"].item_ids == ("a b", "100%")
    ids = ["a b", "a%20b", "100%", "100%25"]
    assert read_run(tmp_path / "r", ids)["q"].item_ids == ("a%20b", "100%25")


def test_two_items_with_one_name_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a b' and 'a%20b' have the same name in a TREC file"):
        write_run(Run("r", {"q": Ranking(("a b", "a%20b"), (2.0, 1.0))}), tmp_path / "r")
    with pytest.raises(InputError, match="have the same name"):
        write_qrels({"q": {"a b": 1, "a%20b": 1}}, tmp_path / "q")
    ranking = Ranking(("a",), (1.0,))
    with pytest.raises(InputError, match="requests 'a b' and 'a%20b' have the same name"):
        write_run(Run("r", {"a b": ranking, "a%20b": ranking}), tmp_path / "r")
    with pytest.raises(InputError, match="requests 'a b' and 'a%20b' have the same name"):
        write_qrels({"a b": {"a": 1}, "a%20b": {"a": 1}}, tmp_path / "q")


@pytest.mark.parametrize(
    "content",
    [
        RUN,
        codecs.BOM_UTF8 + RUN.encode(),
        codecs.BOM_UTF16_LE + RUN.encode("utf-16-le"),
        RUN.replace("\n", "\r\n"),
        RUN.replace(" ", "\t"),
        f"\n  \n {RUN} \n\t\n",
        RUN.replace(" ", " \t "),
        RUN.strip(),
    ],
)
def test_marks_and_blank_lines_change_nothing(tmp_path: Path, content: str | bytes) -> None:
    assert run_of(tmp_path, content).rankings == {"q1": Ranking(("a", "b"), (2.0, 1.0))}


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + QRELS.encode(),
        QRELS.replace("\n", "\n\n"),
        QRELS.replace("1\n", "1.0\n"),
        QRELS.replace(" 2\n", " +2e0\n"),
        QRELS.replace(" ", "\t"),
    ],
)
def test_qrels_are_read_in_the_same_way(tmp_path: Path, content: str | bytes) -> None:
    assert qrels_of(tmp_path, content) == {"q1": {"a": 1}, "q2": {"b": 2}}


@pytest.mark.parametrize(
    "item_id", ["a%20b", "100%", "%", "x\u00a0y", "l\u2028s", "i\u3000d", "n\x85l", '"q"', "a,b"]
)
def test_an_id_is_read_as_it_stands(tmp_path: Path, item_id: str) -> None:
    run = run_of(tmp_path, f"{item_id} Q0 {item_id} 1 2.0 x\n")
    assert run.rankings == {item_id: Ranking((item_id,), (2.0,))}
    assert qrels_of(tmp_path, f"{item_id} 0 {item_id} 1\n") == {item_id: {item_id: 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("header\n", "line 1: 1 field, 6 are expected"),
        ("q1 Q0 a 1 0.5\n", "line 1: 5 fields, 6 are expected: request_id Q0 item_id"),
        ("\n\nq1 Q0 a b 1 0.5 x\n", "line 3: 7 fields, 6 are expected"),
        ("q1 Q0 a 1 high x\n", "line 1: score 'high' is not a number"),
        ("q1 Q0 a 1 nan x\n", "line 1: score 'nan' is not a number"),
        ("q1 Q0 a 1 1_0 x\n", "line 1: score '1_0' is not a number"),
        ("q1 Q0 a 1 2 x\n\nq1 Q0 a 2 1 x\n", "line 3: item 'a' occurs twice"),
        ("", "the file is empty"),
        (" \n\t\r\n", "the file is empty"),
        ("q1 Q0 a 1 2 x\0\n", "has a NUL byte"),
    ],
)
def test_a_broken_run_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 a\n", "line 1: 3 fields, 4 are expected"),
        ("q1 0 a high\n", "line 1: relevance 'high' is not an integer"),
        ("q1 0 a 0.5\n", "line 1: relevance '0.5' is not an integer"),
        ("q1 0 a 1e20\n", "line 1: relevance '1e20' is not an integer up to"),
        ("q1 0 a nan\n", "line 1: relevance 'nan' is not an integer"),
        ("q1 0 a inf\n", "line 1: relevance 'inf' is not an integer"),
        (
            "q1 0 a 2\nq2 0 a 1\nq1 0 a 0\n",
            "line 3: .*'q1' and item 'a' .* 0, and 2 on line 1",
        ),
        ("q1 0 a 0\nq1 0 a 2.0\n", "line 2: .*'q1' and item 'a' have relevance 2, and 0 on line 1"),
    ],
)
def test_broken_qrels_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        qrels_of(tmp_path, text)


def test_equal_judgments_are_one_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "twofold"):
        assert qrels_of(tmp_path, "q1 0 a 1\nq1 0 a 1.0\nq1 0 a 1\n") == {"q1": {"a": 1}}
    assert caplog.messages == [
        f"{tmp_path}/qrels line 2: request 'q1' and item 'a' occur twice (2 rows left out); "
        "keep one of the lines"
    ]


def test_a_run_of_other_requests_shows_an_id_of_each(tmp_path: Path) -> None:
    run = run_of(tmp_path, RUN)
    qrels = {"Q-1": {"a": 1}}
    with pytest.raises(InputError, match=r"has no request of .*the run has 'q1', the qrels.*'Q-1'"):
        require_common_ids(run, tmp_path / "run.trec", qrels, tmp_path / "qrels")
    require_common_ids(run, tmp_path / "run.trec", {**qrels, "q1": {"a": 1}}, tmp_path / "qrels")


def test_ids_that_never_meet_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of(tmp_path, "q1 Q0 6.0 1 2.0 x\nq7 Q0 6.0 1 1.0 x\n")
    with caplog.at_level(logging.WARNING, "twofold"):
        qrels = {"q1": {"6": 1}, "q2": {"6": 0}}
        require_common_ids(run, Path("run.trec"), qrels, Path("qrels"))
    assert caplog.messages == [
        "run.trec: request 'q7' is not judged by qrels (1 request left out); judge it",
        "qrels: request 'q2' has no relevant item (1 request scored 0); judge one",
        "run.trec: no item of the run is judged: the run has '6.0', qrels has '6'; "
        "write item ids in the same way in both",
    ]


def test_ranks_that_contradict_the_scores_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agreeing = "q1 Q0 b 2 1 x\nq1 Q0 a 1 2 x\nq1 Q0 c 3 1 x\nq3 Q0 a - 1 x\nq3 Q0 b - 2 x\n"
    distances = "q2 Q0 a 1 0.1 x\nq2 Q0 b 2 0.4 x\nq4 Q0 a 0 1 x\nq4 Q0 b 0 2 x\n"
    with caplog.at_level(logging.WARNING, "twofold"):
        assert run_of(tmp_path, agreeing)["q1"].item_ids == ("a", "c", "b")
        assert not caplog.messages
        assert run_of(tmp_path, agreeing + distances)["q2"].item_ids == ("b", "a")
    assert caplog.messages == [
        f"{tmp_path}/run.trec: the ranks of request 'q2' contradict its scores (1 request ranked "
        f"by score, as by trec_eval); if lower scores are better, negate them"
    ]


def test_ranks_that_equal_scores_lose_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ids decide then, descending; a ranking of one item, or in this order, loses nothing."""
    kept = "q1 Q0 b 1 0 x\nq1 Q0 a 2 0 x\nq2 Q0 a 1 0 x\nq3 Q0 a 1 2 x\nq3 Q0 b 2 1 x\n"
    lost = "q4 Q0 a 1 1 x\nq4 Q0 b 2 1 x\nq5 Q0 a 1 1 x\nq5 Q0 b 2 1 x\n"
    with caplog.at_level(logging.WARNING, "twofold"):
        run_of(tmp_path, kept)
        assert not caplog.messages
        assert run_of(tmp_path, kept + lost)["q4"].item_ids == ("b", "a")
    assert caplog.messages == [
        f"{tmp_path}/run.trec: the ranks of request 'q4' are lost, since all its scores are equal "
        f"(2 requests ranked by score, as by trec_eval); write scores that fall with the rank"
    ]


def test_a_line_of_another_form_is_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: 3 fields, 4 are .*the line is 'query-id\tcorp"):
        qrels_of(tmp_path, "query-id\tcorpus-id\tscore\nq1\ta\t1\n")


def test_scores_that_are_equal_in_float32_are_ties(tmp_path: Path) -> None:
    lines = "q Q0 a 1 1.00000001 x\nq Q0 b 2 1.0 x\nq Q0 c 3 1.000001 x\nq Q0 d 4 1e300 x\n"
    (tmp_path / "run").write_text(lines)
    run, qrels = read_run(tmp_path / "run"), {"q": {"a": 1}}
    assert run["q"].item_ids == ("d", "c", "b", "a")
    measure = ir_measures.parse_measure("RR")
    theirs = ir_measures.calc_aggregate(
        [measure], qrels, ir_measures.read_trec_run(str(tmp_path / "run"))
    )
    assert theirs[measure] == 1 / 4
