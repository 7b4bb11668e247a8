"""The shipped forecast: its file, its words, and the worlds in which the truth is known."""

import numpy as np
import pytest

from twofold.studies.forecast.features import FEATURES, features
from twofold.studies.forecast.forecast import (
    OUTCOMES,
    coefficients,
    forecast,
    forecasts,
    report_forecast,
)
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


def test_the_shipped_coefficients_are_of_these_features_and_beat_the_base_rate() -> None:
    shipped = coefficients()
    assert tuple(shipped.features) == FEATURES
    assert np.array(shipped.weights).shape == (len(OUTCOMES), len(FEATURES))
    assert shipped.worth.brier < shipped.worth.base_brier
    assert shipped.worth.accuracy > shipped.worth.base_accuracy


def test_chances_sum_to_one_and_what_is_beyond_the_atlas_counts_as_its_end() -> None:
    shipped = coefficients()
    end = np.array(shipped.highest)
    place = FEATURES.index("log_items")
    far = end.copy()
    far[place] += 3
    near, beyond = forecast(end), forecast(far)
    assert sum(near.chances.values()) == pytest.approx(1)
    assert not near.beyond
    assert list(beyond.beyond) == ["log_items"]
    assert beyond.chances == near.chances


def test_help_is_likelier_where_the_other_task_tells_what_goes_together() -> None:
    told, untold = (
        forecasts(load_dataset(f"simulate:latent-search-helps:rho={rho},groups=40"))
        for rho in (1, 0)
    )
    assert told["recommendation"].likeliest == "helps"
    chances = [each["recommendation"].chances["helps"] for each in (told, untold)]
    assert chances[0] > chances[1] + 0.3


def test_the_report_says_what_to_expect_and_what_that_is_worth(catalog: PreparedDataset) -> None:
    made = report_forecast(catalog)
    assert made is not None
    assert [(each.task, each.text) for each in made.expected] == [
        (task, text) for text in ("without", "with") for task in catalog.tasks
    ]
    first, *said = made.lines
    assert "small simulated worlds" in first
    assert "base rate" in first
    assert said[0].startswith("recommendation helps search, from behaviour: ")
    assert "with item text" in said[2]


def test_the_report_says_where_the_data_are_in_the_figure_of_the_atlas(
    catalog: PreparedDataset,
) -> None:
    made = report_forecast(catalog)
    assert made is not None
    tasks = [each.task for each in made.expected if each.text == "without"]
    assert len(made.lines) == 1 + len(made.expected) + len(tasks)
    for task, line in zip(tasks, made.lines[-len(tasks) :], strict=True):
        values = dict(zip(FEATURES, features(catalog, task, text=False), strict=True))
        targets = catalog.task(task).popularity.sum() / len(catalog.catalog)
        assert f"{task} is at {values['pairs_gain']:+.2f} " in line
        assert f" at {targets:.3g} (the task's training targets per item)" in line
    earlier = [each.model_copy(update={"features": {}}) for each in made.expected]
    assert len(made.model_copy(update={"expected": earlier}).lines) == 1 + len(made.expected)


def test_nothing_is_expected_of_one_task_or_of_too_few_requests() -> None:
    few = load_dataset("simulate:mixed:users=12,tests=40")
    assert forecasts(few) == {}
    assert report_forecast(few) is None
