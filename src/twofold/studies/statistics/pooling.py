"""Partial pooling: differences of one kind, each shrunk towards their mean.

The largest of many slices is partly large by chance. If the slices differ by no more than their
standard errors, every estimate becomes the mean of all; if they clearly differ, the estimates stay
as they are. The model is a normal hierarchical model with an effect of each slice and a standard
deviation between them (Rubin 1981), which is integrated on a grid, since few slices leave it
uncertain.
"""

from collections.abc import Sequence

import numpy as np

from twofold.evaluation.significance import Estimate
from twofold.records import Floats
from twofold.studies.values import Difference

_FEWEST = 3
"""With fewer differences, their spread cannot be estimated, and they are not shrunk."""
_GRID = 200
_NORMAL_95 = 1.959964


def pooled(estimates: Sequence[Estimate]) -> list[Difference]:
    """The differences with 95 % intervals after partial pooling, as if they were independent.

    Args:
        estimates: estimates of one kind, such as the slices of one slicing.
    """
    errors = np.array([estimate.standard_error for estimate in estimates])
    if len(estimates) < _FEWEST or not (errors > 0).all():
        return [Difference.of(estimate) for estimate in estimates]
    values, deviations = posterior(np.array([e.value for e in estimates]), errors)
    halves = _NORMAL_95 * deviations
    return [
        Difference(difference=float(value), interval=(float(value - half), float(value + half)))
        for value, half in zip(values, halves, strict=True)
    ]


def posterior(values: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """The posterior means and standard deviations of the true values, (K,) each.

    Args:
        values: the measured values, (K,).
        errors: their standard errors, (K,), above 0.
    """
    reach = 2 * float(np.ptp(values)) + 2 * float(errors.max())
    spread = ((np.arange(_GRID) + 0.5) / _GRID * reach)[:, None]  # (G, 1); a uniform prior
    total = errors**2 + spread**2  # (G, K)
    certainty = (1 / total).sum(axis=1, keepdims=True)
    middle = (values / total).sum(axis=1, keepdims=True) / certainty
    log_weight = -0.5 * (np.log(total) + (values - middle) ** 2 / total).sum(axis=1)
    log_weight -= 0.5 * np.log(certainty[:, 0])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    kept = spread**2 / total
    means = kept * values + (1 - kept) * middle
    variances = kept * errors**2 + (1 - kept) ** 2 / certainty
    mean = weight @ means
    variance = weight @ (variances + (means - mean) ** 2)
    return mean, np.sqrt(variance)
