"""The units of work of a study, several of which may run at once in different processes.

A unit is the tuning of one arm, one arm of one condition and seed, or the baselines. It reads and
writes the study's folder; `needs` lists the units that must be finished before it.

Invariant: the output of a unit depends neither on where it runs nor on the other running units.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits

from twofold import artifact
from twofold.baselines.selection import FROZEN, Baseline, every_baseline, quick_baselines
from twofold.studies.arms import TUNED, tuned_arm
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.conditions import Condition
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.questions import CONDITIONS, Text
from twofold.studies.trainings import (
    ArmTraining,
    IdentifiersOf,
    arms_before,
    identifiers_of,
    is_arm_trained,
    run_arm,
    run_baselines,
    tune_arm,
)
from twofold.tasks.folds import Folds
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.loop import return_memory
from twofold.training.start import CACHE_KEYS
from twofold.training.tuning.trials import Tuned


@dataclass(frozen=True, eq=False)
class StudyContext:
    """The data of a study that every unit needs; it is sent to every worker.

    Attributes:
        dataset: the dataset with its own split.
        conditions: the conditions to train.
        folder: the folder of the study.
        device: as in `twofold.train`.
        plan: the plan of the study.
    """

    dataset: PreparedDataset
    conditions: Mapping[Text, Condition]
    folder: StudyFolder
    device: str
    plan: StudyPlan
    _identifiers: dict[Text, IdentifiersOf] = field(default_factory=dict)
    _models: list[Any] = field(default_factory=list)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the dataset's cached values, which are large and can be computed again."""
        return StudyContext, (
            replace(self.dataset),
            self.conditions,
            self.folder,
            self.device,
            self.plan,
        )

    @cached_property
    def folds(self) -> Folds:
        """The folds of the dataset."""
        return Folds(self.dataset, self.plan.folds)

    def training(self, text: Text, seed: int = 0) -> ArmTraining:
        """How the arms of a condition are trained, with the identifiers of a seed's fold."""
        dataset, config = self.folds.of(seed), self.conditions[text].training
        if dataset is not self.dataset:
            own = identifiers_of(dataset, config, self.folder.encoders_of(seed))
        else:
            if text not in self._identifiers:
                made = identifiers_of(dataset, config, self.folder.encoders)
                self._identifiers[text] = made
            own = self._identifiers[text]
        return ArmTraining(config, self.device, self.plan.threads, own)

    def fold(self, text: Text, seed: int) -> PreparedDataset:
        """The fold of a seed, for the models of a condition.

        What the models of another condition or fold have cached is removed, so that a process
        never holds the encoders of both at once. Where all seeds learn from the same data, they
        start from the same.
        """
        dataset = self.folds.of(seed)
        if self.folds.any and self._models != [text, seed]:
            self._models[:] = text, seed
            for cached in (self.dataset, dataset):
                cached.clear_cached(*CACHE_KEYS)
        return dataset

    def baselines(self, seed: int) -> Iterable[Baseline]:
        """The baselines of a seed's fold, before they are fitted; slow baselines are only in the
        first fold."""
        config, dataset = next(iter(self.conditions.values())).training, self.folds.of(seed)
        if self.plan.baselines:
            models, place = self.folder.baseline_models, (self.device, self.plan.threads)
            every = every_baseline(dataset, models, config, *place, tune=self.plan.tune)
        else:
            every = quick_baselines(dataset, config)
        return every if dataset is self.dataset else (one for one in every if not one.slow)


class Unit(Protocol):
    """A part of a study.

    Attributes:
        name: the name in the log and in errors.
        seed: the seed to which it belongs; 0 if it belongs to all.
        needs: the units that must be finished before this one.
    """

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def needs(self) -> Sequence["Unit"]: ...

    def is_done(self, context: StudyContext) -> bool:
        """Whether the folder has its complete output, and no other unit reads its result."""
        ...

    def run(self, context: StudyContext, results: Mapping["Unit", Any]) -> Any:
        """Run the unfinished part of the unit, and return a result that can be pickled.

        Args:
            context: the study.
            results: the results of the units that it needs.
        """
        ...


@dataclass(frozen=True)
class Baselines:
    """Fit and evaluate the baselines of one seed's fold."""

    seed: int
    needs: Sequence[Unit] = ()

    @property
    def name(self) -> str:
        return f"baselines of seed {self.seed}"

    def is_done(self, context: StudyContext) -> bool:
        return all(
            artifact.is_complete(context.folder.baseline(baseline.task, baseline.name, self.seed))
            for baseline in context.baselines(self.seed)
        )

    def run(self, context: StudyContext, results: Mapping[Unit, Any]) -> None:  # noqa: ARG002
        dataset = context.folds.of(self.seed)
        run_baselines(dataset, context.folder, context.baselines(self.seed), self.seed)
        dataset.clear_cached(FROZEN)
        return_memory()


