"""Train the arms with seeds, score them on the full catalog, and decide.

Invariant: a model or an evaluation that stands in the folder is finished and is not made again;
so a study that was stopped repeats nothing.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from twofold import artifact
from twofold.baselines.selection import Baseline, every_baseline, quick_baselines
from twofold.evaluation.measures import PRIMARY
from twofold.identifiers.identifiers import ItemIdentifiers
from twofold.model.device import resolve_device, resolve_precision
from twofold.model.stamp import Stamp
from twofold.records import InputError, Split, Task
from twofold.studies.analyses.attribution import attribution, cap_effects
from twofold.studies.analyses.pairs import training_pairs
from twofold.studies.analyses.popularity import popularity_evidence
from twofold.studies.analyses.representation import representation_evidence
from twofold.studies.analyses.semantic_ids import semantic_id_effects
from twofold.studies.analyses.slices import slice_effects
from twofold.studies.analyses.wins import wins_evidence
from twofold.studies.arms import Interventions, semantic_arms, study_arms
from twofold.studies.report import write_report
from twofold.studies.results import Results
from twofold.studies.tables import FORMAT
from twofold.studies.verdict import SESOI_SHARE, TaskVerdict, decide
from twofold.tasks.evaluate import evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.report import data_report
from twofold.training.arm import Arm, SettingOverrides
from twofold.training.config import Budget, TrainingConfig, resolve_config
from twofold.training.start import assign_identifiers
from twofold.training.train import train
from twofold.training.validation import SELECTION

KIND = "study"
_PLAN = "plan.json"
_EARLY = {"dataset", ".dataset.partial", f".{_PLAN}.partial"}
"""What may stand in the folder of a study that was stopped before it had a plan."""

_log = logging.getLogger(__name__)

IdentifiersOf = Callable[[SettingOverrides], ItemIdentifiers | None]
"""SettingOverrides of an arm -> its identifiers; None for what training makes by itself."""


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


def study(
    dataset: PreparedDataset,
    *,
    out: str | Path,
    seeds: int = 3,
    config: TrainingConfig | None = None,
    budget: Budget = "standard",
    sesoi: float = SESOI_SHARE,
    interventions: Sequence[Interventions] = (),
    semantic_ids: bool = False,
    baselines: bool = False,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    command: str = "",
) -> Study:
    """Answer, for each task, whether learning the other one beside it helps.

    Args:
        dataset: with both tasks.
        out: the study's folder.
        seeds: models of each arm; under three the verdict is provisional.
        config: resolved; the preset of `budget` by default.
        budget: the preset's name, for the stamp.
        sesoi: the smallest effect of interest, as a share of the plain arm's mean.
        interventions: `2x2` shuffles, flattens or both each task's training data where it is the
            added one; `caps` limits the targets of an item. See `twofold.studies.interventions`.
        semantic_ids: also train `joint` with semantic IDs made in every way; see
            `twofold.identifiers.assign.schemes`.
        baselines: also train and tune item-kNN, SASRec, bi-encoders and the history's mean, and
            tune BM25, on validation; else popularity and BM25 as they come.
        resume: go on with what a stopped study left in `out`.
        device, threads: as in `twofold.train`.
        command: what reproduces the study, for the report.

    Raises:
        InputError: one side of the data is missing, or `out` holds something else.
    """
    folder = Path(out)
    config = config or resolve_config(budget)
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: at least 1")
    _require_both_tasks(dataset)
    named_arms = semantic_arms(dataset, config) if semantic_ids else ()
    arms = (*study_arms(dataset, interventions), *named_arms)
    if threads:
        torch.set_num_threads(threads)
    place = resolve_device(device)
    precision = resolve_precision(config.precision, place)
    config = config.model_copy(update={"precision": precision})
    plan = {
        "data": dataset.digest,
        "device": place.type,
        "seeds": seeds,
        "budget": budget,
        "sesoi_share": sesoi,
        "interventions": list(interventions),
        "semantic_ids": semantic_ids,
        "baselines": baselines,
        "threads": torch.get_num_threads(),
        "training": config.model_dump(),
    }
    start(folder, plan, resume)
    beside = quick_baselines(dataset)
    if baselines:
        beside = every_baseline(dataset, folder / "baselines", config, device, threads)
    run_baselines(dataset, folder, beside)
    identifiers = _identifiers_of(dataset, config, folder / "encoders")
    for seed in range(seeds):
        run_arms(dataset, arms, folder, config, seed, device, threads, identifiers)
    return _conclude(dataset, arms, folder, plan, command)


def _identifiers_of(
    dataset: PreparedDataset, config: TrainingConfig, folder: Path
) -> IdentifiersOf:
    """What makes the identifiers of arms with such settings, once for all of them."""

    @cache
    def made(settings: SettingOverrides) -> ItemIdentifiers | None:
        own = config.model_copy(update=dict(settings))
        return None if own.identifiers == "atomic" else assign_identifiers(dataset, own, folder)

    return made


def _require_both_tasks(dataset: PreparedDataset) -> None:
    if len(dataset.tasks) < 2:
        need = "queries with qrels" if "search" not in dataset.tasks else "interactions"
        raise InputError(
            f"{dataset.source}: a study compares two tasks, and this dataset has no {need}; "
            f"add them, or train one task with: twofold train --arm {dataset.tasks[0]}"
        )
    for task in dataset.tasks:
        dataset.task(task).require_examples()
        least_of: dict[Split, int] = {"validation": 1, "test": 2}
        for split, least in least_of.items():
            requests = dataset.task(task).requests(split).requests
            if len({request.user_id or request.request_id for request in requests}) < least:
                raise InputError(
                    f"{dataset.source}: too few {split} requests for {task} ({len(requests)}); "
                    f"a user needs three events, and some queries must be in every split"
                )


def require_study_folder(folder: Path, resume: bool) -> None:
    """Raise InputError unless `folder` holds nothing, or a study that `resume` may go on with."""
    if (folder / _PLAN).is_file():
        if not resume:
            raise InputError(f"{folder}: holds a study already; add --resume to go on with it")
        return
    others = [p for p in folder.iterdir() if p.name not in _EARLY] if folder.is_dir() else []
    if others:
        raise InputError(f"{folder}: exists and is not empty; give another folder or remove it")


def start(folder: Path, plan: dict[str, Any], resume: bool) -> None:
    """Make sure that the folder holds this study or nothing."""
    require_study_folder(folder, resume)
    path = folder / _PLAN
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        artifact.replace_file(path, json.dumps(plan, indent=2, sort_keys=True).encode())
        return
    before = artifact.read_json(path)
    changed = [key for key in sorted(plan) if before.get(key) != plan[key]]
    if refused := [key for key in changed if not _has_grown(key, before, plan)]:
        raise InputError(
            f"{folder}: the study there was started with another {', '.join(refused)}; "
            f"repeat its command, or give another folder"
        )
    if changed:
        artifact.replace_file(path, json.dumps(plan, indent=2, sort_keys=True).encode())


def _has_grown(key: str, before: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether a resumed study asks for more seeds or other arms: its models stay as they are."""
    if key == "seeds":
        return bool(plan[key] >= before[key])
    if key == "semantic_ids":
        return bool(plan[key] or not before.get(key))
    return key == "interventions" and set(plan[key]) >= set(before.get(key, []))


