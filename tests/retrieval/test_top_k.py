"""Exact top-k against sorting everything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twofold.evaluation.measures import tie_order
from twofold.retrieval.top_k import top_k


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 30)),
        elements=st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 3.0]),
    ),
    st.integers(1, 40),
)
def test_equals_sorting_everything(scores: np.ndarray, k: int) -> None:
    columns, values = top_k(scores, k)
    for row, best, value in zip(scores.tolist(), columns.tolist(), values.tolist(), strict=True):
        expected = sorted(range(len(row)), key=lambda n: (-row[n], n))[:k]
        assert best == expected
        assert value == [row[n] for n in expected]


def test_ties_go_to_the_larger_id() -> None:
    assert tie_order(["10", "9", "b", "a"]).tolist() == [2, 3, 1, 0]
