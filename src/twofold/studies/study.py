"""Train the arms with seeds, score them on the full catalog, and decide.

Invariant: a model or an evaluation that is in the folder is finished and is not made again; so a
study that was interrupted repeats nothing.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from twofold import artifact
from twofold.baselines.selection import Baseline, every_baseline, quick_baselines
from twofold.evaluation.sequential import planned_looks
from twofold.extras import require_extra
from twofold.identifiers.identifiers import ItemIdentifiers
from twofold.model.backbone import resolve_device, resolve_precision
from twofold.records import InputError, Split, Task
from twofold.studies import analyses
from twofold.studies.analyses.analysis import Evidence
from twofold.studies.arms import (
    TUNED,
    InterventionSet,
    is_plain,
    semantic_arms,
    study_arms,
    tuned_arm,
)
from twofold.studies.folder import KIND, StudyFolder
from twofold.studies.pages.report import write_report
from twofold.studies.result import FORMAT, StudyResult, StudyStamp, result_schema, result_type
from twofold.studies.scores import Scores, model_stamp
from twofold.studies.statistics.task_scores import primary_measure
from twofold.studies.verdict import SESOI_SHARE, TaskVerdict, decide
from twofold.tasks.evaluate import evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm, SettingOverrides
from twofold.training.config import Budget, TrainingConfig, resolve_config
from twofold.training.loop import return_memory
from twofold.training.start import assign_identifiers
from twofold.training.state import state_folder
from twofold.training.train import train
from twofold.training.tuning import Tuned, choose_recipe, recipes_of, recipes_to_try
from twofold.training.validation import SELECTION

_log = logging.getLogger(__name__)

_FEWEST_REQUESTS: Mapping[Split, int] = {"validation": 1, "test": 2}
"""Users, or queries without one, that each task needs in a split."""

IdentifiersOf = Callable[[SettingOverrides], ItemIdentifiers | None]
"""The settings of an arm -> its identifiers; None where training assigns them by itself."""


@dataclass(frozen=True, slots=True)
class Study:
    """A finished study.

    Attributes:
        folder: with study.json, report.html, per_request.parquet, models/ and evaluations/.
        verdicts: by task.
        result: the content of study.json.
    """

    folder: Path
    verdicts: Mapping[Task, TaskVerdict]
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ArmTraining:
    """How the arms of a study are trained: all alike but for the seed.

    Attributes:
        config: resolved.
        device, threads: as in `twofold.train`.
        identifiers: of the arms that have settings of their own.
        tuned: what validation chose, by the name of the arm; others have the configuration as is.
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


def study(
    dataset: PreparedDataset,
    *,
    out: str | Path,
    seeds: int = 3,
    config: TrainingConfig | None = None,
    budget: Budget = "standard",
    sesoi: float = SESOI_SHARE,
    measure: str | None = None,
    interventions: Sequence[InterventionSet] = (),
    semantic_ids: bool = False,
    baselines: bool = False,
    tune: int | None = None,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    command: str = "",
) -> Study:
    """Answer, for each task, whether training on the other one as well helps.

    Args:
        dataset: with both tasks.
        out: the study's folder.
        seeds: trained models of each arm; under three the verdict is provisional.
        config: resolved training settings; the preset of `budget` by default.
        budget: the preset's name, for the stamp.
        sesoi: the smallest effect of interest, as a share of the plain arm's mean.
        measure: the primary one, which decides; Recall@30 by default, and Recall@10 where the
            catalog is small.
        interventions: `2x2` and `caps` change the training data of the added task; see
            `twofold.studies.interventions`.
        semantic_ids: also train `joint` with each of `twofold.identifiers.assign.schemes`.
        baselines: tune all baselines on validation; else popularity and BM25, untuned.
        tune: choose each arm's recipe among so many on validation; 0 takes the fixed recipe, None
            as many as suit budget and seeds, or as the study that is resumed had.
        resume: continue an interrupted study in `out`.
        device, threads: as in `twofold.train`.
        command: what reproduces the study, for the report.

    Raises:
        InputError: a task is missing, `out` holds something else, or the extra `study` is not
            installed.
    """
    require_extra("study", "a study")
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: at least 1")
    _require_both_tasks(dataset)
    primary_measure(len(dataset.catalog), measure)
    folder = StudyFolder(Path(out))
    training = _arm_training(dataset, config or resolve_config(budget), folder, device, threads)
    arms = _arms(dataset, training.config, interventions, semantic_ids)
    begun = folder.begun_with() if resume and tune is None else {}
    asked = {
        "seeds": seeds,
        "budget": budget,
        "sesoi_share": sesoi,
        "measure": measure,
        "interventions": list(interventions),
        "semantic_ids": semantic_ids,
        "baselines": baselines,
        # With more seeds, a study that is resumed still has its number.
        "tune": begun["tune"] if begun else recipes_to_try(tune, budget, seeds),
    }
    plan = {**asked, **_circumstances(dataset, training)}
    with artifact.claim(folder.path):
        folder.begin(plan, resume)
        return _run(dataset, arms, folder, plan, training, command)


