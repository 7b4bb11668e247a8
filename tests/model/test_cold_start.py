"""The boost of new items at training queries, as one would count it."""

import numpy as np
import pytest
import scipy.sparse as sp

from twofold.model.cold_start import TrainingQueries


@pytest.fixture
def known() -> TrainingQueries:
    """Three items; `robots` is asked twice, and `western` has item 2 as its answer."""
    answers = [np.array([0]), np.array([2]), np.array([1])]
    return TrainingQueries.of(["robots", "western", "Robot"], answers, 3)


def test_equal_queries_have_one_key_and_all_their_answers(known: TrainingQueries) -> None:
    assert len(known.keys) == 2
    assert (np.diff(known.keys.astype(object)) > 0).all()
    assert sorted(np.diff(known.answers.indptr).tolist()) == [1, 2]


def test_the_boost_is_larger_where_a_neighbour_answers(known: TrainingQueries) -> None:
    near_western, near_nothing = [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]
    neighbours = sp.csr_array(np.array([near_western, near_nothing]).T)
    grown = known.with_items(neighbours)
    boosts = grown.boosts(["Westerns", "robot", "wedding"], trained=3)
    assert boosts.shape == (3, 2)
    assert boosts[0] == pytest.approx([0.28, 0.08])
    assert boosts[1] == pytest.approx([0.08, 0.08])
    assert not boosts[2].any(), "training never saw this query"


def test_without_training_queries_nothing_is_boosted() -> None:
    none = TrainingQueries.of([], [], 2).with_items(sp.csr_array(np.ones((2, 1))))
    assert not none.boosts(["robots"], trained=2).any()
