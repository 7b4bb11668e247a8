"""Corrections for several tests, against statsmodels where it has them."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from twofold.evaluation.multiple import benjamini_hochberg, holm


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04]) == pytest.approx([0.02, 0.04])
    assert holm([0.04, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_weighted_holm_by_hand() -> None:
    """At first the one has .8 of the error, the other .2; a rejected one leaves its part."""
    assert holm([0.03, 0.04], [0.8, 0.2]) == pytest.approx([0.0375, 0.04])
    assert holm([0.045, 0.005], [0.8, 0.2]) == pytest.approx([0.045, 0.025])
    assert holm([0.045, 0.02], [0.8, 0.2]) == pytest.approx([0.05625, 0.05625])


def test_weights_that_are_equal_change_nothing() -> None:
    p_values = list(np.random.default_rng(0).random(9) ** 3)
    assert holm(p_values, [0.3] * 9) == pytest.approx(holm(p_values))


def test_benjamini_hochberg_by_hand() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.5]) == pytest.approx(
        [0.04, 0.16 / 3, 0.16 / 3, 0.5]
    )
    assert benjamini_hochberg([]) == []


def test_statsmodels_agrees() -> None:
    p_values = np.random.default_rng(1).random(40) ** 4
    for ours, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        theirs = multipletests(p_values, method=method)[1]
        assert ours(list(p_values)) == pytest.approx(theirs)