def _arm_training(
    dataset: PreparedDataset,
    config: TrainingConfig,
    folder: StudyFolder,
    device: str,
    threads: int | None,
) -> ArmTraining:
    """How all arms are trained, with the precision resolved for the device."""
    if threads:
        torch.set_num_threads(threads)
    precision = resolve_precision(config.precision, resolve_device(device))
    resolved = config.model_copy(update={"precision": precision})
    identifiers = _identifiers_of(dataset, resolved, folder.encoders)
    return ArmTraining(resolved, device, threads, identifiers)


def _circumstances(dataset: PreparedDataset, training: ArmTraining) -> dict[str, Any]:
    """The part of a plan that says with what the arms are trained."""
    return {
        "data": dataset.digest,
        "device": resolve_device(training.device).type,
        "threads": torch.get_num_threads(),
        "training": training.config.model_dump(),
    }


def _arms(
    dataset: PreparedDataset,
    config: TrainingConfig,
    interventions: Sequence[InterventionSet],
    semantic_ids: bool,
) -> Sequence[Arm]:
    arms = study_arms(dataset, interventions)
    return (*arms, *semantic_arms(dataset, config)) if semantic_ids else arms


def _run(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: StudyFolder,
    plan: Mapping[str, Any],
    training: ArmTraining,
    command: str,
) -> Study:
    """Everything that the plan asks for: baselines, arms, conclusion."""
    baselines = quick_baselines(dataset)
    if plan["baselines"]:
        baselines = every_baseline(
            dataset,
            folder.baseline_models,
            training.config,
            training.device,
            training.threads,
            tune=plan["tune"],
        )
    run_baselines(dataset, folder, baselines)
    if plan["tune"]:
        training = tune_arms(dataset, arms, folder, plan["tune"], training)
    for seed in range(plan["seeds"]):
        run_arms(dataset, arms, folder, seed, training)
    return _conclude(dataset, arms, folder, plan, command)


def _identifiers_of(
    dataset: PreparedDataset, config: TrainingConfig, encoders: Path
) -> IdentifiersOf:
    """The function that assigns the identifiers of arms with such settings, once for all."""

    @cache
    def assigned(settings: SettingOverrides) -> ItemIdentifiers | None:
        own = config.model_copy(update=dict(settings))
        return None if own.identifiers == "atomic" else assign_identifiers(dataset, own, encoders)

    return assigned


def _require_both_tasks(dataset: PreparedDataset) -> None:
    """Raise InputError unless both tasks have training examples and enough requests."""
    if len(dataset.tasks) < 2:
        need = "queries with qrels" if "search" not in dataset.tasks else "interactions"
        raise InputError(
            f"{dataset.source}: a study compares two tasks, and this dataset has no {need}; "
            f"add them, or train one task with: twofold train --arm {dataset.tasks[0]}"
        )
    for task in dataset.tasks:
        dataset.task(task).require_examples()
        for split, fewest in _FEWEST_REQUESTS.items():
            requests = dataset.task(task).requests(split).requests
            if len({request.user_id or request.request_id for request in requests}) < fewest:
                raise InputError(
                    f"{dataset.source}: too few {split} requests for {task} ({len(requests)}); "
                    f"a user needs three events, and some queries must be in every split"
                )


def run_baselines(
    dataset: PreparedDataset, folder: StudyFolder, baselines: Iterator[Baseline]
) -> None:
    """Score baselines; one that the data do not allow is left out, and the log says so."""
    for baseline in baselines:
        out = folder.baseline(baseline.task, baseline.name)
        if artifact.is_complete(out):
            continue
        try:
            chosen = baseline.make()
        except InputError as reason:  # such as items without text
            _log.info("without %s: %s", baseline.name, reason)
            continue
        stamp = {
            "retriever": chosen.retriever.name,
            "data": dataset.digest,
            "settings": dict(chosen.settings),
            "candidates": chosen.candidates,
        }
        save_evaluation(evaluate(chosen.retriever, dataset, [baseline.task]), out, stamp)


def tune_arms(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: StudyFolder,
    recipes: int,
    training: ArmTraining,
) -> ArmTraining:
    """The same trainings with the recipes that validation chooses, as many trials for each arm.

    What the plain arms reach is the unit in which joint's trials are compared.
    """
    tuned: dict[str, Tuned] = {}
    for arm in sorted((arm for arm in arms if arm.name in TUNED), key=lambda arm: len(arm.tasks)):
        known = [task for task in arm.tasks if task in tuned and tuned[task].value > 0]
        units = {str(task): tuned[task].value for task in known}
        tuned[arm.name] = choose_recipe(
            dataset,
            arm,
            folder.tuning(arm.name),
            training.config,
            recipes_of(dataset, arm, training.config, recipes),
            device=training.device,
            reference=units,
            identifiers=training.identifiers(arm.settings),
        )
    return replace(training, tuned=tuned)


