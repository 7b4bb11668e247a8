"""The power of a future study, by seeds and test requests.

Power is the share of simulated studies with a verdict, see `future_studies`. They draw the seed
variance from its posterior, so a probability of 80 % includes its uncertainty.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import pydantic

from twofold.evaluation.sequential import LOOKS
from twofold.evaluation.significance import Moments
from twofold.studies.statistics.future_studies import USUAL_SEED_DEVIATION, FutureStudies, Pilot
from twofold.studies.values import Probability, Value

AIM = 0.8
"""The probability of a verdict for which a study is planned."""
_POSSIBLE = 0.9
"""The level of the interval of differences for which a study is planned."""

_MOST_SEEDS = 64
"""The largest number of seeds that is considered."""
_DOUBLINGS = 10
"""How often the number of test requests may double."""
_MORE_SEEDS = (5, 8, 12, 20, 32)
"""The numbers of seeds that are tried with more test requests, if neither alone decides."""


class Needed(Value):
    """The seeds or test requests that decide in four of five studies; None if no number does."""

    requests: int | None
    """The number of test requests, with the present seeds."""
    seeds: int | None
    """The number of seeds, with the present test requests."""
    together_seeds: int | None = None
    """If neither alone decides: the number of seeds with `together_requests` test requests."""
    together_requests: int | None = None
    of_each_seed: bool = pydantic.Field(default=False, exclude=True)
    """Whether the test requests are those of each seed, which differ between seeds; in study.json
    this is a field of the verdict."""


class Plan(Value):
    """The probability of each verdict of a study, by its seeds and test requests."""

    seeds: int
    """The number of seeds."""
    requests: int
    """The number of test requests."""
    effect: float
    """The true difference, in units of the smallest effect of interest."""
    helps: Probability
    hurts: Probability
    no_material_difference: Probability
    not_enough_data: Probability


def needed(moments: Moments, requests: int, sesoi_share: float) -> Needed:
    """The seeds or test requests with which a new study decides with a probability of 80 %.

    The measured difference is uncertain, and a study planned for it alone is often too small. So
    the plan must decide for every difference that is plausible after the study and that a study can
    decide: no difference, and one of at least twice the smallest effect of interest.

    Args:
        moments: the moments of joint, plain and control in a study that did not decide.
        requests: its number of test requests.
    """
    pilot = Pilot.of(moments)
    sesoi = sesoi_share * float(pilot.means[1])
    futures = [
        FutureStudies(pilot, sesoi_share, (size, size))
        for size in _possible_differences(moments, sesoi)
    ]

    def decides(seeds: int, times: float) -> bool:
        return all(1 - future.chances(seeds, times).not_enough_data >= AIM for future in futures)

    def enough_requests(seeds: int, low: int = 1) -> int | None:
        steps = _smallest(lambda step: decides(seeds, 2 ** (step / 4)), low, 4 * _DOUBLINGS)
        return None if steps is None else math.ceil(requests * 2 ** (steps / 4))

    least = max(pilot.seeds, 2)
    alone = Needed(
        of_each_seed=moments.folded,
        requests=enough_requests(least),
        seeds=_smallest(lambda number: decides(number, 1.0), least + 1, _MOST_SEEDS),
    )
    if alone.requests or alone.seeds:
        return alone
    for seeds in (look for look in _MORE_SEEDS if look > least):
        if (enough := enough_requests(seeds)) is not None:
            return alone.model_copy(update={"together_seeds": seeds, "together_requests": enough})
    return alone


def _possible_differences(moments: Moments, sesoi: float) -> list[float]:
    """True differences to plan for: plausible after the study, and decidable by a larger one."""
    bounds = [
        bound
        for weights in ((1, -1, 0), (1, 0, -1))
        for bound in moments.contrast(weights).interval(_POSSIBLE)
    ]
    low, high = min(bounds), max(bounds)
    effects = [0.0] if low < sesoi / 2 and high > -sesoi / 2 else []
    if high > 2 * sesoi:
        effects.append(max(2 * sesoi, low))
    if low < -2 * sesoi:
        effects.append(min(-2 * sesoi, high))
    return effects or [high if abs(high) > abs(low) else low]


def _smallest(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number that meets a condition, if all larger numbers meet it as well."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def power_table(
    moments: Moments,
    requests: int,
    sesoi_share: float,
    *,
    seed_deviation: float = USUAL_SEED_DEVIATION,
    redrawn: float = 0.0,
    looks: Sequence[int] = LOOKS,
    times: Sequence[float] = (1.0, 4.0),
    effects: Sequence[float] = (0.0, 1.0, 2.0, 4.0),
) -> list[Plan]:
    """The probability of each verdict by seeds, test requests and true effect, from a first study.

    Args:
        moments: the moments of joint, plain and control in the first study of one seed or more.
        requests: its number of test requests.
        sesoi_share: the smallest effect of interest, as a share of the plain arm's mean.
        seed_deviation, redrawn: as in `Pilot.of`.
        looks: the numbers of seeds, each as a separate study.
        times: multiples of the test requests.
        effects: the true joint - plain and joint - control, in units of the smallest effect of
            interest.
    """
    pilot = Pilot.of(moments, seed_deviation, redrawn)
    rows = []
    for effect in effects:
        difference = effect * sesoi_share * float(pilot.means[1])
        futures = FutureStudies(pilot, sesoi_share, (difference, difference))
        for seeds in looks:
            for multiple in times:
                chances = futures.chances(seeds, multiple)
                size = round(requests * multiple)
                rows.append(Plan(seeds=seeds, requests=size, effect=effect, **asdict(chances)))
    return rows
