"""Measures counted by hand; tests/comparison compares random runs with ir-measures."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.evaluation.measures import Measure, means, score, tie_order, unanswered
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


def test_a_mean_is_the_exact_sum_by_the_number_in_any_order_of_the_requests() -> None:
    """So it depends on no number of threads."""
    values = np.random.default_rng(0).random(10_001)
    exact = float(sum(map(Fraction, values.tolist()), Fraction())) / len(values)
    for own in (values, values[::-1], np.sort(values)):
        scores = pl.DataFrame({"measure": "RR@10", "value": own})
        assert means(scores) == {"RR@10": exact}


def test_a_measure_without_a_function_gives_no_number() -> None:
    with pytest.raises(KeyError):
        Measure("MAP", 10).of(("a",), {"a": 1})


@given(
    st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12),
    st.dictionaries(st.integers(0, 11), st.integers(0, 2), max_size=4),
    st.integers(1, 12),
)
def test_scores_are_ranked_as_a_run_is(scores: list[float], grades: dict[int, int], k: int) -> None:
    """As a sort of (score, item_id), both descending, without items of a score of -inf."""
    item_ids = [f"item-{number}" for number in range(len(scores))]
    relevant = {item: grade for item, grade in grades.items() if item < len(scores)}
    ranked = sorted(zip(scores, item_ids, range(len(scores)), strict=True), reverse=True)
    answer = [position for value, _, position in ranked if value > -np.inf]
    measure = Measure("nDCG", k)
    value = measure.of_scores(np.array(scores), relevant, tie_order(item_ids))
    assert value == measure.of(answer, relevant)


@pytest.mark.parametrize("text", ["Recall", "recall@5", "nDCG@0", "MAP@5", "Recall@-1"])
def test_an_unknown_measure_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f"measure '{text}'"):
        Measure.parse(text)
