"""A forecast from the data alone: the probabilities that joint training helps or hurts a task.

The model is a small multinomial logistic regression on `features`, fitted on an atlas of simulated
worlds (`benchmarks/atlas.py`). Its coefficients are shipped with its accuracy on held-out worlds. A
feature outside the range of the atlas is clipped to that range, and reported.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from twofold.records import Floats, Task, other_task
from twofold.studies.forecast.features import DESCRIPTIONS, FEATURES, features
from twofold.studies.values import Probability, Value
from twofold.tasks.prepared import PreparedDataset

Outcome = Literal["helps", "neither", "hurts"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""Whether joint is above the single-task arm by the smallest effect of interest or more, within
that distance, or below by as much."""

_MOST_ITEMS, _FEWEST_REQUESTS = 50_000, 20
"""No forecast is made for larger catalogs, since the probes take long, or with fewer validation
requests."""
_FILE = Path(__file__).parent / "coefficients.json"


class Worth(Value):
    """The accuracy of forecasts on held-out worlds."""

    worlds: int
    """The number of worlds; each has two forecasts, one for each task."""
    accuracy: Probability
    """How often the most likely outcome was right."""
    brier: float
    """The Brier score: the mean squared error of the probabilities, summed over the outcomes."""
    base_accuracy: Probability
    """How often the most frequent outcome occurs: the accuracy of always forecasting it."""
    base_brier: float
    """The Brier score of always forecasting the base rates."""


class Coefficients(Value):
    """The coefficients of the shipped model."""

    features: Sequence[str]
    lowest: Sequence[float]
    """The smallest value in the atlas, by feature."""
    highest: Sequence[float]
    """The largest value in the atlas, by feature."""
    center: Sequence[float]
    scale: Sequence[float]
    weights: Sequence[Sequence[float]]
    """The coefficients by outcome and standardised feature."""
    intercepts: Sequence[float]
    worth: Worth


class Forecast(Value):
    """The forecast of joint training's effect on one task."""

    chances: Mapping[Outcome, Probability]
    features: Mapping[str, float]
    """The value of each of `FEATURES`."""
    beyond: Sequence[str]
    """The features outside the range of the atlas."""

    @property
    def likeliest(self) -> Outcome:
        """The most probable outcome."""
        return max(self.chances, key=lambda outcome: self.chances[outcome])


class Expected(Value):
    """One line of a forecast: a task, for models with or without item text."""

    task: Task
    text: Literal["with", "without"]
    helps: Probability
    neither: Probability
    hurts: Probability
    beyond: Sequence[str]
    """The features outside the range of the atlas."""
    features: Mapping[str, float] = {}
    """The features of the data from which the probabilities follow."""


class Expectation(Value):
    """The forecasts of joint training's effect, for every task."""

    expected: Sequence[Expected]
    worth: Worth

    @property
    def lines(self) -> list[str]:
        """The forecasts in words, after a line about their accuracy; then where each task is in the
        figure of the atlas, which is from behaviour."""
        worth = self.worth
        first = (
            f"The probabilities of joint training's effects are forecast from the data alone. The "
            f"forecast is fitted on {worth.worlds} small simulated worlds. On held-out worlds, its "
            f"most probable effect is the true one in {_percent(worth.accuracy)} (always the most "
            f"frequent effect: {_percent(worth.base_accuracy)}), and its Brier score is "
            f"{worth.brier:.2f} (base rates: {worth.base_brier:.2f})."
        )
        shown = [each for each in self.expected if each.text == "without" and each.features]
        return [first, *map(_line, self.expected), *map(_place, shown)]


def _line(expected: Expected) -> str:
    how = "with item text" if expected.text == "with" else "from behaviour"
    chances = (
        f"{other_task(expected.task)} helps {expected.task}, {how}: {_percent(expected.helps)}; no "
        f"material difference: {_percent(expected.neither)}; hurts: {_percent(expected.hurts)}"
    )
    if not expected.beyond:
        return chances
    outside = ", ".join(DESCRIPTIONS[name] for name in expected.beyond)
    return f"{chances} (a guess: these data lie outside of all simulated worlds in {outside})"


def _place(expected: Expected) -> str:
    """The two features of a task that are the axes of the figure."""
    gain, targets = expected.features["pairs_gain"], 10 ** expected.features["log_own_targets"]
    return (
        f"in the figure of docs/guides/atlas.md, {expected.task} is at {gain:+.2f} "
        f"({DESCRIPTIONS['pairs_gain']}) and at {targets:.3g} ({DESCRIPTIONS['log_own_targets']})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def report_forecast(dataset: PreparedDataset) -> Expectation | None:
    """The forecasts for each task, from behaviour and, if there is item text, with it; None if the
    data are too large or too small for a forecast."""
    expectation: Expectation | None = dataset.cached(("forecast",), lambda: _expectation(dataset))
    dataset.clear_cached("probe")  # tens of MB
    return expectation


def _expectation(dataset: PreparedDataset) -> Expectation | None:
    """The forecasts of a dataset; None if it has none."""
    kinds: list[tuple[Literal["with", "without"], bool]] = [("without", False)]
    if any(dataset.catalog.texts):
        kinds.append(("with", True))
    expected = [
        Expected(
            task=task,
            text=kind,
            helps=forecast.chances["helps"],
            neither=forecast.chances["neither"],
            hurts=forecast.chances["hurts"],
            beyond=forecast.beyond,
            features=forecast.features,
        )
        for kind, text in kinds
        for task, forecast in forecasts(dataset, text=text).items()
    ]
    return Expectation(expected=expected, worth=coefficients().worth) if expected else None


def forecasts(dataset: PreparedDataset, *, text: bool = False) -> dict[Task, Forecast]:
    """The forecast for each task; empty if the data are too large or too small for a forecast.

    Args:
        dataset: the dataset; its test requests are not read.
        text: whether models read the items' texts.
    """
    few = any(
        len(dataset.task(task).requests("validation").requests) < _FEWEST_REQUESTS
        or not dataset.task(task).examples
        for task in dataset.tasks
    )
    if len(dataset.tasks) < 2 or few or len(dataset.catalog) > _MOST_ITEMS:
        return {}
    return {task: forecast(features(dataset, task, text=text)) for task in dataset.tasks}


def forecast(values: Floats) -> Forecast:
    """The forecast from the values of `FEATURES`."""
    model = coefficients()
    low, high = np.array(model.lowest), np.array(model.highest)
    chances = chances_of(model, np.clip(values, low, high)[None, :])[0]
    margin = 1e-9 + 0.02 * (high - low)
    beyond = (values < low - margin) | (values > high + margin)
    return Forecast(
        chances=dict(zip(OUTCOMES, chances.tolist(), strict=True)),
        features=dict(zip(FEATURES, values.tolist(), strict=True)),
        beyond=[name for name, outside in zip(FEATURES, beyond, strict=True) if outside],
    )


def chances_of(model: Coefficients, values: Floats) -> Floats:
    """The probability of each of `OUTCOMES`, (W, 3), from the values of the features, (W, F)."""
    standard = (values - np.array(model.center)) / np.array(model.scale)
    logits = standard @ np.array(model.weights).T + np.array(model.intercepts)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Floats = shares / shares.sum(axis=1, keepdims=True)
    return chances


@cache
def coefficients() -> Coefficients:
    """The shipped model."""
    return Coefficients.model_validate_json(_FILE.read_text(encoding="utf-8"))
