"""Corrections for multiple tests."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Holm's step-down adjustment: adjusted p-values in the order given.

    It is the closed test whose intersections are tested by Bonferroni's rule, or with weights by
    the weighted one: a hypothesis with a larger weight is easier to reject (Holm, 1979).

    Args:
        weights: positive, one for each p-value; all equal by default.
    """
    shares = np.ones(len(p_values)) if weights is None else np.asarray(weights, dtype=np.float64)
    adjusted = [0.0] * len(p_values)
    largest, remaining = 0.0, float(shares.sum())
    for number in sorted(range(len(p_values)), key=lambda n: p_values[n] / shares[n]):
        largest = max(largest, min(1.0, p_values[number] * remaining / float(shares[number])))
        adjusted[number] = largest
        remaining = max(remaining - float(shares[number]), 0.0)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a table of exploratory tests, in the order given.

    They control the false discovery rate: of the rows with an adjusted p-value of at most .05, an
    expected share of at most .05 has no effect (Benjamini and Hochberg, 1995).
    """
    if not p_values:
        return []
    return [float(p) for p in stats.false_discovery_control(np.asarray(p_values), method="bh")]
