"""The regression of an item's gain."""

import numpy as np
import pytest

from twofold.studies.analyses.wins import weighted_least_squares


def test_regression_recovers_what_was_put_in() -> None:
    rng = np.random.default_rng(0)
    design = np.stack([np.ones(4000), rng.normal(size=4000), rng.normal(size=4000)], axis=1)
    weights = rng.integers(1, 9, 4000).astype(float)
    outcome = design @ [0.1, 0.5, 0.0] + rng.normal(size=4000) / np.sqrt(weights)
    values, errors = weighted_least_squares(design, outcome, weights)
    assert values == pytest.approx([0.1, 0.5, 0.0], abs=4 * errors.max())
    # With weights that are the inverse variances, the classical errors are right too.
    classical = np.sqrt(np.diag(np.linalg.inv(design.T @ (design * weights[:, None]))))
    assert errors == pytest.approx(classical, rel=0.1)
