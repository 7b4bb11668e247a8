"""Which measure decides, and the data that no verdict can rest on."""

from dataclasses import replace

import numpy as np
import pytest

from twofold.records import InputError
from twofold.studies.statistics.task_scores import (
    TaskScores,
    has_top,
    primary_measure,
    why_at_ceiling,
    why_degenerate,
    why_too_few_seeds,
)


def _scores(seeds: int = 3, requests: int = 100) -> TaskScores:
    rng = np.random.default_rng(0)
    arms = [(rng.random((seeds, requests)) < 0.3).astype(float) for _ in range(3)]
    return TaskScores(arms[0], arms[1], arms[2], np.arange(requests), catalog=1000)


@pytest.mark.parametrize(
    ("catalog", "measure"), [(12, "Recall@10"), (299, "Recall@10"), (300, "Recall@30")]
)
def test_a_small_catalog_is_judged_by_shorter_answers(catalog: int, measure: str) -> None:
    assert str(primary_measure(catalog)) == measure
    assert str(primary_measure(catalog, "nDCG@10")) == "nDCG@10"


@pytest.mark.parametrize("asked", ["Recall@50", "recall", "MAP@10"])
def test_a_measure_that_is_not_reported_is_refused(asked: str) -> None:
    with pytest.raises(InputError):
        primary_measure(1000, asked)


def test_only_measures_without_ranks_need_the_top_beside_them() -> None:
    assert [has_top(primary_measure(1000, name)) for name in ("Recall@30", "nDCG@10", "RR@10")] == [
        True,
        False,
        False,
    ]


def test_a_score_at_the_top_that_is_not_a_number_is_seen() -> None:
    scores = _scores()
    broken = np.array(scores.joint)
    broken[0, 0] = np.inf
    assert why_degenerate(scores) is None
    found = why_degenerate(replace(scores, top=(broken, scores.plain, scores.control)))
    assert found is not None
    assert "not numbers" in found


def test_k_over_half_of_the_catalog_is_told_of_the_measure_that_decides() -> None:
    scores = replace(_scores(), catalog=18, measure=primary_measure(18))
    assert "the first 10 ranks are more than half of the catalog of 18" in str(
        why_degenerate(scores)
    )
    assert why_degenerate(replace(scores, catalog=20)) is None


def test_two_seeds_show_a_little_and_one_nothing() -> None:
    assert why_too_few_seeds(_scores(3)) is None
    assert why_too_few_seeds(_scores(2)) is None
    assert why_too_few_seeds(_scores(1)) is not None
    assert why_too_few_seeds(replace(_scores(5), joint=_scores(1).joint)) is None
    assert why_too_few_seeds(replace(_scores(1), joint=_scores(2).joint)) is not None


def test_at_the_ceiling_the_room_is_what_counts() -> None:
    scores = replace(_scores(), plain=np.full((3, 100), 0.99))
    assert why_at_ceiling(scores, 0.05) is not None
    assert why_at_ceiling(scores, 0.005) is None
