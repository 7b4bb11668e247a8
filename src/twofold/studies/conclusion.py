"""From the evaluations of a study to its verdicts, and to study.json, report.html and the manifest.

Invariant: only finished models and evaluations are read, so all files can be written again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from twofold import artifact
from twofold.studies import analyses
from twofold.studies.analyses.analysis import Evidence
from twofold.studies.folder import KIND
from twofold.studies.pages.report import write_report
from twofold.studies.planning.questions import Questions
from twofold.studies.result import (
    FORMAT,
    Answer,
    StudyResult,
    StudyStamp,
    result_schema,
    result_type,
)
from twofold.studies.scores import Scores
from twofold.studies.statistics.looks import Looks
from twofold.studies.verdict import decide
from twofold.studies.workers.context import StudyContext
from twofold.training.config import SELECTION
from twofold.training.loop import return_memory


@dataclass(frozen=True, slots=True)
class LookResult:
    """The result of an interim look, from the models trained so far.

    Attributes:
        scores: the scores, by the suffix of the arms.
        answers: the verdicts on every question.
    """

    scores: Mapping[str, Scores]
    answers: Sequence[Answer]


def evaluate_look(context: StudyContext, questions: Questions, looks: Looks) -> LookResult:
    """The scores of all arms so far, and the verdicts on every question."""
    dataset, folds, plan = context.dataset, context.folds, context.plan
    scores = {
        folder.evaluated_as: Scores(
            dataset, condition.arms, folder, looks.seeds, plan.measure, folds
        )
        for condition in context.conditions.values()
        for folder in condition.evaluated
    }
    answers = [
        Answer(
            question=asked.question,
            text=asked.text,
            suffix=asked.suffix,
            source_weights=dict(scores[asked.suffix].stamps["joint"][0].source_weights),
            verdicts=decide(
                {task: scores[asked.suffix].primary(task) for task in dataset.tasks},
                plan.sesoi_share,
                question=asked.question,
                margin=plan.margin,
                looks=looks.planned,
            ),
        )
        for asked in questions.asked
    ]
    return LookResult(scores, answers)


def conclude(
    context: StudyContext, looks: Sequence[int], look: LookResult, command: str
) -> StudyResult:
    """Analyse the last look, and write study.json, report.html and the manifest.

    Args:
        context: the study; its plan has the number of seeds that were trained.
        looks: the number of seeds at each interim look.
        look: the result of the last look.
        command: the command that reproduces the study.
    """
    folder, scores = context.folder, look.scores
    evidence = _evidence(context, look)
    result: StudyResult = result_type()(
        format=FORMAT,
        stamp=_stamp(evidence, looks, command),
        arms={
            name: means
            for of_folder in scores.values()
            for name, means in of_folder.means().items()
        },
        baselines=evidence.deployed.baselines(),
        verdicts=look.answers[0].verdicts,
        questions=look.answers,
        **dict(_analysed(evidence)),
    )
    artifact.write_json(folder.result, result.to_json())
    artifact.write_json(folder.schema, result_schema())
    by_request = pl.concat(of_folder.per_request() for of_folder in scores.values())
    by_request.write_parquet(folder.per_request)
    write_report(result, folder.report)
    artifact.seal(folder.path, KIND, context.plan.to_json())
    return result


def _evidence(context: StudyContext, look: LookResult) -> Evidence:
    """The input of the analyses, which are about the first question."""
    scores, answer = look.scores, look.answers[0]
    evaluated = context.conditions[answer.text].evaluated
    deployed = next(iter(context.conditions.values()))
    return Evidence(
        dataset=context.dataset,
        scores=scores[answer.suffix],
        folder=next(folder for folder in evaluated if folder.evaluated_as == answer.suffix),
        plan=context.plan,
        deployed=scores[""],
        generative=scores[deployed.evaluated[-1].evaluated_as],
        trained={
            f"{arm}{condition.folder.trained_as}": stamps
            for condition in context.conditions.values()
            for arm, stamps in scores[condition.folder.evaluated_as].stamps.items()
        },
    )


def _analysed(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """The result of each analysis, one at a time, since some need large matrices."""
    for analysis in analyses.ANALYSES:
        return_memory()
        yield analysis.name, analysis.compute(evidence)


def _stamp(evidence: Evidence, looks: Sequence[int], command: str) -> StudyStamp:
    """The stamp of the result: the plan, the protocol, and how joint was trained."""
    dataset, scores = evidence.dataset, evidence.deployed
    joint, fixed = scores.stamps["joint"][0], scores.folds.why_fixed
    return StudyStamp(
        **evidence.plan.to_json(),
        looks=looks,
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
        versions=dict(artifact.versions()),
        command=command,
    )
