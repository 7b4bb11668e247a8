"""Train the arms with seeds, score them on the full catalog, and decide.

Invariant: a model or an evaluation in the folder is finished and is not computed again, so a
resumed study repeats nothing.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from twofold import artifact
from twofold.encoders.text_encoder import encode_ahead
from twofold.extras import require_extra
from twofold.model.backbone import resolve_device, resolve_precision
from twofold.records import Task
from twofold.studies.analyses.power import outlook
from twofold.studies.arms import InterventionSet
from twofold.studies.conclusion import LookResult, conclude, evaluate_look
from twofold.studies.folder import StudyFolder
from twofold.studies.forecast.forecast import report_forecast
from twofold.studies.planning.checks import require_answerable, require_space
from twofold.studies.planning.conditions import conditions_of
from twofold.studies.planning.config import StudyConfig
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.plan_file import begin
from twofold.studies.planning.questions import QuestionChoice, Questions, TextChoice, questions_of
from twofold.studies.planning.resolve import resolve
from twofold.studies.scores import Scores
from twofold.studies.statistics.looks import Looks, are_final, looks_at
from twofold.studies.verdict import SESOI_SHARE, TaskVerdict
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.pool import Executor, Pool, Workload, run_units
from twofold.studies.workers.processes import LocalExecutor
from twofold.studies.workers.units import Unit, trained_arms, units_of
from twofold.tasks.folds import FoldChoice
from twofold.tasks.prepared import PreparedDataset, require_dataset
from twofold.training.config import (
    Budget,
    TrainingConfig,
    as_config,
    require_threads,
    resolve_config,
)
from twofold.training.loop import one_at_a_time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Study:
    """A finished study.

    Attributes:
        folder: the folder with study.json, report.html, per_request.parquet, models/ and
            evaluations/.
        verdicts: the verdicts on the first question, by task.
        result: the content of study.json.
    """

    folder: Path
    verdicts: Mapping[Task, TaskVerdict]
    result: Mapping[str, Any]

    def __repr__(self) -> str:
        verdicts = {task: verdict.verdict for task, verdict in self.verdicts.items()}
        return f"Study(folder={str(self.folder)!r}, verdicts={verdicts})"


def study(
    dataset: PreparedDataset,
    *,
    out: str | Path,
    seeds: int = 3,
    max_seeds: int | None = None,
    folds: FoldChoice | None = None,
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
    """Test, for each task, whether learning the other one as well helps, and whether one model can
    replace two.

    Args:
        dataset: a dataset with both tasks.
        out: the study's folder.
        seeds: the number of trained models of each arm; with two, verdicts are provisional; with
            one, there is no verdict.
        max_seeds: the largest number of seeds, in place of `seeds`: seeds are added until every
            verdict is final. Interim looks are after 3, 5, 8 and 12 seeds, and each may spend a
            part of the error.
        folds: whether each seed holds out another part of the data; see `twofold.tasks.folds`.
            By default `auto`, or the value of the resumed study.
        config: resolved training settings; the preset of `budget` by default.
        budget: the preset's name, for the stamp.
        sesoi: the smallest effect of interest, as a share of the plain arm's mean.
        question: `transfer` (does learning the other task help?), `replace` (can one model replace
            two?) or `both`; see `twofold.studies.planning.questions`.
        text: whether models read the items' texts: `with`, `without`, or `both`.
        margin: the non-inferiority margin of `replace`, as a share of the plain arm's mean; `sesoi`
            by default.
        measure: the primary measure, which decides; by default Recall@30, or Recall@10 if the
            catalog is small.
        interventions: `2x2` and `caps` change the training data of the added task; see
            `twofold.studies.interventions`.
        semantic_ids: also train `joint` with each of `twofold.identifiers.assign.schemes`.
        baselines: tune all baselines on validation; otherwise those that take seconds run untuned.
        tune: the number of recipes that are tried for each arm on validation; 0 uses the fixed
            recipe. By default it depends on budget and seeds, or is that of the resumed study.
        resume: continue an interrupted study in `out`.
        device: as in `twofold.train`.
        threads: the number of CPU threads of each worker; results are bit-identical for the same
            number. By default the workers share torch's threads; a resumed study keeps its number.
        workers: the number of trainings that run at once, each in its own process; by default as
            many as threads and memory allow, and one on a GPU. It does not change the results.
        machines: the executor of the trainings; this machine by default. `twofold.cluster.study`
            has the executor of a Ray cluster.
        command: the command that reproduces the study, for the report.

    Raises:
        InputError: a task is missing, `out` has other files, or the extra `study` is not
            installed.
    """
    require_extra("study", "a study")
    require_dataset(dataset)
    require_threads(threads)
    training = _for_device(as_config(config or resolve_config(budget)), device)
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
    folder, executor = StudyFolder(artifact.at_home(out)), machines or LocalExecutor()
    previous = StudyPlan.read(folder.plan) if resume else None
    resolved = resolve(study_config, previous, folder.looks() if previous else ())
    questions = questions_of(dataset, training, question, text, tunes=resolved.tune > 0)
    conditions = conditions_of(dataset, folder, resolved, questions, training)
    device_type, units = resolve_device(device).type, len(conditions) * resolved.seeds
    threads = threads or (previous.threads if previous else None)
    resources = executor.allocate(Workload(workers, threads, units, dataset, device_type))
    plan = StudyPlan.of(resolved, dataset, training, device_type, resources.threads)
    context = StudyContext(dataset, conditions, folder, device, plan)
    with artifact.claim(folder.path), _torch_threads(resources.threads):
        if previous is None:  # a study that is resumed frees some space itself
            require_space(folder, conditions.values(), plan.seeds, len(dataset.catalog))
        begin(folder, plan, resume)
        return _run(context, questions, executor.pool(context, resources), command)


def _for_device(config: TrainingConfig, device: str) -> TrainingConfig:
    """The configuration with the precision resolved for the device."""
    precision = resolve_precision(config.precision, resolve_device(device))
    return config.model_copy(update={"precision": precision})


def _log_forecast(dataset: PreparedDataset) -> None:
    """Log the forecast from the data before anything is trained."""
    if expectation := report_forecast(dataset):
        for line in expectation.lines:
            _log.info("%s", line)


def _run(
    context: StudyContext,
    questions: Questions,
    workers: AbstractContextManager[Pool],
    command: str,
) -> Study:
    """Run a study that has begun: forecast, looks, conclusion."""
    folder, plan = context.folder, context.plan
    _log_forecast(context.dataset)
    texts = [*context.dataset.catalog.texts, *context.dataset.queries["text"]]
    for condition in context.conditions.values():
        encode_ahead(condition.training.text_encoder, texts)
    with workers as pool:
        look_result, looks = _run_looks(context, questions, pool)
    context = replace(context, plan=replace(plan, seeds=looks.seeds))
    begin(folder, context.plan, resume=True)
    result = conclude(context, looks.taken, look_result, command)
    return Study(folder.path, result.verdicts, result.to_json())


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Set the number of CPU threads while the block runs, and train nothing else meanwhile."""
    with one_at_a_time():
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _run_looks(context: StudyContext, questions: Questions, pool: Pool) -> tuple[LookResult, Looks]:
    """Train and evaluate up to one look after the other, until every verdict is final or the last
    look is reached. Return its result and its place among the looks."""
    plan, results = context.plan, dict[Unit, Any]()
    taken = context.folder.looks()
    for looks in looks_at(plan.seeds, plan.max_seeds, taken, plan.looks_end):
        looks.log_plan()
        _train(context, pool, looks, results)
        look_result = evaluate_look(context, questions, looks)
        if looks.seeds < looks.most:
            context.folder.save_looks(looks.taken)
        # A resumed study takes its last look again, which may be before its first planned seeds.
        is_enough = looks.seeds >= plan.seeds
        if are_final([answer.verdicts for answer in look_result.answers], looks) and is_enough:
            break
    return look_result, looks


def _train(context: StudyContext, pool: Pool, looks: Looks, results: dict[Unit, Any]) -> None:
    """Run all units up to this look; the log reports the expected cost after the first seed."""
    first = [unit for text in context.conditions for unit in trained_arms(context, text, 0)]
    for unit, _ in run_units(units_of(context, looks.seeds), context, pool, results):
        if unit in first and all(trained in results for trained in first):
            seconds = sum(results[trained] for trained in first)
            looks.log_cost(seconds / pool.size, _outlooks(context, looks))


def _outlooks(context: StudyContext, looks: Looks) -> Iterator[str]:
    """The estimated power of the last condition after the first seed, one sentence for each task:
    for *transfer*, or for the models as deployed if *transfer* is not a question."""
    condition, plan = list(context.conditions.values())[-1], context.plan
    evaluated = condition.evaluated[-1]
    scores = Scores(context.dataset, condition.arms, evaluated, 1, plan.measure, context.folds)
    for task in context.dataset.tasks:
        yield outlook(scores, task, plan.sesoi_share, sorted({looks.seeds, looks.most}))
