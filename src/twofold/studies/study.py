"""Train the arms with seeds, score them on the full catalog, and decide.

Invariant: a model or an evaluation that is in the folder is finished and is not made again; so a
study that was interrupted repeats nothing.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from twofold import artifact
from twofold.extras import require_extra
from twofold.model.backbone import resolve_device, resolve_precision
from twofold.records import Task
from twofold.studies import analyses
from twofold.studies.analyses.analysis import Evidence
from twofold.studies.analyses.power import outlook
from twofold.studies.arms import InterventionSet
from twofold.studies.folder import KIND, StudyFolder
from twofold.studies.forecast.forecast import report_forecast
from twofold.studies.pages.report import write_report
from twofold.studies.questions import QuestionChoice, Questions, TextChoice, questions_of
from twofold.studies.result import (
    FORMAT,
    Answer,
    StudyResult,
    StudyStamp,
    result_schema,
    result_type,
)
from twofold.studies.scores import Scores
from twofold.studies.statistics.looks import Looks, are_settled, looks_at
from twofold.studies.verdict import SESOI_SHARE, TaskVerdict, decide
from twofold.studies.workers.plan import kinds_of, require_answerable, settled
from twofold.studies.workers.pool import Crew, Machines, Pool, done
from twofold.studies.workers.processes import ThisMachine
from twofold.studies.workers.units import Seed, Unit, Work, units_of
from twofold.tasks.folds import Which
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import Budget, TrainingConfig, resolve_config
from twofold.training.loop import return_memory
from twofold.training.validation import SELECTION

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
    machines: Machines | None = None,
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
            the place of two?) or `both`; see `twofold.studies.questions`.
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
        machines: those that train; this one by default. `twofold.cluster.study` has others.
        command: what reproduces the study, for the report.

    Raises:
        InputError: a task is missing, `out` holds something else, or the extra `study` is not
            installed.
    """
    require_extra("study", "a study")
    config = _for_device(config or resolve_config(budget), device)
    asked: dict[str, Any] = {
        "seeds": seeds,
        "max_seeds": max_seeds,
        "folds": folds,
        "budget": budget,
        "sesoi_share": sesoi,
        "question": question,
        "text": text,
        "margin": margin,
        "measure": measure,
        "interventions": list(interventions),
        "semantic_ids": semantic_ids,
        "baselines": baselines,
        "tune": tune,
    }
    require_answerable(dataset, asked, workers)
    folder, machines = StudyFolder(Path(out)), machines or ThisMachine()
    begun = folder.begun_with() if resume else {}
    asked = settled(asked, folder, begun)
    questions = questions_of(dataset, config, question, text, tunes=bool(asked["tune"]))
    kinds = kinds_of(dataset, folder, asked, questions, config)
    place = resolve_device(device).type
    at_once = len(kinds) * asked["seeds"]
    crew = machines.crew(workers, threads or begun.get("threads"), at_once, dataset, place)
    plan = {**asked, **_rests_on(dataset, place, crew, config)}
    work = Work(dataset, kinds, folder, device, plan)
    with artifact.claim(folder.path), _torch_threads(crew.threads):
        folder.begin(plan, resume)
        _log_forecast(dataset)
        with machines.pool(work, crew) as pool:
            judged, reached = _run(work, questions, pool)
        return _conclude(work, judged, reached, command)


def _rests_on(
    dataset: PreparedDataset, place: str, crew: Crew, config: TrainingConfig
) -> dict[str, Any]:
    """What the numbers of a study depend on besides what was asked for."""
    return {
        "data": dataset.digest,
        "device": place,
        "threads": crew.threads,
        "training": config.model_dump(),
    }


def _log_forecast(dataset: PreparedDataset) -> None:
    """Say what the data let expect, before anything is trained."""
    if expectation := report_forecast(dataset):
        for line in expectation.lines:
            _log.info("%s", line)


def _for_device(config: TrainingConfig, device: str) -> TrainingConfig:
    """The configuration with the precision that the device has."""
    precision = resolve_precision(config.precision, resolve_device(device))
    return config.model_copy(update={"precision": precision})


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Set the number of CPU threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(work: Work, questions: Questions, pool: Pool) -> "tuple[_Judged, dict[str, Any]]":
    """Everything that the plan asks for: baselines, arms, verdicts; and the plan with the seeds and
    the looks that were reached."""
    plan, results = work.plan, dict[Unit, Any]()
    taken, end = work.folder.looks(), plan["looks_end"]
    for looks in looks_at(plan["seeds"], plan["max_seeds"], taken, end):
        looks.log_plan()
        _train(work, pool, looks, results)
        judged = _judge(work, questions, looks)
        if looks.seeds < looks.most:
            work.folder.save_looks(looks.taken)
        if are_settled([answer.verdicts for answer in judged.answers], looks):
            break
    reached = {**plan, "seeds": looks.seeds}
    work.folder.begin(reached, resume=True)
    return judged, {**reached, "looks": looks.taken}