def run_baselines(dataset: PreparedDataset, folder: Path, baselines: Iterator[Baseline]) -> None:
    """Score baselines into `folder`; one that the data have no room for is left out aloud."""
    for baseline in baselines:
        slug = "-".join(baseline.name.lower().split())
        place = folder / "evaluations" / "baselines" / baseline.task / slug
        if artifact.is_complete(place):
            continue
        try:
            chosen = baseline.make()
        except InputError as reason:  # no text at all: nothing to set beside the arms
            _log.info("without %s: %s", baseline.name, reason)
            continue
        found = evaluate(chosen.retriever, dataset, [baseline.task])
        stamp = {
            "retriever": chosen.retriever.name,
            "data": dataset.digest,
            "settings": dict(chosen.settings),
            "candidates": chosen.candidates,
        }
        save_evaluation(found, place, stamp)


def run_arms(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: Path,
    config: TrainingConfig,
    seed: int,
    device: str,
    threads: int | None,
    identifiers: IdentifiersOf = lambda _: None,
) -> None:
    """Train and score every arm with one seed."""
    reference: dict[str, float] = {}
    for arm in arms:
        model_folder = folder / "models" / arm.name / f"seed-{seed}"
        place = folder / "evaluations" / arm.name / f"seed-{seed}"
        if not (artifact.is_complete(model_folder) and artifact.is_complete(place)):
            start = time.monotonic()
            retriever = train(
                dataset,
                arm,
                out=model_folder,
                config=config,
                seed=seed,
                device=device,
                threads=threads,
                resume=True,
                histories=False,
                reference=reference,
                identifiers=identifiers(arm.settings),
            )
            if not artifact.is_complete(place):
                found = evaluate(retriever, dataset, arm.judged)
                save_evaluation(found, place, retriever.model.stamp.as_dict())
            seconds = time.monotonic() - start
            _log.info("%s, seed %d: trained and scored in %.0f s", arm.name, seed, seconds)
        if len(arm.tasks) == 1 and not arm.step_matched:
            stamp = Stamp.read(artifact.load(model_folder, "model")["config"]["stamp"])
            reference[arm.tasks[0]] = stamp.best_value


