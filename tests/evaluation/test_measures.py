"""Measures counted by hand; tests/comparison compares random runs with ir-measures."""

import pytest

from twofold.evaluation.measures import Measure, means, score, unanswered
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
def test_measures_are_what_hand_counting_gives(measure: str, value: float) -> None:
    scores = score(RUN, QRELS, [Measure.parse(measure)])
    assert scores["value"].to_list() == pytest.approx([value, 0.0, 0.0])


def test_requests_without_an_answer_score_zero_and_are_counted() -> None:
    assert unanswered(RUN, QRELS) == 2
    assert means(score(RUN, QRELS, [Measure("Recall", 2)])) == {"Recall@2": pytest.approx(1 / 6)}


def test_a_measure_without_a_function_gives_no_number() -> None:
    with pytest.raises(KeyError):
        Measure("MAP", 10).of(("a",), {"a": 1})


@pytest.mark.parametrize("text", ["Recall", "recall@5", "nDCG@0", "MAP@5", "Recall@-1"])
def test_an_unknown_measure_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f"measure '{text}'"):
        Measure.parse(text)