@dataclass(frozen=True)
class Recipe:
    """Choose the recipe of one arm; the result is a `Tuned`.

    Joint's trials are compared by their validation scores relative to the plain arms'.
    """

    text: Text
    arm: str

    @property
    def name(self) -> str:
        return f"recipe of {self.arm} {CONDITIONS[self.text]}"

    @property
    def seed(self) -> int:
        return 0

    @property
    def needs(self) -> Sequence["Recipe"]:
        plain = (Recipe(self.text, arm) for arm in TUNED if arm != "joint")
        return tuple(plain) if self.arm == "joint" else ()

    def is_done(self, context: StudyContext) -> bool:  # noqa: ARG002
        return False

    def run(self, context: StudyContext, results: Mapping[Unit, Any]) -> Tuned:
        condition = context.conditions[self.text]
        known: dict[str, Tuned] = {need.arm: results[need] for need in self.needs}
        dataset, training = context.fold(self.text, 0), context.training(self.text)
        arms, folder = condition.arms, condition.folder
        return tune_arm(dataset, self.arm, arms, folder, context.plan.tune, training, known)


@dataclass(frozen=True)
class TrainedArm:
    """Train and evaluate one arm of a condition with one seed; the result is the time in seconds.

    Attributes:
        text: the condition.
        seed: the seed.
        arm: the name of the arm.
        needs: the recipe of the arm, and the arms that are trained before it.
    """

    text: Text
    seed: int
    arm: str
    needs: Sequence[Unit] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        return f"seed {self.seed} {CONDITIONS[self.text]}, {self.arm}"

    def is_done(self, context: StudyContext) -> bool:
        own = context.conditions[self.text]
        return is_arm_trained(self._arm(own), own.arms, own.folder, self.seed, own.transfer)

    def run(self, context: StudyContext, results: Mapping[Unit, Any]) -> float:
        start, own = time.monotonic(), context.conditions[self.text]
        tuned = {need.arm: results[need] for need in self.needs if isinstance(need, Recipe)}
        dataset = context.fold(self.text, self.seed)
        training = replace(context.training(self.text, self.seed), tuned=tuned)
        arm = self._arm(own)
        run_arm(dataset, arm, own.arms, own.folder, self.seed, training, own.transfer)
        return_memory()
        return time.monotonic() - start

    def _arm(self, condition: Condition) -> Arm:
        return next(arm for arm in condition.arms if arm.name == self.arm)


def trained_arms(context: StudyContext, text: Text, seed: int) -> list[Unit]:
    """The arms of a condition with one seed."""
    arms = context.conditions[text].arms
    recipes = {name: Recipe(text, name) for name in TUNED} if context.plan.tune else {}

    def unit(arm: Arm) -> TrainedArm:
        # A control has as many steps as read the tokens of joint, so it needs joint's recipe too.
        wanted = {tuned_arm(arm), "joint"} if arm.step_matched else {tuned_arm(arm)}
        before = [unit(other) for other in arms_before(arm, arms)]
        own = [recipe for name, recipe in recipes.items() if name in wanted]
        return TrainedArm(text, seed, arm.name, (*own, *before))

    return [unit(arm) for arm in arms]


def units_of(context: StudyContext, seeds: int) -> list[Unit]:
    """The units of a study with `seeds` seeds, without the units that these need."""
    units: list[Unit] = []
    for seed in range(seeds):
        if seed == 0 or context.folds.any:
            units.append(Baselines(seed))
        for text in context.conditions:
            units += trained_arms(context, text, seed)
    return units


def pending_units(
    targets: Iterable[Unit], context: StudyContext, results: Mapping[Unit, Any]
) -> list[Unit]:
    """The unfinished units in the order to run: each target is preceded only by the units that it
    needs, so the models of one condition are finished before those of the next are started.

    Args:
        targets: the units to finish.
        context: the study.
        results: the results so far.
    """
    wanted: dict[Unit, None] = {}

    def want(unit: Unit) -> None:
        for need in unit.needs:
            if need not in {**results, **wanted} and not need.is_done(context):
                want(need)
        wanted[unit] = None

    for unit in targets:
        if unit not in {**results, **wanted} and not unit.is_done(context):
            want(unit)
    return list(wanted)


def longest_chain_first(units: Sequence[Unit]) -> list[Unit]:
    """Units in the order to start them on several workers: of one seed, those first on which the
    longest chain of other units depends, so that no worker waits for a single long unit at the end.

    Args:
        units: the units, each after those that it needs.
    """
    chain = dict.fromkeys(units, 1)
    for unit in reversed(units):
        for need in unit.needs:
            if need in chain:
                chain[need] = max(chain[need], 1 + chain[unit])
    return sorted(units, key=lambda unit: (unit.seed, -chain[unit]))


def run_unit(unit: Unit, context: StudyContext, results: Mapping[Unit, Any]) -> Any:
    """Run a unit in this process, with the study's number of threads."""
    torch.set_num_threads(context.plan.threads)
    with threadpool_limits(context.plan.threads, "blas"):
        return unit.run(context, results)