def _conclude(
    dataset: PreparedDataset,
    arms: Sequence[Arm],
    folder: Path,
    plan: dict[str, Any],
    command: str,
) -> Study:
    """From the evaluations to study.json, report.html and the manifest."""
    scores = Results(dataset, arms, folder, plan["seeds"])
    pairs = training_pairs(dataset)
    verdicts = decide({task: scores.primary(task) for task in dataset.tasks}, plan["sesoi_share"])
    result = {
        "format": FORMAT,
        "stamp": _stamp(dataset, plan, scores, command),
        "data": data_report(dataset),
        "arms": scores.arms(),
        "baselines": scores.baselines(),
        "training": scores.training,
        "effects": scores.effects(),
        "verdicts": {task: verdict.as_dict() for task, verdict in verdicts.items()},
        "slices": slice_effects(dataset, scores),
        "popularity": popularity_evidence(dataset, scores),
        "representation": representation_evidence(dataset, pairs, folder, plan["seeds"]),
        "wins": wins_evidence(dataset, scores, pairs),
        "attribution": attribution(scores) if "2x2" in plan["interventions"] else None,
        "caps": cap_effects(scores) if "caps" in plan["interventions"] else None,
        "semantic_ids": semantic_id_effects(scores, arms) if plan["semantic_ids"] else None,
    }
    artifact.write_json(folder / "study.json", result)
    scores.per_request().write_parquet(folder / "per_request.parquet")
    write_report(result, folder / "report.html")
    artifact.seal(folder, KIND, plan)
    return Study(folder, verdicts, result)


def _stamp(
    dataset: PreparedDataset, plan: dict[str, Any], scores: Results, command: str
) -> dict[str, Any]:
    joint = scores.stamps["joint"][0]
    return {
        **plan,
        "source": dataset.source,
        "split": dataset.protocol.split,
        "cutoff": dataset.protocol.cutoff,
        "seen": dataset.protocol.seen,
        "catalog": len(dataset.catalog),
        "candidates": joint.candidates,
        "ties": joint.ties,
        "primary": str(PRIMARY),
        "selection": str(SELECTION),
        "loss": joint.loss,
        "source_weights": joint.source_weights,
        "targets": joint.targets,
        "precision": joint.precision,
        "versions": artifact.versions(),
        "command": command,
    }
