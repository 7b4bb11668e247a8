"""Score a trained arm: as it would be deployed, and for the question *transfer*."""

from collections.abc import Sequence

import polars as pl

from twofold import artifact
from twofold.retrieval.generative import GenerativeRetriever
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.tasks.evaluate import Evaluation, evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.state import load_candidate, load_weights


def score_as_deployed(
    retriever: GenerativeRetriever, dataset: PreparedDataset, arm: Arm, outputs: SeedOutputs
) -> None:
    """Score a model as it would be deployed, unless that is done."""
    out = outputs.as_deployed(arm.name)
    if not artifact.is_complete(out):
        stamp = retriever.model.stamp.as_dict()
        save_evaluation(evaluate(retriever, dataset, arm.judged), out, stamp)


def score_for_transfer(
    retriever: GenerativeRetriever, dataset: PreparedDataset, arm: Arm, outputs: SeedOutputs
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
    generative = GenerativeRetriever(model.generative, retriever.name)
    by_task = []
    for task, step in best.items():
        if len(arm.tasks) > 1:
            load_weights(model.backbone, load_candidate(outputs.state(arm.name), step))
        by_task.append(evaluate(generative, dataset, [task]))
    stamp = {**model.stamp.as_dict(), "hybrid": None, "history_match": None, "judged_at": best}
    save_evaluation(_merged(by_task), out, stamp)


def _merged(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of several, each of another task."""
    return Evaluation(
        scores=pl.concat(evaluation.scores for evaluation in evaluations),
        runs={task: run for evaluation in evaluations for task, run in evaluation.runs.items()},
        qrels={
            task: qrels for evaluation in evaluations for task, qrels in evaluation.qrels.items()
        },
        unanswered={
            task: n for evaluation in evaluations for task, n in evaluation.unanswered.items()
        },
    )
