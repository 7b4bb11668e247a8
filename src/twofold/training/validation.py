"""Validation: the measure by which checkpoints are compared, and its requests."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from twofold.evaluation.measures import Measure
from twofold.records import Floats, Source, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.rank_counts import RankCounter
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig

SELECTION = Measure("nDCG", 10)
"""The measure by which the best checkpoint is chosen."""

Validate = Callable[[], Mapping[str, float]]
"""Measures the current weights: an entry for each task, and `value`, which checkpoints are
compared by."""


def validation_requests(
    dataset: PreparedDataset,
    arm: Arm,
    sources: Mapping[Task, Source],
    config: TrainingConfig,
    seed: int,
) -> list[JudgedRequests]:
    """The validation requests of each task of the arm that has any.

    Args:
        dataset: the dataset whose validation split is read.
        arm: the arm that trains; requests of a changed source match the change.
        sources: the real training examples by task.
        config: the resolved configuration.
        seed: the random seed of the intervention.
    """
    judged = [
        dataset.task(task).requests("validation").sample(config.max_validation_requests)
        for task in arm.tasks
    ]
    if arm.intervention:
        changed = arm.tasks.index(arm.intervention.task)
        judged[changed] = arm.intervention.validation(
            judged[changed], sources[arm.intervention.task], dataset.catalog, seed
        )
    return [requests for requests in judged if requests.requests]


def validator(
    retriever: GenerativeRetriever,
    judged: Sequence[JudgedRequests],
    reference: Mapping[str, float],
) -> Validate | None:
    """What measures a model in training; None where there is no request.

    Args:
        retriever: answers with the current weights.
        judged: the requests of each task.
        reference: the value that a task's is divided by before the mean over tasks; 1 by default.
    """
    if not judged:
        return None
    measured = {str(requests.task): _values(retriever, requests) for requests in judged}

    def validate() -> dict[str, float]:
        values = {task: float(np.mean(of_requests())) for task, of_requests in measured.items()}
        scaled = [value / (reference.get(task) or 1.0) for task, value in values.items()]
        return {**values, "value": sum(scaled) / len(scaled)}

    return validate


def mean_value(retriever: GenerativeRetriever, judged: JudgedRequests) -> float:
    """The mean of the selection measure over the requests."""
    return float(np.mean(_values(retriever, judged)()))


def _values(retriever: GenerativeRetriever, judged: JudgedRequests) -> Callable[[], Floats]:
    """What gives the selection measure of each request under the current weights, (R,)."""
    if not retriever.model.tries:
        return RankCounter(retriever.model, judged.requests, judged.qrels, SELECTION).values

    def of_answers() -> Floats:
        run = retriever.retrieve(judged.requests, SELECTION.k)
        ids = [request.request_id for request in judged.requests]
        return np.array([SELECTION.of(run[own].item_ids, judged.qrels[own]) for own in ids])

    return of_answers
