"""Validation: the measure by which checkpoints are compared, and its requests.

Most validations are on a sample of the requests; the last candidates are compared on all of them.
The sample is the same for every arm, and part of all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twofold.evaluation.measures import Measure
from twofold.model.checkpoint import GenerativeModel
from twofold.records import Floats, Source, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.rank_counts import RankCounter
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig
from twofold.training.schedule import Sizes

SELECTION = Measure("nDCG", 10)
"""The measure by which the best checkpoint is chosen."""

_SAMPLE, _SAMPLE_SEED = 350, 7
"""The most requests of a task in the sample, and the random seed that it is drawn with."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some of a task's requests.

    Attributes:
        values: measures the current weights on each of them.
        cost: what that costs, in the unit of `Sizes`.
    """

    values: Callable[[], Floats]
    cost: float


class Validation:
    """Measures the current weights: an entry for each task, and `value`, which checkpoints are
    compared by.

    Args:
        retriever: answers with the current weights.
        judged: the requests of each task, at least one of each.
        reference: the value that a task's is divided by before the mean over tasks; 1 by default.
    """

    def __init__(
        self,
        retriever: GenerativeRetriever,
        judged: Sequence[JudgedRequests],
        reference: Mapping[str, float],
    ) -> None:
        self._reference = reference
        self._parts = {
            str(own.task): [_part(retriever, part) for part in _divided(own)] for own in judged
        }
        self.sample_cost = sum(parts[0].cost for parts in self._parts.values())
        self.cost = sum(part.cost for parts in self._parts.values() for part in parts)

    @property
    def has_more(self) -> bool:
        """Whether there are requests beyond the sample."""
        return self.cost > self.sample_cost

    def on_sample(self) -> dict[str, float]:
        """The measures on the sample of the requests."""
        return self._measured(1)

    def on_all(self) -> dict[str, float]:
        """The measures on all requests."""
        return self._measured(2)

    def _measured(self, parts: int) -> dict[str, float]:
        values = {
            task: float(np.concatenate([part.values() for part in own[:parts]]).mean())
            for task, own in self._parts.items()
        }
        scaled = [value / (self._reference.get(task) or 1.0) for task, value in values.items()]
        return {**values, "value": sum(scaled) / len(scaled)}


def validation_of(
    model: GenerativeModel,
    judged: Sequence[JudgedRequests],
    beams: int,
    reference: Mapping[str, float],
) -> Validation | None:
    """The validation of a model; None where there is no request.

    Args:
        model: the model, whose weights may change.
        judged: the requests of each task.
        beams: of the beam search, for semantic IDs.
        reference: see `Validation`.
    """
    return (
        Validation(GenerativeRetriever(model, beams=beams), judged, reference) if judged else None
    )


def mean_value(retriever: GenerativeRetriever, judged: JudgedRequests) -> float:
    """The mean of the selection measure over the requests."""
    return float(_part(retriever, judged).values().mean())


def _divided(judged: JudgedRequests) -> list[JudgedRequests]:
    """The sample, and the rest if there is one."""
    sample = judged.sample(_SAMPLE, _SAMPLE_SEED)
    chosen = {request.request_id for request in sample.requests}
    rest = [request for request in judged.requests if request.request_id not in chosen]
    return [sample, replace(judged, requests=rest)] if rest else [sample]


def _part(retriever: GenerativeRetriever, judged: JudgedRequests) -> _Part:
    """How requests are measured: by counted ranks, or by a beam search where there is a trie."""
    model, requests = retriever.model, judged.requests
    spaces = model.vocabulary.spaces
    own = spaces.of(judged.task)
    sizes = Sizes.of(model.backbone, max(own.codebook_sizes))
    levels = len(own.codebook_sizes)
    read = [min(len(request.history), model.vocabulary.max_history) for request in requests]
    tokens = levels * sum(read) + 2 * len(requests)
    if not model.tries:
        counter = RankCounter(model, requests, judged.qrels, SELECTION)
        return _Part(counter.values, sizes.of_answers(tokens, len(requests), 0))

    def of_answers() -> Floats:
        run = retriever.retrieve(requests, SELECTION.k)
        ids = [request.request_id for request in requests]
        return np.array([SELECTION.of(run[one].item_ids, judged.qrels[one]) for one in ids])

    hypotheses = levels * retriever.beams
    return _Part(of_answers, sizes.of_answers(tokens, len(requests), hypotheses))
