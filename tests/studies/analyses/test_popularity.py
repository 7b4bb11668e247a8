"""H1: popularity counted again by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.evaluation.runs import rank
from twofold.records import Run
from twofold.studies.analyses.popularity import (
    gini,
    retrieved_counts,
    retrieved_divergence,
)

small_counts = st.lists(st.integers(0, 50), min_size=2, max_size=60)


def test_a_run_of_popular_items_diverges_least_from_a_popular_test() -> None:
    test = np.array([50, 30, 10, 0, 0])
    positions = {str(n): n for n in range(5)}
    likely = Run("a", {"q": rank([("0", 2.0), ("1", 1.0)])})
    unlikely = Run("b", {"q": rank([("3", 2.0), ("4", 1.0)])})
    near, far = (
        retrieved_divergence(retrieved_counts(r, positions), test) for r in (likely, unlikely)
    )
    assert near < far


@settings(max_examples=50)
@given(small_counts)
def test_gini_is_the_mean_difference_over_twice_the_mean(counts: list[int]) -> None:
    values = np.array(counts)
    apart = np.abs(values[:, None] - values[None, :]).mean()
    expected = apart / (2 * values.mean()) if values.sum() else 0.0
    assert gini(values) == pytest.approx(expected)
