"""The units of work of a study, several of which may run at once in different processes.

A unit is the tuning of one arm, one arm of one condition and seed, or the baselines. It reads and
writes the study's folder; `needs` lists the units that must be finished before it.

Invariant: the output of a unit depends neither on where it runs nor on the other running units.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits

from twofold import artifact
from twofold.baselines.selection import FROZEN
from twofold.studies.arms import TUNED, arms_before, tuned_arm
from twofold.studies.planning.questions import CONDITIONS, Text
from twofold.studies.trainings.baselines import run_baselines
from twofold.studies.trainings.recipes import RecipeChoice
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.studies.workers.context import StudyContext
from twofold.training.arm import Arm
from twofold.training.loop import return_memory
from twofold.training.tuning.trials import Tuned


class Unit(Protocol):
    """A part of a study.

    Attributes:
        name: the name in the log and in errors.
        kind: units of the same kind, of different seeds, take about the same time.
        seed: the seed to which it belongs; 0 if it belongs to all.
        needs: the units that must be finished before this one.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

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

    @property
    def kind(self) -> str:
        return "baselines"

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
    def kind(self) -> str:
        return self.name

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
        condition, plan = context.conditions[self.text], context.plan
        dataset, training = context.fold(self.text, 0), context.training(self.text)
        choice = RecipeChoice(dataset, condition.arms, condition.folder, training, plan.tune)
        return choice.choose(self.arm, {need.arm: results[need] for need in self.needs})


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

    @property
    def kind(self) -> str:
        return f"{self.arm} {CONDITIONS[self.text]}"

    def is_done(self, context: StudyContext) -> bool:
        return context.outputs(self.text, self.seed).is_done(self._arm(context))

    def run(self, context: StudyContext, results: Mapping[Unit, Any]) -> float:
        start = time.monotonic()
        tuned = {need.arm: results[need] for need in self.needs if isinstance(need, Recipe)}
        dataset = context.fold(self.text, self.seed)
        training = replace(context.training(self.text, self.seed), tuned=tuned)
        outputs = context.outputs(self.text, self.seed)
        SeedTrainings(dataset, training, outputs).run(self._arm(context))
        return_memory()
        return time.monotonic() - start

    def _arm(self, context: StudyContext) -> Arm:
        arms = context.conditions[self.text].arms
        return next(arm for arm in arms if arm.name == self.arm)


def trained_arms(context: StudyContext, text: Text, seed: int) -> list[Unit]:
    """The arms of a condition with one seed."""
    arms = context.conditions[text].arms
    recipes = {name: Recipe(text, name) for name in TUNED} if context.plan.tune else {}

    def unit(arm: Arm) -> TrainedArm:
        # A control has as many steps as read the tokens of joint, so it needs joint's recipe too.
        wanted = {tuned_arm(arm), "joint"} if arm.step_matched else {tuned_arm(arm)}
        before = [unit(other) for other in arms_before(arm, arms)]
        tuned = [recipe for name, recipe in recipes.items() if name in wanted]
        return TrainedArm(text, seed, arm.name, (*tuned, *before))

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
    """Units in the order to start them on several workers.

    The first seed is first, since it tells what the others will cost. Of the other seeds, those
    units are first on which the longest chain of other units depends, whatever their seed. So no
    worker waits at the end while another one trains the plain arms and `joint` of the last seed.

    Args:
        units: the units, each after those that it needs.
    """
    chain = dict.fromkeys(units, 1)
    for unit in reversed(units):
        for need in unit.needs:
            if need in chain:
                chain[need] = max(chain[need], 1 + chain[unit])
    return sorted(units, key=lambda unit: (unit.seed > 0, -chain[unit]))


def run_unit(unit: Unit, context: StudyContext, results: Mapping[Unit, Any]) -> Any:
    """Run a unit in this process, with the study's number of threads."""
    torch.set_num_threads(context.plan.threads)
    with threadpool_limits(context.plan.threads, "blas"):
        return unit.run(context, results)
