"""For how many steps an arm trains, how often it is validated, and its learning rate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twofold.model.vocabulary import EncodedExample
from twofold.records import Task
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig
from twofold.training.mixture import Mixture, mixture_of

_MAX_VALIDATIONS = 70
"""The joint arm is validated at most this often: where one task has little data, more validations
would take most of the time."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to stop and when to validate.

    Attributes:
        steps: the steps that the arm may take.
        cadence: the steps between two validations.
        patience: the steps without a better validation after which training stops.
    """

    steps: int
    cadence: int
    patience: int


def schedule_of(
    encoded: Mapping[Task, Sequence[EncodedExample]], arm: Arm, config: TrainingConfig, seed: int
) -> Schedule:
    """The arm makes as many epochs over its own data as `joint` makes over all data.

    A step-matched arm takes as many steps as `joint` instead. Every arm is validated at one
    cadence, at which the shortest has ten validations. Where the longest would then have more than
    seventy, it has seventy, and an arm too short for ten at that cadence is validated more often.
    An arm with settings of its own, on which no verdict depends, is validated as often as the
    configuration says.

    Args:
        encoded: the examples of every task of the dataset.
        arm: the arm that trains.
        config: the resolved configuration.
        seed: the random seed of the order of examples.
    """
    everything = mixture_of(encoded, tuple(encoded), config, seed)
    steps = _joint_steps(everything, config)
    share = steps / everything.batches_per_epoch
    plain = {
        task: max(1, round(share * batches))
        for task, batches in zip(encoded, everything.batches_by_source, strict=True)
    }
    trains_on_all = len(arm.tasks) == len(plain)
    own = steps if arm.step_matched or trains_on_all else sum(plain[task] for task in arm.tasks)
    common = min(steps // config.min_validations, min(plain.values()) // 10)
    common = max(common, steps // _MAX_VALIDATIONS)
    if arm.settings:
        common = steps // config.min_validations
    return Schedule(
        steps=own,
        cadence=max(1, min(common, own // 10)),
        patience=max(1, round(config.patience * steps)),
    )


def _joint_steps(everything: Mixture, config: TrainingConfig) -> int:
    """The steps of the joint arm."""
    if config.epochs:
        return max(1, round(config.epochs * everything.batches_per_epoch))
    return config.max_steps


def learning_rate_factor(step: int, steps: int, warmup_ratio: float) -> float:
    """The learning rate as a share of its peak: a linear rise, then a cosine down to a tenth.

    Args:
        step: the number of the step, from 0.
        steps: the steps that the arm may take.
        warmup_ratio: share of the steps in which the rate rises.
    """
    rise = max(1, round(warmup_ratio * steps))
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))