def run_arms(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: StudyFolder,
    seed: int,
    training: ArmTraining,
) -> None:
    """Train and score every arm with one seed.

    The plain arms come first: what they reach in validation is the unit in which the checkpoint of
    a joint arm is chosen. A step-matched arm takes the steps that `joint` took.
    """
    plain = [arm for arm in arms if is_plain(arm)]
    for arm in plain:
        _run_arm(dataset, arm, folder, seed, training, {})
    reference = {str(arm.tasks[0]): model_stamp(folder, arm.name, seed).best_value for arm in plain}
    others = [arm for arm in arms if not is_plain(arm)]
    for arm in sorted(others, key=lambda arm: arm.step_matched):
        steps = model_stamp(folder, "joint", seed).steps if arm.step_matched else None
        if steps and len(arm.tasks) == 1:
            _continue_plain(folder, arm, seed, steps)
        units = reference if len(arm.tasks) > 1 else {}
        _run_arm(dataset, arm, folder, seed, training, units, steps)
    for arm in plain:
        shutil.rmtree(state_folder(folder.model(arm.name, seed)), ignore_errors=True)


def _continue_plain(folder: StudyFolder, control: Arm, seed: int, steps: int) -> None:
    """Let a control start at the end of the plain arm's training, where that was no longer.

    Its weights up to there are the same, bit for bit, whether it starts there or anew.
    """
    plain = control.tasks[0]
    begun = state_folder(folder.model(plain, seed))
    own = state_folder(folder.model(control.name, seed))
    stamp = model_stamp(folder, plain, seed)
    ended_alike = stamp.ended_by == "patience" or stamp.steps == steps
    if ended_alike and stamp.steps <= steps and begun.is_dir() and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        begun.rename(own)


def _run_arm(
    dataset: PreparedDataset,
    arm: Arm,
    folder: StudyFolder,
    seed: int,
    training: ArmTraining,
    reference: Mapping[str, float],
    steps: int | None = None,
) -> None:
    """Train and score one arm, unless both are done."""
    model, evaluation = folder.model(arm.name, seed), folder.evaluation(arm.name, seed)
    if artifact.is_complete(model) and artifact.is_complete(evaluation):
        return
    start = time.monotonic()
    config, chosen = training.of(arm)
    retriever = train(
        dataset,
        arm,
        out=model,
        config=config,
        seed=seed,
        device=training.device,
        threads=training.threads,
        resume=True,
        histories=False,
        reference=reference,
        identifiers=training.identifiers(arm.settings),
        tuning=chosen,
        steps=steps,
        keep_state=is_plain(arm),
    )
    if not artifact.is_complete(evaluation):
        save_evaluation(
            evaluate(retriever, dataset, arm.judged), evaluation, retriever.model.stamp.as_dict()
        )
    seconds = time.monotonic() - start
    _log.info("%s, seed %d: trained and scored in %.0f s", arm.name, seed, seconds)


def _conclude(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: StudyFolder,
    plan: Mapping[str, Any],
    command: str,
) -> Study:
    """From the evaluations to study.json, report.html and the manifest."""
    scores = Scores(dataset, arms, folder, plan["seeds"], plan["measure"])
    looks = folder.looks(plan["seeds"])
    verdicts = decide(
        {task: scores.primary(task) for task in dataset.tasks},
        plan["sesoi_share"],
        looks=planned_looks(looks) if len(looks) > 1 else None,
    )
    evidence = Evidence(dataset, scores, folder, plan)
    result: StudyResult = result_type()(
        format=FORMAT,
        stamp=_stamp(dataset, {**plan, "looks": looks}, scores, command),
        arms=scores.means(),
        baselines=scores.baselines(),
        verdicts=verdicts,
        **dict(_analysed(evidence)),
    )
    content = result.to_json()
    artifact.write_json(folder.result, content)
    artifact.write_json(folder.schema, result_schema())
    scores.per_request().write_parquet(folder.per_request)
    write_report(result, folder.report)
    artifact.seal(folder.path, KIND, dict(plan))
    return Study(folder.path, verdicts, content)


def _analysed(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """The result of each analysis, one after the other: some hold large matrices."""
    for analysis in analyses.ANALYSES:
        return_memory()
        yield analysis.name, analysis.compute(evidence)


def _stamp(
    dataset: PreparedDataset, plan: Mapping[str, Any], scores: Scores, command: str
) -> StudyStamp:
    """What every number rests on: the plan, the protocol, and how joint was trained."""
    joint = scores.stamps["joint"][0]
    return StudyStamp(
        **plan,
        source=dataset.source,
        split=dataset.protocol.split,
        cutoff=dataset.protocol.cutoff,
        seen=dataset.protocol.seen,
        catalog=len(dataset.catalog),
        candidates=joint.candidates,
        ties=joint.ties,
        primary=str(scores.measure),
        selection=str(SELECTION),
        loss=joint.loss,
        source_weights=dict(joint.source_weights),
        targets=dict(joint.targets),
        precision=joint.precision,
        versions=artifact.versions(),
        command=command,
    )