def _train(work: Work, pool: Pool, looks: Looks, results: dict[Unit, Any]) -> None:
    """Do everything up to this look; the log tells what is to come."""
    first: dict[Unit, float] = {}
    for unit, result in done(units_of(work, looks.seeds), work, pool, results):
        if isinstance(unit, Seed) and unit.seed == 0:
            first[unit] = result
            if len(first) == len(work.kinds):
                outlooks = _outlooks(work, looks)
                looks.log_cost(sum(first.values()) / pool.size, outlooks)


def _outlooks(work: Work, looks: Looks) -> Iterator[str]:
    """What the first seed promises of the question *transfer*, from behaviour where it is asked;
    of what would be deployed, where only that is asked for."""
    kind, plan = list(work.kinds.values())[-1], work.plan
    scores = Scores(work.dataset, kind.arms, kind.evaluated[-1], 1, plan["measure"], work.folds)
    for task in work.dataset.tasks:
        yield outlook(scores, task, plan["sesoi_share"], sorted({looks.seeds, looks.most}))


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a look finds.

    Attributes:
        scores: by the suffix of the arms.
        answers: to every question.
    """

    scores: Mapping[str, Scores]
    answers: Sequence[Answer]


def _judge(work: Work, questions: Questions, looks: Looks) -> _Judged:
    """The scores of all arms so far, and the verdicts on every question."""
    dataset, folds, plan = work.dataset, work.folds, work.plan
    scores = {
        place.judged_as: Scores(dataset, kind.arms, place, looks.seeds, plan["measure"], folds)
        for kind in work.kinds.values()
        for place in kind.evaluated
    }
    answers = [
        Answer(
            question=asked.question,
            text=asked.text,
            suffix=asked.suffix,
            source_weights=dict(scores[asked.suffix].stamps["joint"][0].source_weights),
            verdicts=decide(
                {task: scores[asked.suffix].primary(task) for task in dataset.tasks},
                plan["sesoi_share"],
                question=asked.question,
                margin=plan["margin"],
                looks=looks.planned,
            ),
        )
        for asked in questions.asked
    ]
    return _Judged(scores, answers)


def _conclude(work: Work, judged: _Judged, plan: Mapping[str, Any], command: str) -> Study:
    """From the evaluations to study.json, report.html and the manifest."""
    scores, answers = judged.scores, judged.answers
    dataset, folder, first, deployed = work.dataset, work.folder, answers[0], scores[""]
    kind = work.kinds[first.text]
    evidence = Evidence(
        dataset,
        scores[first.suffix],
        next(place for place in kind.evaluated if place.judged_as == first.suffix),
        plan,
        deployed,
        scores[next(iter(work.kinds.values())).evaluated[-1].judged_as],
        {
            f"{arm}{kind.folder.trained_as}": stamps
            for kind in work.kinds.values()
            for arm, stamps in scores[kind.folder.judged_as].stamps.items()
        },
    )
    result: StudyResult = result_type()(
        format=FORMAT,
        stamp=_stamp(dataset, plan, deployed, command),
        arms={name: own for each in scores.values() for name, own in each.means().items()},
        baselines=deployed.baselines(),
        verdicts=first.verdicts,
        questions=answers,
        **dict(_analysed(evidence)),
    )
    content = result.to_json()
    artifact.write_json(folder.result, content)
    artifact.write_json(folder.schema, result_schema())
    by_request = pl.concat(each.per_request() for each in scores.values())
    by_request.write_parquet(folder.per_request)
    write_report(result, folder.report)
    artifact.seal(folder.path, KIND, {key: value for key, value in plan.items() if key != "looks"})
    return Study(folder.path, first.verdicts, content)


def _analysed(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """The result of each analysis, one after the other: some hold large matrices."""
    for analysis in analyses.ANALYSES:
        return_memory()
        yield analysis.name, analysis.compute(evidence)


def _stamp(
    dataset: PreparedDataset, plan: Mapping[str, Any], scores: Scores, command: str
) -> StudyStamp:
    """What every number rests on: the plan, the protocol, and how joint was trained."""
    joint, fixed = scores.stamps["joint"][0], scores.folds.why_fixed
    return StudyStamp(
        **plan,
        folded=[task for task in dataset.tasks if not fixed[task]],
        folded_users=None if fixed["recommendation"] else scores.folds.folded_users,
        why_fixed={task: why for task in dataset.tasks if (why := fixed[task])},
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
