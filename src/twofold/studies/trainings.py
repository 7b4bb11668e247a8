"""Train the arms of a study with seeds, and score them on the full catalog.

Invariant: a model or an evaluation in the folder is finished and is not computed again, so a
resumed study repeats nothing.
"""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from twofold import artifact
from twofold.baselines.selection import Baseline
from twofold.identifiers.identifiers import ItemIdentifiers
from twofold.model.checkpoint import load_model_folder
from twofold.model.stamp import Stamp
from twofold.records import InputError
from twofold.retrieval.generative import GenerativeRetriever
from twofold.studies.arms import TUNED, is_plain, tuned_arm
from twofold.studies.folder import StudyFolder
from twofold.studies.scores import model_stamp
from twofold.tasks.evaluate import Evaluation, evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS, Arm, SettingOverrides
from twofold.training.config import TrainingConfig
from twofold.training.start import assign_identifiers
from twofold.training.state import load_candidate, load_weights, state_folder
from twofold.training.train import train
from twofold.training.tuning.recipes import recipes_of
from twofold.training.tuning.trials import Tuned, choose_recipe

_log = logging.getLogger(__name__)

IdentifiersOf = Callable[[SettingOverrides], ItemIdentifiers | None]
"""The settings of an arm -> its identifiers; None if training assigns them itself."""


@dataclass(frozen=True, slots=True)
class ArmTraining:
    """How the arms of a study are trained, the same for every seed.

    Attributes:
        config: the resolved training settings.
        device, threads: as in `twofold.train`.
        identifiers: the function that assigns the identifiers of arms with their own settings.
        tuned: the tuned recipes, by the name of the arm; other arms use `config`.
    """

    config: TrainingConfig
    device: str = "auto"
    threads: int | None = None
    identifiers: IdentifiersOf = lambda _: None
    tuned: Mapping[str, Tuned] = field(default_factory=dict)

    def of(self, arm: Arm) -> tuple[TrainingConfig, Mapping[str, Any] | None]:
        """The configuration of an arm, and how it was chosen."""
        chosen = self.tuned.get(tuned_arm(arm))
        return (chosen.config, chosen.record) if chosen else (self.config, None)

    def with_scaled_batches(self, arm: Arm) -> Arm:
        """The arm with its own batch size multiplied by the factor of its recipe."""
        grown = self.of(arm)[0].batch_tokens / self.config.batch_tokens
        own = dict(arm.settings)
        if "batch_tokens" in own:
            own["batch_tokens"] = round(grown * own["batch_tokens"])
        return replace(arm, settings=tuple(own.items()))


def identifiers_of(
    dataset: PreparedDataset, config: TrainingConfig, encoders: Path
) -> IdentifiersOf:
    """The function that assigns the identifiers of arms with given settings; results are cached."""

    @cache
    def assigned(settings: SettingOverrides) -> ItemIdentifiers | None:
        own = config.model_copy(update=dict(settings))
        if own.identifiers == "atomic":
            return None
        with artifact.waiting_for(encoders):  # another process may tune the same encoder
            return assign_identifiers(dataset, own, encoders)

    return assigned


def tune_arms(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: StudyFolder,
    recipes: int,
    training: ArmTraining,
) -> ArmTraining:
    """The same trainings with tuned recipes, from the same number of trials for each arm.

    Joint's trials are compared by their validation scores relative to those of the plain arms.
    """
    tuned: dict[str, Tuned] = {}
    own = (arm for arm in arms if arm.name in TUNED)
    for arm in sorted(own, key=lambda arm: len(arm.tasks)):
        tuned[arm.name] = tune_arm(dataset, arm.name, arms, folder, recipes, training, tuned)
    return replace(training, tuned=tuned)


