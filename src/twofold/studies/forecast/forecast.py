"""A forecast from the data alone: how likely joint training helps or hurts a task.

A small multinomial logistic regression on `features`, fitted on an atlas of simulated worlds
(`benchmarks/atlas.py`) and shipped as a file of coefficients, with what it was worth on worlds that
it had not seen. A feature beyond the atlas counts as the atlas's end, and is named.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from twofold.records import Floats, Task, other_task
from twofold.studies.forecast.features import FEATURES, features
from twofold.studies.values import Probability, Value
from twofold.tasks.prepared import PreparedDataset

Outcome = Literal["helps", "neither", "hurts"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""Joint at least the smallest effect of interest above the task alone, between, or below."""

_MOST_ITEMS, _FEWEST_REQUESTS = 50_000, 20
"""No forecast is made for larger catalogs, where the probes take long, or for fewer requests of
validation."""
_FILE = Path(__file__).parent / "coefficients.json"


class Worth(Value):
    """What forecasts were worth on worlds that they were not fitted on."""

    worlds: int
    """Each gives two forecasts, one for each task."""
    accuracy: Probability
    """How often the likeliest outcome came."""
    brier: float
    """The mean squared error of the chances, summed over the outcomes; 0 is perfect."""
    base_accuracy: Probability
    """The same of who always says how often each outcome comes."""
    base_brier: float


class Coefficients(Value):
    """The shipped model."""

    features: Sequence[str]
    lowest: Sequence[float]
    """The ends of the atlas, by feature."""
    highest: Sequence[float]
    center: Sequence[float]
    scale: Sequence[float]
    weights: Sequence[Sequence[float]]
    """By outcome and standardised feature."""
    intercepts: Sequence[float]
    worth: Worth


class Forecast(Value):
    """What the data let expect of joint training for one task."""

    chances: Mapping[Outcome, Probability]
    beyond: Sequence[str]
    """Features that lie outside of the atlas."""

    @property
    def likeliest(self) -> Outcome:
        """The outcome with the largest chance."""
        return max(self.chances, key=lambda outcome: self.chances[outcome])


class Expected(Value):
    """One line of a forecast: a task, with item texts read or not."""

    task: Task
    text: Literal["with", "without"]
    helps: Probability
    neither: Probability
    hurts: Probability
    beyond: Sequence[str]
    """Features that lie outside of the atlas."""


class Expectation(Value):
    """What the data let expect of joint training, for every task."""

    expected: Sequence[Expected]
    worth: Worth

    @property
    def lines(self) -> list[str]:
        """In words, the worth of such forecasts first."""
        worth = self.worth
        right, usual = round(100 * worth.accuracy), round(100 * worth.base_accuracy)
        first = (
            f"forecast before training, fitted on {worth.worlds} small simulated worlds: accuracy "
            f"{right} % on held-out worlds (most frequent outcome: {usual} %), Brier score "
            f"{worth.brier:.2f} (base rates: {worth.base_brier:.2f})"
        )
        return [first, *(_line(each) for each in self.expected)]


def _line(expected: Expected) -> str:
    how = "with item text" if expected.text == "with" else "from behaviour"
    said = (
        f"{expected.task}, {how}: {other_task(expected.task)} helps {expected.helps:.0%}, "
        f"no difference {expected.neither:.0%}, hurts {expected.hurts:.0%}"
    )
    if not expected.beyond:
        return said
    return f"{said}; extrapolated in {', '.join(expected.beyond)}, so its accuracy is unknown"


def report_forecast(dataset: PreparedDataset) -> Expectation | None:
    """The forecasts for each task, from behaviour and, where there is text, with it; None where
    the data are too large for one, or too few."""
    made: Expectation | None = dataset.once(("forecast",), lambda: _expectation(dataset))
    dataset.forget("probe")  # tens of MB
    return made


def _expectation(dataset: PreparedDataset) -> Expectation | None:
    kinds: list[tuple[Literal["with", "without"], bool]] = [("without", False)]
    if any(dataset.catalog.texts):
        kinds.append(("with", True))
    expected = [
        Expected(
            task=task,
            text=kind,
            helps=made.chances["helps"],
            neither=made.chances["neither"],
            hurts=made.chances["hurts"],
            beyond=made.beyond,
        )
        for kind, text in kinds
        for task, made in forecasts(dataset, text=text).items()
    ]
    return Expectation(expected=expected, worth=coefficients().worth) if expected else None


def forecasts(dataset: PreparedDataset, *, text: bool = False) -> dict[Task, Forecast]:
    """The forecast for each task; none where the data are too large for it, or too few.

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
        beyond=[name for name, outside in zip(FEATURES, beyond, strict=True) if outside],
    )


def chances_of(model: Coefficients, values: Floats) -> Floats:
    """The chance of each of `OUTCOMES`, (W, 3), from the values of the features, (W, F)."""
    standard = (values - np.array(model.center)) / np.array(model.scale)
    logits = standard @ np.array(model.weights).T + np.array(model.intercepts)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Floats = shares / shares.sum(axis=1, keepdims=True)
    return chances


@cache
def coefficients() -> Coefficients:
    """The shipped model."""
    return Coefficients.model_validate_json(_FILE.read_text(encoding="utf-8"))
