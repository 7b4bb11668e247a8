"""Train the arms with seeds, score them on the full catalog, and decide.

Invariant: a model or an evaluation that is in the folder is finished and is not made again; so a
study that was interrupted repeats nothing.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from twofold import artifact
from twofold.extras import require_extra
from twofold.model.backbone import resolve_device, resolve_precision
from twofold.records import Task
from twofold.studies.analyses.power import outlook
from twofold.studies.arms import InterventionSet
from twofold.studies.conclusion import LookResult, conclude, evaluate_look
from twofold.studies.folder import StudyFolder
from twofold.studies.forecast.forecast import report_forecast
from twofold.studies.planning.checks import require_answerable
from twofold.studies.planning.conditions import conditions_of
from twofold.studies.planning.config import StudyConfig
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.plan_file import begin
from twofold.studies.planning.questions import QuestionChoice, Questions, TextChoice, questions_of
from twofold.studies.planning.resolve import resolve
from twofold.studies.scores import Scores
from twofold.studies.statistics.looks import Looks, are_final, looks_at
from twofold.studies.verdict import SESOI_SHARE, TaskVerdict
from twofold.studies.workers.pool import Executor, Pool, run_units
from twofold.studies.workers.processes import LocalExecutor
from twofold.studies.workers.units import Seed, StudyContext, Unit, units_of
from twofold.tasks.folds import Which
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import Budget, TrainingConfig, resolve_config

_log = logging.getLogger(__name__)


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
    max_seeds: int | None = None,
    folds: Which | None = None,
    config: TrainingConfig | None = None,
    budget: Budget = "standard",
    sesoi: float = SESOI_SHARE,
    question: QuestionChoice = "both",
    text: TextChoice = "both",
    margin: float | None = None,
    measure: str | None = None,
    interventions: Sequence[InterventionSet] = (),
    semantic_ids: bool = False,
    baselines: bool = False,
    tune: int | None = None,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    machines: Executor | None = None,
    command: str = "",
) -> Study:
    """Answer, for each task, whether learning the other one as well helps, and whether one model
    can take the place of two.

    Args:
        dataset: with both tasks.
        out: the study's folder.
        seeds: trained models of each arm; two give provisional verdicts, one gives none.
        max_seeds: the most seeds, in place of `seeds`: seeds are added until every verdict stands.
            Looks are taken after 3, 5, 8 and 12, and each may spend a part of the error.
        folds: whether each seed holds out another part of the data; see `twofold.tasks.folds`.
            `auto` by default, or as the study that is resumed had it.
        config: resolved training settings; the preset of `budget` by default.
        budget: the preset's name, for the stamp.
        sesoi: the smallest effect of interest, as a share of the plain arm's mean.
        question: `transfer` (does learning the other task help?), `replace` (can one model take
            the place of two?) or `both`; see `twofold.studies.planning.questions`.
        text: whether models read the items' texts: `with`, `without`, or `both`, side by side.
        margin: what joint may lose and still take the place of two models, as a share of the plain
            arm's mean; `sesoi` by default.
        measure: the primary one, which decides; Recall@30 by default, and Recall@10 where the
            catalog is small.
        interventions: `2x2` and `caps` change the training data of the added task; see
            `twofold.studies.interventions`.
        semantic_ids: also train `joint` with each of `twofold.identifiers.assign.schemes`.
        baselines: tune all baselines on validation; else popularity and BM25, untuned.
        tune: the number of recipes that each arm's is chosen from on validation; 0 takes the fixed
            recipe. By default the number suits budget and seeds, or is that of the resumed study.
        resume: continue an interrupted study in `out`.
        device: as in `twofold.train`.
        threads: the number of CPU threads of each worker; bits repeat for one number. By default
            torch's are shared by the workers, or as the study that is resumed had.
        workers: the number of trainings that run at once, each in a process of its own; by default
            as many as there are threads and memory for, and one on a GPU. They change no number.
        machines: the executor of the trainings; this machine by default. `twofold.cluster.study`
            has that of a Ray cluster.
        command: what reproduces the study, for the report.

    Raises:
        InputError: a task is missing, `out` holds something else, or the extra `study` is not
            installed.
    """
    require_extra("study", "a study")
    training = _for_device(config or resolve_config(budget), device)
    study_config = StudyConfig(
        seeds=seeds,
        max_seeds=max_seeds,
        folds=folds,
        budget=budget,
        sesoi_share=sesoi,
        question=question,
        text=text,
        margin=margin,
        measure=measure,
        interventions=tuple(interventions),
        semantic_ids=semantic_ids,
        baselines=baselines,
        tune=tune,
    )
    require_answerable(dataset, study_config, workers)
    folder, executor = StudyFolder(Path(out)), machines or LocalExecutor()
    previous = StudyPlan.read(folder.plan) if resume else None
    resolved = resolve(study_config, previous, folder.looks() if previous else ())
    questions = questions_of(dataset, training, question, text, tunes=resolved.tune > 0)
    conditions = conditions_of(dataset, folder, resolved, questions, training)
    device_type, units = resolve_device(device).type, len(conditions) * resolved.seeds
    threads = threads or (previous.threads if previous else None)
    resources = executor.allocate(workers, threads, units, dataset, device_type)
    plan = StudyPlan.of(resolved, dataset, training, device_type, resources.threads)
    context = StudyContext(dataset, conditions, folder, device, plan)
    with artifact.claim(folder.path), _torch_threads(resources.threads):
        begin(folder, plan, resume)
        _log_forecast(dataset)
        with executor.pool(context, resources) as pool:
            look_result, looks = _run_looks(context, questions, pool)
        context = replace(context, plan=replace(plan, seeds=looks.seeds))
        begin(folder, context.plan, resume=True)
        result = conclude(context, looks.taken, look_result, command)
    return Study(folder.path, result.verdicts, result.to_json())


def _for_device(config: TrainingConfig, device: str) -> TrainingConfig:
    """The configuration with the precision that the device has."""
    precision = resolve_precision(config.precision, resolve_device(device))
    return config.model_copy(update={"precision": precision})


def _log_forecast(dataset: PreparedDataset) -> None:
    """Say what the data let expect, before anything is trained."""
    if expectation := report_forecast(dataset):
        for line in expectation.lines:
            _log.info("%s", line)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Set the number of CPU threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_looks(context: StudyContext, questions: Questions, pool: Pool) -> tuple[LookResult, Looks]:
    """Train and evaluate up to one look after the other, until every verdict is final or the last
    look is reached; return its result and its place among the looks."""
    plan, results = context.plan, dict[Unit, Any]()
    taken = context.folder.looks()
    for looks in looks_at(plan.seeds, plan.max_seeds, taken, plan.looks_end):
        looks.log_plan()
        _train(context, pool, looks, results)
        look_result = evaluate_look(context, questions, looks)
        if looks.seeds < looks.most:
            context.folder.save_looks(looks.taken)
        if are_final([answer.verdicts for answer in look_result.answers], looks):
            break
    return look_result, looks


def _train(context: StudyContext, pool: Pool, looks: Looks, results: dict[Unit, Any]) -> None:
    """Run all units up to this look; the log tells after the first seed what is to come."""
    seconds: dict[Unit, float] = {}  # of the first seed, by condition
    for unit, result in run_units(units_of(context, looks.seeds), context, pool, results):
        if isinstance(unit, Seed) and unit.seed == 0:
            seconds[unit] = result
            if len(seconds) == len(context.conditions):
                looks.log_cost(sum(seconds.values()) / pool.size, _outlooks(context, looks))


def _outlooks(context: StudyContext, looks: Looks) -> Iterator[str]:
    """The expected power after the first seed, for the last question of the study: *transfer* from
    behaviour, unless the study has only others."""
    condition, plan = list(context.conditions.values())[-1], context.plan
    evaluated = condition.evaluated[-1]
    scores = Scores(context.dataset, condition.arms, evaluated, 1, plan.measure, context.folds)
    for task in context.dataset.tasks:
        yield outlook(scores, task, plan.sesoi_share, sorted({looks.seeds, looks.most}))