def tune_arm(
    dataset: PreparedDataset,
    name: str,
    arms: Sequence[Arm],
    folder: StudyFolder,
    recipes: int,
    training: ArmTraining,
    tuned: Mapping[str, Tuned],
) -> Tuned:
    """The recipe that validation chooses for one arm.

    Args:
        dataset: the trials learn its training split and are scored on its validation requests.
        name: the name of the arm.
        arms: all arms of the study. If the data allow fewer recipes for one of them, all arms try
            that smaller number.
        folder: the folder of the trials.
        recipes: the number of recipes to try.
        training: how the arms are trained.
        tuned: the results of the plain arms, which joint needs.
    """
    own = {arm.name: arm for arm in arms if arm.name in TUNED}
    spaces = {
        tuned_name: recipes_of(dataset, arm, training.config, recipes)
        for tuned_name, arm in own.items()
    }
    arm, fewest = own[name], min(map(len, spaces.values()))
    known = [task for task in arm.tasks if task in tuned and tuned[task].value > 0]
    return choose_recipe(
        dataset,
        arm,
        folder.tuning(name),
        training.config,
        spaces[name][:fewest],
        device=training.device,
        reference={str(task): tuned[task].value for task in known},
        identifiers=training.identifiers(arm.settings),
    )


def arms_before(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The arms that are trained before an arm with the same seed, in the order of `arms`.

    The checkpoint of an arm of two tasks is chosen by its validation scores relative to those of
    the plain arms. A step-matched arm also needs the number of steps of `joint`.
    """
    if is_plain(arm):
        return []
    return [
        other
        for other in arms
        if is_plain(other) or (arm.step_matched and other.name == NAMED_ARMS["joint"].name)
    ]


def run_arms(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: StudyFolder,
    seed: int,
    training: ArmTraining,
    transfer: StudyFolder | None = None,
) -> None:
    """Train and score every arm with one seed, one after another; arguments as of `run_arm`."""
    for arm in sorted(arms, key=lambda arm: (not is_plain(arm), arm.step_matched)):
        run_arm(dataset, arm, arms, folder, seed, training, transfer)


def run_arm(
    dataset: PreparedDataset,
    arm: Arm,
    arms: Sequence[Arm],
    folder: StudyFolder,
    seed: int,
    training: ArmTraining,
    transfer: StudyFolder | None = None,
) -> None:
    """Train and score an arm with one seed, after the arms of `arms_before`.

    `_matched_steps` describes the steps of a step-matched arm.

    Args:
        dataset: the dataset to learn and to be tested on.
        arm: the arm.
        arms: all arms of the study.
        folder: the folder of the models, and of their evaluations as they would be deployed.
        seed: the random seed.
        training: how the arms are trained.
        transfer: the folder of the evaluations for the question *transfer*: `folder` itself if
            there are no others, and None for none.
    """
    outputs = _Outputs(folder, transfer, seed)
    steps = _matched_steps(arm, outputs, training) if arm.step_matched else None
    # A cosine schedule depends on the arm's own number of steps, so another arm's weights
    # are not on its path.
    if steps and len(arm.tasks) == 1 and training.of(arm)[0].lr_schedule != "cosine":
        _continue_plain(arm, outputs, steps)
    reference = {}
    if len(arm.tasks) > 1:
        plain = [other for other in arms_before(arm, arms) if is_plain(other)]
        reference = {str(own.tasks[0]): outputs.stamp(own.name).best_value for own in plain}
    _run_arm(dataset, arm, outputs, training, reference, steps)
    for left in _last_read(arm, arms):
        shutil.rmtree(outputs.state(left), ignore_errors=True)


def is_trained(
    arms: Sequence[Arm], folder: StudyFolder, seed: int, transfer: StudyFolder | None = None
) -> bool:
    """Whether `run_arms` with these arguments has no work left and no state to remove."""
    return all(is_arm_trained(arm, arms, folder, seed, transfer) for arm in arms)


def is_arm_trained(
    arm: Arm,
    arms: Sequence[Arm],
    folder: StudyFolder,
    seed: int,
    transfer: StudyFolder | None = None,
) -> bool:
    """Whether `run_arm` with these arguments has no work left and no state to remove."""
    outputs = _Outputs(folder, transfer, seed)
    left = any(outputs.state(name).exists() for name in _last_read(arm, arms))
    return outputs.is_complete(arm) and not left


def _last_read(arm: Arm, arms: Sequence[Arm]) -> list[str]:
    """The arms whose training state no other arm needs after this one.

    The step-matched control of a task continues the training of its plain arm.
    """
    controls = {own.tasks[0] for own in arms if own.step_matched and len(own.tasks) == 1}
    if is_plain(arm):
        return [] if arm.tasks[0] in controls else [arm.name]
    return [arm.name, arm.tasks[0]] if len(arm.tasks) == 1 else [arm.name]


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What the arms of one seed write: models, training states and evaluations.

    Attributes:
        folder, transfer, seed: as in `run_arms`.
    """

    folder: StudyFolder
    transfer: StudyFolder | None
    seed: int

    def model(self, arm: str) -> Path:
        """The model of an arm."""
        return self.folder.model(arm, self.seed)

    def state(self, arm: str) -> Path:
        """The training state of an arm, if it is kept."""
        return state_folder(self.model(arm))

    def stamp(self, arm: str) -> Stamp:
        """The stamp of a trained arm."""
        return model_stamp(self.folder, arm, self.seed)

    def as_deployed(self, arm: str) -> Path:
        """The evaluation of a model as it would be deployed."""
        return self.folder.evaluation(arm, self.seed)

    def for_transfer(self, arm: str) -> Path:
        """The evaluation for the question *transfer*; that of the deployed model if not asked."""
        return (self.transfer or self.folder).evaluation(arm, self.seed)

    def is_complete(self, arm: Arm) -> bool:
        """Whether an arm is trained and scored."""
        name = arm.name
        places = (self.model(name), self.as_deployed(name), self.for_transfer(name))
        return all(map(artifact.is_complete, places))


def _matched_steps(arm: Arm, outputs: _Outputs, training: ArmTraining) -> int:
    """The number of steps of a step-matched arm. An arm of two tasks has joint's recipe and steps.

    A control has its task's recipe, whose batches may be smaller than joint's, and the plain arm
    may train for longer than joint. So the control may take the steps of joint, those in which it
    reads as many tokens, or those of the plain arm, whichever are most: a gain of joint over the
    control is not due to longer training. Early stopping can end it before.
    """
    steps = outputs.stamp("joint").steps
    if len(arm.tasks) > 1:
        return steps
    (joint, _), (own, _) = training.of(NAMED_ARMS["joint"]), training.of(arm)
    of_tokens = math.ceil(steps * joint.batch_tokens / own.batch_tokens)
    return max(steps, of_tokens, outputs.stamp(arm.tasks[0]).steps)


def _continue_plain(control: Arm, outputs: _Outputs, steps: int) -> None:
    """Let a control continue the plain arm's training, if that one did not take more steps.

    Up to there the weights are bit-identical to those of a training from the beginning.
    """
    plain = control.tasks[0]
    plain_state, own = outputs.state(plain), outputs.state(control.name)
    stamp = outputs.stamp(plain)
    ended_alike = stamp.ended_by == "patience" or stamp.steps == steps
    if ended_alike and stamp.steps <= steps and plain_state.is_dir() and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        plain_state.rename(own)


def _run_arm(
    dataset: PreparedDataset,
    arm: Arm,
    outputs: _Outputs,
    training: ArmTraining,
    reference: Mapping[str, float],
    steps: int | None = None,
) -> None:
    """Train and score one arm, unless both are done."""
    model, transfer = outputs.model(arm.name), outputs.transfer
    if outputs.is_complete(arm):
        if not is_plain(arm):  # left over if a run was killed after the last evaluation
            shutil.rmtree(state_folder(model), ignore_errors=True)
        return
    start = time.monotonic()
    config, chosen = training.of(arm)
    retriever = train(
        dataset,
        training.with_scaled_batches(arm),
        out=model,
        config=config,
        seed=outputs.seed,
        device=training.device,
        threads=training.threads,
        resume=True,
        histories=False,
        reference=reference,
        identifiers=training.identifiers(arm.settings),
        tuning=chosen,
        steps=steps,
        keep_state=is_plain(arm) or (transfer is not None and len(arm.tasks) > 1),
    )
    if transfer != outputs.folder:
        _score(retriever, dataset, arm, outputs.as_deployed(arm.name))
    if transfer is not None:
        if len(arm.tasks) > 1:
            # A model that was loaded for retrieval has packed weights; this one has them as saved.
            # Reusing the name frees the memory of the other model.
            device = retriever.model.device
            retriever = GenerativeRetriever(load_model_folder(model, device), arm.name)
        _score_for_transfer(retriever, dataset, arm, outputs)
    if not is_plain(arm):
        shutil.rmtree(state_folder(model), ignore_errors=True)
    seconds = time.monotonic() - start
    _log.info("%s, seed %d: trained and scored in %.0f s", model.parent.name, outputs.seed, seconds)


def _score(retriever: GenerativeRetriever, dataset: PreparedDataset, arm: Arm, out: Path) -> None:
    """Score a model as it would be deployed, unless that is done."""
    if not artifact.is_complete(out):
        stamp = retriever.model.stamp.as_dict()
        save_evaluation(evaluate(retriever, dataset, arm.judged), out, stamp)


def _score_for_transfer(
    retriever: GenerativeRetriever, dataset: PreparedDataset, arm: Arm, outputs: _Outputs
) -> None:
    """Evaluate the generative scores alone, for each task at its own best checkpoint.

    So an arm of two tasks keeps the best checkpoint for each task, as a single-task arm does. The
    loss from one checkpoint for both tasks belongs to the question *replace*.
    """
    model, out = retriever.model, outputs.for_transfer(arm.name)
    as_deployed = outputs.as_deployed(arm.name)
    if artifact.is_complete(out):
        return
    is_generative = model.hybrid is None and model.history_match is None
    if len(arm.tasks) == 1 and is_generative and out != as_deployed:
        artifact.copy(as_deployed, out)
        return
    best = dict.fromkeys(arm.judged, model.stamp.best_step)
    if len(arm.tasks) > 1:
        best = {task: model.stamp.best_step_of(task) for task in arm.judged}
    alone = GenerativeRetriever(model.generative, retriever.name)
    parts = []
    for task, step in best.items():
        if len(arm.tasks) > 1:
            load_weights(model.backbone, load_candidate(outputs.state(arm.name), step))
        parts.append(evaluate(alone, dataset, [task]))
    stamp = {**model.stamp.as_dict(), "hybrid": None, "history_match": None, "judged_at": best}
    save_evaluation(_together(parts), out, stamp)


def _together(parts: Sequence[Evaluation]) -> Evaluation:
    """Merge evaluations of different tasks into one."""
    return Evaluation(
        scores=pl.concat(part.scores for part in parts),
        runs={task: run for part in parts for task, run in part.runs.items()},
        qrels={task: own for part in parts for task, own in part.qrels.items()},
        unanswered={task: n for part in parts for task, n in part.unanswered.items()},
    )


def run_baselines(
    dataset: PreparedDataset, folder: StudyFolder, baselines: Iterable[Baseline], seed: int = 0
) -> None:
    """Evaluate baselines. A baseline that the data do not allow is left out with a log line.

    Args:
        dataset: the fold of a seed.
        folder: the folder of the evaluations.
        baselines: the baselines.
        seed: the seed.
    """
    for baseline in baselines:
        out = folder.baseline(baseline.task, baseline.name, seed)
        if artifact.is_complete(out):
            continue
        try:
            chosen = baseline.make()
        except InputError as reason:  # such as missing item texts
            _log.info("without %s: %s", baseline.name, reason)
            continue
        stamp = {
            "retriever": chosen.retriever.name,
            "data": dataset.digest,
            "settings": dict(chosen.settings),
            "candidates": chosen.candidates,
        }
        save_evaluation(evaluate(chosen.retriever, dataset, [baseline.task]), out, stamp)
