"""The decomposition of a task's gain from joint training.

The cells are means of one task. In the 2 x 2 it is trained jointly with the other task's data
*real*, *shuffled* (popularity without content), *flattened* (pairs without popularity) and *noise*
(neither). The gain of real data over noise is divided between popularity and content by their
Shapley values: each factor's effect, averaged over the presence and absence of the other. The gain
of joint over the plain arm is divided into longer training, popularity, and pairs.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from twofold.evaluation.significance import Estimate, Moments
from twofold.records import Floats, Ints
from twofold.studies.interventions import PLACEBOS
from twofold.studies.values import Difference, Interval, Value

CellName = Literal[
    "real", "shuffled", "flattened", "noise", "absent", "random-weights", "plain", "control"
]
CELLS: tuple[CellName, ...] = ("real", "shuffled", "flattened", "noise")
"""The cells of the 2 x 2."""
ALL_CELLS: tuple[CellName, ...] = (*CELLS, *PLACEBOS, "plain", "control")
"""The cells of the 2 x 2, its placebos, and the two arms that learn the helped task alone."""


class Quantity(NamedTuple):
    """A weighted sum of the cells' means.

    Attributes:
        name: its name in the report.
        weights: the weight of each cell that is part of it.
    """

    name: str
    weights: Mapping[CellName, float]


QUANTITIES: Mapping[str, Quantity] = {
    "gain_over_plain": Quantity("joint − plain", {"real": 1, "plain": -1}),
    "training": Quantity("longer training: control − plain", {"control": 1, "plain": -1}),
    "popularity_alone": Quantity(
        "popularity alone: absent − control", {"absent": 1, "control": -1}
    ),
    "pairs": Quantity("pairs: joint − absent", {"real": 1, "absent": -1}),
    "gain": Quantity("joint − noise", {"real": 1, "noise": -1}),
    "popularity": Quantity(
        "popularity (H1)", {"real": 0.5, "shuffled": 0.5, "flattened": -0.5, "noise": -0.5}
    ),
    "content": Quantity(
        "content (H2)", {"real": 0.5, "shuffled": -0.5, "flattened": 0.5, "noise": -0.5}
    ),
    "popularity_minus_content": Quantity("H1 − H2", {"shuffled": 1, "flattened": -1}),
    "interaction": Quantity(
        "interaction", {"real": 1, "shuffled": -1, "flattened": -1, "noise": 1}
    ),
    "shuffled_minus_noise": Quantity("shuffled − noise", {"shuffled": 1, "noise": -1}),
    "flattened_minus_noise": Quantity("flattened − noise", {"flattened": 1, "noise": -1}),
    "wrong_pairs": Quantity("wrong pairs: shuffled − absent", {"shuffled": 1, "absent": -1}),
    "weights_alone": Quantity(
        "weights alone: random weights − joint", {"random-weights": 1, "real": -1}
    ),
    "noise_minus_plain": Quantity("noise − plain", {"noise": 1, "plain": -1}),
}
"""Every quantity, by its field in `Parts`, in the order of the report. `training`,
`popularity_alone` and `pairs` sum to `gain_over_plain`; `popularity` and `content` sum to `gain`.
"""

_WIDEST_SHARE = 1.0
"""No share is given if its interval is wider than this."""

Finding = Literal[
    "popularity",
    "content",
    "both",
    "only together",
    "cannot be told apart",
    "not what noise lacks",
    "no gain",
]
"""The possible findings, as in study.json."""


class Shares(Value):
    """Popularity and content as shares of the gain."""

    popularity: float
    content: float
    popularity_interval: Interval
    """The 95 % interval by Fieller's method."""
    content_interval: Interval


class Parts(Value):
    """The parts of one task's gain, and the finding."""

    means: dict[CellName, float]
    gain_over_plain: Difference
    """Joint minus the plain arm."""
    training: Difference
    """The step-matched control minus the plain arm."""
    popularity_alone: Difference
    """Joint with the added task's targets in random contexts (absent), minus the control."""
    pairs: Difference
    """Joint minus joint with the added task's targets in random contexts (absent)."""
    gain: Difference
    """Joint with real data minus joint with noise."""
    popularity: Difference
    content: Difference
    popularity_minus_content: Difference
    interaction: Difference
    shuffled_minus_noise: Difference
    """The effect of popularity without content."""
    flattened_minus_noise: Difference
    """The effect of content without popularity."""
    wrong_pairs: Difference
    """Shuffled minus absent: the effect of wrong pairs."""
    weights_alone: Difference
    """Joint with the weights of flattened on random targets, minus joint."""
    noise_minus_plain: Difference
    shares: Shares | None
    """None if the interval of the gain includes 0, or the interval of a share is wider than 1."""
    finding: Finding

    @property
    def quantities(self) -> dict[str, Difference]:
        """Each difference by its name in the report."""
        return {quantity.name: getattr(self, part) for part, quantity in QUANTITIES.items()}


