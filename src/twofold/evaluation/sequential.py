"""Alpha spending: interim analyses (looks) of a study that adds seeds until it has a verdict.

A study that is analysed after every few seeds, and ends at the first significant result, can have a
false positive at each look. Lan and DeMets spend the error over the looks: up to look k, a spending
function of the share of the seeds so far says how much of the error is used. The function here is
their form of Pocock's, which gives much of the error to the early looks, since seeds are expensive.

The levels are exact if all variance comes from seeds. If some comes from the test requests, which
all looks share, the looks are more correlated and the error is smaller.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from twofold.records import Floats, InputError

LOOKS = (3, 5, 8, 12)
"""The numbers of seeds after which a growing study has a look."""

_POINTS = 1200
_LOWEST = -9.0
"""The integrals begin this many standard deviations below 0."""


def level(looks: Sequence[int], seeds: int, alpha: float) -> float:
    """The level of the one-sided test at the look after `seeds` seeds.

    Args:
        looks: the number of seeds at every planned look, ascending; all of the error is spent at
            the last one.
        seeds: the number of seeds at this look; an unplanned look is inserted among the others.
        alpha: the error of all looks together.

    Raises:
        InputError: the plan ends before this look, or is not ascending.
    """
    if list(looks) != sorted(set(looks)) or not looks or looks[0] < 1:
        raise InputError(f"looks {list(looks)}: give numbers of seeds, each larger than the last")
    if seeds > looks[-1]:
        raise InputError(
            f"{seeds} seeds: the plan of looks ends at {looks[-1]}, and its error is spent there"
        )
    taken = (*(look for look in looks if look < seeds), seeds)
    return _levels(tuple(look / looks[-1] for look in taken), alpha)[-1]


def looks_until(most: int, taken: Sequence[int] = ()) -> list[int]:
    """The looks of a study that grows to `most` seeds unless it has a verdict before.

    Args:
        taken: the numbers of seeds at the looks so far, ascending.
    """
    begun = taken[-1] if taken else 0
    return sorted({*taken, *(look for look in LOOKS if begun < look < most), max(most, begun)})


def planned_looks(taken: Sequence[int]) -> list[int]:
    """The plan of a study with added seeds: the looks so far, and those that may follow.

    Args:
        taken: the numbers of seeds at the looks so far, ascending.
    """
    return sorted({*taken, *(look for look in LOOKS if look > taken[-1])})


def spent(fraction: float) -> float:
    """The share of the error that may be used after `fraction` of the seeds."""
    return math.log(1 + (math.e - 1) * fraction)


@lru_cache
def _levels(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """The one-sided level of each look (Armitage, McPherson and Rowe's recursion).

    The sum over the seeds is a Brownian motion at times `fractions`; paths that have not crossed
    the boundary at a look continue to the next one.
    """
    levels: list[float] = []
    density: Floats | None = None
    points = np.zeros(1)
    used = before = 0.0
    for fraction in fractions:
        share, step = alpha * spent(fraction) - used, math.sqrt(fraction - before)
        boundary = _boundary(points, density, step, share)
        levels.append(float(special.ndtr(-boundary / math.sqrt(fraction))))
        ahead = np.linspace(_LOWEST * math.sqrt(fraction), boundary, _POINTS)
        density, points = _advance(points, density, ahead, step), ahead
        used, before = used + share, fraction
    return tuple(levels)


def _boundary(points: Floats, density: Floats | None, step: float, share: float) -> float:
    """The sum above which the probability is `share` after a step."""

    def excess(boundary: float) -> float:
        above = special.ndtr((points - boundary) / step)
        total = above[0] if density is None else np.trapezoid(above * density, points)
        return float(total) - share

    return float(optimize.brentq(excess, -5.0, 12.0))


def _advance(points: Floats, density: Floats | None, ahead: Floats, step: float) -> Floats:
    """The density of the sum at the places `ahead`, after a step from `points`."""
    apart = (ahead[:, None] - points[None, :]) / step
    move = np.exp(-(apart**2) / 2) / (step * math.sqrt(2 * math.pi))
    if density is None:
        return np.asarray(move[:, 0])
    return np.asarray(np.trapezoid(move * density, points, axis=1))
