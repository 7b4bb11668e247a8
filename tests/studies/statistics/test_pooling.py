"""Partial pooling of slices."""

import numpy as np
import pytest

from twofold.evaluation.significance import mean
from twofold.records import Floats
from twofold.studies.statistics.pooling import pooled, posterior


def test_slices_that_differ_by_chance_alone_are_drawn_together() -> None:
    """By most of their distance; equal ones keep the mean, and gain certainty."""
    values, errors = np.array([0.01, 0.03, -0.02, 0.02]), np.full(4, 0.02)
    found, deviations = posterior(values, errors)
    assert np.ptp(found) < 0.6 * np.ptp(values)
    assert found.mean() == pytest.approx(values.mean())
    assert (deviations < errors).all()


def test_slices_that_surely_differ_stay_what_they_are() -> None:
    values, errors = np.array([0.5, -0.5, 0.0, 0.2]), np.full(4, 0.01)
    found, deviations = posterior(values, errors)
    assert found == pytest.approx(values, abs=0.002)
    assert deviations == pytest.approx(errors, rel=0.05)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 3.0])
def test_intervals_cover_and_err_less_than_the_slices_alone(spread: float) -> None:
    """Over drawn truths, with 4 slices of different errors: 95 %, never far below."""
    rng = np.random.default_rng([3, int(10 * spread)])
    errors = np.array([0.5, 1.0, 1.0, 2.0])
    covered, own_error, pooled_error = [], 0.0, 0.0
    for _ in range(1500):
        truth = 0.3 + spread * rng.standard_normal(4)
        values: Floats = truth + errors * rng.standard_normal(4)
        found, deviations = posterior(values, errors)
        covered.append(np.abs(found - truth) <= 1.96 * deviations)
        own_error += float(((values - truth) ** 2).mean())
        pooled_error += float(((found - truth) ** 2).mean())
    assert 0.935 <= np.mean(covered) <= 0.995
    assert pooled_error < own_error


def test_two_slices_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    two = [mean(rng.normal(level, 1, (1, 50)), np.arange(50)) for level in (0, 1)]
    assert [each.difference for each in pooled(two)] == [estimate.value for estimate in two]
