"""The typed values in study.json: means and differences with their intervals.

Invariant: a value that was read from study.json and written again has the same keys.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import pydantic

from twofold.evaluation.multiple import benjamini_hochberg
from twofold.evaluation.significance import Estimate, mean
from twofold.records import Floats, Ints

Interval = tuple[float, float]
"""The lower and the upper bound of a 95 % interval."""

Probability = Annotated[float, pydantic.Field(ge=0, le=1)]

DISCOVERY_RATE = 0.05
"""The share of false findings among those that an exploratory table marks."""

BySeed = Annotated[Sequence[float], pydantic.Field(min_length=1)]
"""One value for each seed of an arm."""


class Value(pydantic.BaseModel):
    """The base class of every part of a result: it is immutable and rejects unknown keys."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class Mean(Value):
    """The mean of one measure over requests and seeds."""

    mean: float
    interval: Interval
    by_seed: BySeed

    @classmethod
    def of(cls, scores: Floats, clusters: Ints) -> "Mean":
        """The mean of scores (S, R) of requests in clusters (R,); with folds, a score is NaN if the
        seed does not test the request."""
        estimate = mean(scores, clusters)
        by_seed = np.nanmean(scores, axis=1).tolist()
        return cls(mean=estimate.value, interval=estimate.interval(), by_seed=by_seed)


class Difference(Value):
    """A difference of two means, or of two sums of means."""

    difference: float
    interval: Interval

    @classmethod
    def of(cls, estimate: Estimate) -> "Difference":
        """The value of an estimate, and its 95 % interval."""
        return cls(difference=estimate.value, interval=estimate.interval())

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside the interval."""
        low, high = self.interval
        return low > 0 or high < 0


class CorrectedDifference(Difference):
    """A difference in a table of exploratory tests."""

    p: Probability
    """The two-sided p-value."""
    p_adjusted: Probability
    """The p-value after the Benjamini-Hochberg correction over its table."""

    @classmethod
    def table(cls, estimates: Sequence[Estimate]) -> list["CorrectedDifference"]:
        """The differences of one table, corrected for multiple testing."""
        p_values = [estimate.p_value for estimate in estimates]
        return [
            cls(
                difference=estimate.value,
                interval=estimate.interval(),
                p=estimate.p_value,
                p_adjusted=adjusted,
            )
            for estimate, adjusted in zip(estimates, benjamini_hochberg(p_values), strict=True)
        ]

    @property
    def stands_out(self) -> bool:
        """Whether the difference is significant at a false discovery rate of .05 over its table."""
        return self.p_adjusted <= DISCOVERY_RATE


class SeedMean(Value):
    """A mean over the seeds, without an interval."""

    mean: float
    by_seed: BySeed

    @classmethod
    def of(cls, values: Sequence[float]) -> "SeedMean":
        """The mean of one value for each seed."""
        return cls(mean=float(np.mean(values)), by_seed=values)


Measures = Mapping[str, Mean]
"""The means of one arm in one task, by measure."""