def decompose(cells: Mapping[CellName, Floats], clusters: Ints) -> Parts:
    """The parts of the gain, with 95 % intervals, and the finding.

    Args:
        cells: the scores (S, R) of each of `ALL_CELLS`.
        clusters: the cluster of each request, (R,).
    """
    moments = Moments([cells[name] for name in ALL_CELLS], clusters)

    def estimate(weights: Mapping[CellName, float]) -> Estimate:
        return moments.contrast([weights.get(cell, 0.0) for cell in ALL_CELLS])

    estimates = {part: estimate(quantity.weights) for part, quantity in QUANTITIES.items()}
    parts = {name: Difference.of(value) for name, value in estimates.items()}
    return Parts(
        means={name: float(np.nanmean(cells[name])) for name in ALL_CELLS},
        **parts,
        shares=_shares(estimates, estimate) if parts["gain"].excludes_zero else None,
        finding=_finding(parts),
    )


def _shares(
    estimates: Mapping[str, Estimate], estimate: Callable[[Mapping[CellName, float]], Estimate]
) -> Shares | None:
    """Both parts as shares of the gain; None if the interval of a share is too wide."""
    gain = estimates["gain"].value
    popularity, content = estimates["popularity"].value / gain, estimates["content"].value / gain
    of_popularity = _share_interval("popularity", popularity, estimate)
    of_content = _share_interval("content", content, estimate)
    if of_popularity is None or of_content is None:
        return None
    return Shares(
        popularity=popularity,
        content=content,
        popularity_interval=of_popularity,
        content_interval=of_content,
    )


def _share_interval(
    part: str, share: float, estimate: Callable[[Mapping[CellName, float]], Estimate]
) -> Interval | None:
    """The interval of a part's share of the gain by Fieller's method: the shares `r` for which
    part - r x gain cannot be distinguished from 0; None if it is wider than `_WIDEST_SHARE`."""
    of_part, of_gain = QUANTITIES[part].weights, QUANTITIES["gain"].weights

    def rejected(share: float) -> bool:
        weights = {cell: of_part.get(cell, 0.0) - share * of_gain.get(cell, 0.0) for cell in CELLS}
        return Difference.of(estimate(weights)).excludes_zero

    low, high = (_bound(rejected, share, direction) for direction in (-1.0, 1.0))
    if low is None or high is None or high - low > _WIDEST_SHARE:
        return None
    return low, high


def _bound(rejected: Callable[[float], bool], start: float, direction: float) -> float | None:
    """The last share from `start` on that is not rejected; None if it is `_WIDEST_SHARE` away."""
    inside, outside = 0.0, _WIDEST_SHARE
    if not rejected(start + direction * outside):
        return None
    for _ in range(30):
        middle = (inside + outside) / 2
        inside, outside = (
            (inside, middle) if rejected(start + direction * middle) else (middle, outside)
        )
    return start + direction * inside


def _finding(parts: Mapping[str, Difference]) -> Finding:
    """The larger part if the two differ significantly, both if neither is 0, or else uncertain."""
    over_plain, gain = parts["gain_over_plain"], parts["gain"]
    if not (over_plain.excludes_zero and gain.excludes_zero):
        return "no gain"
    if over_plain.difference * gain.difference < 0:
        return "not what noise lacks"
    alone = (parts["shuffled_minus_noise"], parts["flattened_minus_noise"])
    interaction = parts["interaction"]
    together = interaction.excludes_zero and interaction.difference * gain.difference > 0
    if together and not any(part.excludes_zero for part in alone):
        return "only together"
    popularity, content = parts["popularity"], parts["content"]
    if parts["popularity_minus_content"].excludes_zero:
        larger = abs(popularity.difference) > abs(content.difference)
        return "popularity" if larger else "content"
    if popularity.excludes_zero and content.excludes_zero:
        return "both"
    return "cannot be told apart"
