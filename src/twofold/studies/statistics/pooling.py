"""Partial pooling: differences of one kind, each drawn towards their mean.

The largest of many slices is large by luck too. Where the slices differ by no more than their
errors, what each says of itself is the mean of all; where they surely differ, each stays what it
is. A normal model with an effect of each slice and a spread between them (Rubin 1981), integrated
over the spread on a grid, so that few slices do not make it certain.
"""

from collections.abc import Sequence

import numpy as np

from twofold.evaluation.significance import Estimate
from twofold.records import Floats
from twofold.studies.values import Difference

_FEWEST = 3
"""Fewer differences say nothing of the spread between them, and stay as they are."""
_GRID = 200
_NORMAL_95 = 1.959964


def pooled(estimates: Sequence[Estimate]) -> list[Difference]:
    """The differences with 95 % intervals after partial pooling, as if they were independent.

    Args:
        estimates: of one kind, such as the slices of one slicing.
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
    """Means and standard deviations of the true values, (K,) each.

    Args:
        values: measured, (K,).
        errors: their standard errors, (K,), above 0.
    """
    reach = 2 * float(np.ptp(values)) + 2 * float(errors.max())
    spread = ((np.arange(_GRID) + 0.5) / _GRID * reach)[:, None]  # (G, 1); every one as likely
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
