"""Validation: the measure that compares checkpoints, its requests, and the hybrid parts' weights.

Most validations are on a sample of the requests; the last candidates are compared on all of them.
The sample is the same for every arm, and part of all requests.

Shapes: B requests.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from twofold.model.checkpoint import GenerativeModel
from twofold.model.hybrid import (
    HistoryMatch,
    Hybrid,
    HybridPart,
    history_matches,
    with_popularity,
    with_repeats,
    with_second,
)
from twofold.model.stamp import Stamp
from twofold.records import Floats, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.top_k import RankCounter
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests
from twofold.training.arm import Arm
from twofold.training.config import SELECTION, TrainingConfig
from twofold.training.schedule import requests_per_step, retrieval_cost
from twofold.training.start import hybrid_of, similarities_of
from twofold.training.state import ALONE, Processes
from twofold.training_examples import Source


class _Size(NamedTuple):
    """The number of requests of a task in a validation.

    Attributes:
        fewest: the smallest number.
        steps: there are more if they cost no more than so many steps of a standard model.
    """

    fewest: int
    steps: float


_SAMPLE, _ALL, _TRIAL = _Size(350, 2.0), _Size(1000, 10.0), _Size(1000, 30.0)
"""For most validations, for the last candidates, and for the trials of a tuning. With 350 requests,
of which few rank a relevant item high, chance decides which checkpoint is best."""
_ORDER_SEED = 7
"""The random seed of the order in which the requests are divided into these parts."""


def validation_requests(
    dataset: PreparedDataset,
    arm: Arm,
    sources: Mapping[Task, Source],
    config: TrainingConfig,
    seed: int,
) -> list[JudgedRequests]:
    """The validation requests of each task of the arm; a task without any is left out.

    Args:
        dataset: the dataset whose validation split is read.
        arm: the arm that is trained; the requests of a changed source match the change.
        sources: the unchanged training examples by task.
        config: the resolved configuration.
        seed: the random seed of the intervention.
    """
    judged = [
        dataset.task(task)
        .requests("validation", timed=config.request_time)
        .sample(config.max_validation_requests)
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
    """A part of a task's requests, which are divided over the processes.

    Attributes:
        values: computes the measure of each request of this process with the current weights.
        cost: the cost of all requests of the part, in the unit of `Costs`.
    """

    values: Callable[[], Floats]
    cost: float


class Validation:
    """Evaluates the current weights: a measure for each task, and `value` to compare checkpoints.

    Args:
        retriever: a retriever with the current weights.
        judged: the requests of each task, at least one of each.
        reference: by task, the number by which its measure is divided before the mean over tasks; 1
            by default.
        processes: the requests are divided over them, and all get the measures of all requests.
    """

    def __init__(
        self,
        retriever: GenerativeRetriever,
        judged: Sequence[JudgedRequests],
        reference: Mapping[str, float],
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self._reference = reference
        # With a beam search, requests are expensive.
        items = 0 if retriever.model.tries else len(retriever.model.catalog)
        self._parts = {
            str(own.task): [
                _part(retriever, part, self._processes) for part in _divided(own, items)
            ]
            for own in judged
        }
        self.sample_cost = sum(parts[0].cost for parts in self._parts.values())
        self.cost = sum(part.cost for parts in self._parts.values() for part in parts[:2])

    @property
    def has_more(self) -> bool:
        """Whether there are requests beyond the sample."""
        return self.cost > self.sample_cost

    def on_sample(self) -> dict[str, float]:
        """The measures on the sample of the requests."""
        return self._measured(1)

    def on_all(self) -> dict[str, float]:
        """The measures on all requests on which candidates are compared."""
        return self._measured(2)

    def of_trial(self) -> dict[str, float]:
        """The measures on all requests on which the trials of a tuning are compared."""
        return self._measured(3)

    def _measured(self, parts: int) -> dict[str, float]:
        """The measures on the first parts of the requests, which are those of `_divided`."""
        each = self._processes.all_gather(
            lambda: [[part.values() for part in own[:parts]] for own in self._parts.values()]
        )
        values = {}
        for number, task in enumerate(self._parts):
            of_parts = zip(*(shares[number] for shares in each), strict=True)
            whole = np.concatenate([_joined(shares) for shares in of_parts])
            values[task] = float(whole.mean())
        scaled = [value / (self._reference.get(task) or 1.0) for task, value in values.items()]
        return {**values, "value": sum(scaled) / len(scaled)}


def validation_of(
    model: GenerativeModel,
    judged: Sequence[JudgedRequests],
    beams: int,
    reference: Mapping[str, float],
    processes: Processes,
) -> Validation | None:
    """The validation of a model; None if there is no request.

    Args:
        model: the model, whose weights may change.
        judged: the requests of each task.
        beams: the number of beams of the beam search, for semantic IDs.
        reference, processes: see `Validation`.
    """
    if not judged:
        return None
    return Validation(GenerativeRetriever(model, beams=beams), judged, reference, processes)


def _joined(shares: Sequence[Floats]) -> Floats:
    """The values of a part's requests; process n has evaluated the requests n, n + size, ..."""
    whole = np.empty(sum(map(len, shares)))
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole


def _divided(judged: JudgedRequests, items: int) -> list[JudgedRequests]:
    """The sample, the further requests for candidates, and the further requests for trials.

    Args:
        judged: the requests of a task.
        items: the size of the catalog; with 0 the parts have their smallest sizes.
    """
    per_step = requests_per_step(judged.requests, items) if items else 0
    ends = [max(size.fewest, int(size.steps * per_step)) for size in (_SAMPLE, _ALL, _TRIAL)]
    order = np.random.default_rng(_ORDER_SEED).permutation(len(judged.requests))
    return [
        replace(judged, requests=[judged.requests[row] for row in sorted(rows)])
        for rows in np.split(order, ends)[:3]
        if len(rows)
    ]


def _part(retriever: GenerativeRetriever, judged: JudgedRequests, processes: Processes) -> _Part:
    """A part, evaluated by counted ranks, or by beam search if the model has a trie."""
    model, cost = retriever.model, retrieval_cost(retriever, judged)
    requests = judged.requests[processes.rank :: processes.world_size]
    if not requests:
        return _Part(lambda: np.zeros(0), cost)
    if not model.tries:
        # Requests are encoded on first use, since only a tuning needs the last part.
        counter = cache(lambda: RankCounter(model, requests, judged.qrels, SELECTION))
        return _Part(lambda: counter().values(), cost)

    def by_retrieval() -> Floats:
        run = retriever.retrieve(requests, SELECTION.k)
        ids = [request.request_id for request in requests]
        return np.array([SELECTION.of(run[one].item_ids, judged.qrels[one]) for one in ids])

    return _Part(by_retrieval, cost)


HYBRID_WEIGHTS = (320.0, 160.0, 80.0, 60.0, 40.0, 30.0, 20.0, 15.0, 10.0, 5.0, 0.0)
"""With the largest weight, items are ranked by their documents, and the model decides between equal
ones."""
HISTORY_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0)
_HYBRID_REQUESTS = 1000
"""The largest number of validation requests on which weights are compared in search, and with
semantic IDs."""
_HISTORY_SCORES = 1 << 28
"""The largest number of scores for which history matches are compared."""
_Addition = Callable[[HistoryMatch], Sequence[HistoryMatch]]


def with_hybrid_parts(
    model: GenerativeModel, dataset: PreparedDataset, arm: Arm, config: TrainingConfig, stamp: Stamp
) -> GenerativeModel:
    """A trained model with the hybrid parts that are chosen on validation, and with its stamp."""
    hybrid, search_stamp = validated_hybrid(dataset, arm, model, config)
    match, history_stamp = validated_history_match(dataset, arm, model, config)
    stamp = replace(stamp, hybrid=search_stamp, history_match=history_stamp)
    return replace(model, hybrid=hybrid, history_match=match, stamp=stamp)


def validated_hybrid(
    dataset: PreparedDataset, arm: Arm, model: GenerativeModel, config: TrainingConfig
) -> tuple[Hybrid | None, dict[str, Any] | None]:
    """The hybrid part of search of a trained model, with the weight that is chosen on validation:
    the largest one within one standard error of the best.

    Documents may contain training queries, so a weight that was learned on these would be too
    large. A few validation queries are little evidence for the weight, and documents match words
    that none of these queries has, such as those of titles.

    Returns:
        the hybrid part, None if the model is better without it or cannot have one; and its
            description for the stamp, None if it was not tried.
    """
    part = model.hybrid
    if config.hybrid == "after":
        part = hybrid_of(dataset, arm, model.vocabulary, config)
    if part is None:
        return None, None
    requests = dataset.task("search").requests("validation")
    judged = requests.sample(min(config.max_validation_requests, _HYBRID_REQUESTS))
    by_one = [replace(part, weight=1.0)]
    (values,) = values_with(model, judged, by_one, HYBRID_WEIGHTS, config.num_beams)
    weight = first_near_best(HYBRID_WEIGHTS, values)
    best = replace(part, weight=weight) if weight else None
    return best, best.description if best else {"weight": 0.0}


def validated_history_match(
    dataset: PreparedDataset, arm: Arm, model: GenerativeModel, config: TrainingConfig
) -> tuple[HistoryMatch | None, dict[str, Any] | None]:
    """The hybrid part of recommendation of a trained model, with the similarities of items and the
    weight that are best on validation.

    Checkpoints are compared without it.

    Returns:
        the hybrid part, None if its gain is within one standard error or the model cannot have one;
            and its description for the stamp, None if it was not tried.
    """
    vectors = model.item_vectors
    text_vectors = None if vectors is None else vectors.astype(np.float32)
    tables = similarities_of(dataset, arm, text_vectors, config)
    if not tables:
        return None, None
    most = _HYBRID_REQUESTS if model.tries else max(1, _HISTORY_SCORES // len(dataset.catalog))
    requests = dataset.task("recommendation").requests("validation")
    judged = requests.sample(min(config.max_validation_requests, most))

    def measured(matches: Sequence[HistoryMatch]) -> Floats:
        return values_with(model, judged, matches, HISTORY_WEIGHTS, config.num_beams)

    second = partial(with_second, tables=tables)
    popularity = partial(with_popularity, events=dataset.task("recommendation").popularity)
    additions: tuple[_Addition, ...] = (second, popularity)
    if model.seen == "keep":
        additions = (with_repeats, *additions)
    best = chosen_match(history_matches(tables), additions, measured)
    return best, best.description if best else {"weight": 0.0}


def chosen_match(
    matches: Sequence[HistoryMatch],
    additions: Iterable[_Addition],
    measured: Callable[[Sequence[HistoryMatch]], Floats],
) -> HistoryMatch | None:
    """The history match that is best on validation, by forward selection.

    Each addition is tried with the best match so far, and kept if it gains more than one standard
    error.

    Args:
        matches: matches by one similarity.
        additions: each makes the matches to try from the best one so far.
        measured: the measure of each request with each of P matches and the weights, (P, W, B).

    Returns:
        the match with its best weight; None if that gains at most one standard error.
    """
    best, values = _best_match(matches, measured)
    for addition in additions:
        larger, more = _best_match(addition(best), measured)
        if not _is_near(values[_best_weight(values)], more[_best_weight(more)]):
            best, values = larger, more
    weight = _best_weight(values)
    if _is_near(values[0], values[weight]):
        return None
    return replace(best, weight=HISTORY_WEIGHTS[weight])


def _best_match(
    matches: Sequence[HistoryMatch], measured: Callable[[Sequence[HistoryMatch]], Floats]
) -> tuple[HistoryMatch, Floats]:
    """The match that is best with its best weight, and its values by weight, (W, B)."""
    by_match = measured(matches)
    place = int(by_match.mean(axis=2).max(axis=1).argmax())
    return matches[place], by_match[place]


def _best_weight(values: Floats) -> int:
    """The place of the weight with the best mean over requests, of (W, B) values."""
    return int(values.mean(axis=1).argmax())


def values_with(
    model: GenerativeModel,
    judged: JudgedRequests,
    parts: Sequence[HybridPart],
    weights: Sequence[float],
    beams: int,
) -> Floats:
    """The selection measure of each request with each part and factor of its matches, (P, W, B).

    The model computes its scores, or searches its beams, once for all of them.

    Args:
        model: the trained model; its own hybrid parts do not count.
        judged: B requests of one task.
        parts: P hybrid parts of that task.
        weights: W factors; 0 for the model alone.
        beams: the number of beams of the beam search, for semantic IDs.
    """
    model = model.generative
    if not model.tries:
        counter = RankCounter(model, judged.requests, judged.qrels, SELECTION)
        return counter.values_with(parts, weights)
    retriever = GenerativeRetriever(model, beams=beams)
    values = np.zeros((len(parts), len(weights), len(judged.requests)))
    rows = {request.request_id: row for row, request in enumerate(judged.requests)}
    for requests, of_parts in retriever.candidates(judged.requests, parts):
        batch = [rows[request.request_id] for request in requests]
        relevant = [judged.qrels[request.request_id] for request in requests]
        for part_values, candidates in zip(values, of_parts, strict=True):
            for weight_values, weight in zip(part_values, weights, strict=True):
                rankings = retriever.best(candidates, SELECTION.k, weight)
                item_ids = [ranking.item_ids for ranking in rankings]
                weight_values[batch] = list(map(SELECTION.of, item_ids, relevant))
    return values


def first_near_best(weights: Sequence[float], values: Floats) -> float:
    """The first weight that is within one standard error of the best one (Breiman et al.,
    Classification and Regression Trees, 1984).

    Args:
        weights: W weights, the preferred ones first.
        values: the measure of each request, (W, B).
    """
    best = values[_best_weight(values)]
    tried = zip(weights, values, strict=True)
    return next(weight for weight, of_weight in tried if _is_near(of_weight, best))


def _is_near(values: Floats, best: Floats) -> bool:
    """Whether the mean is within one standard error of their difference below the best.

    With few queries, most have no difference at all, and the standard deviation is unreliable. So
    two pseudo-observations are added, a query that gains everything and one that loses everything,
    as for the difference of paired proportions (Agresti and Min, Statistics in Medicine, 2005). The
    error of n queries is then at least about 1.4 / n.
    """
    lost = np.append(best - values, [-1.0, 1.0])
    return bool(lost.mean() <= lost.std(ddof=1) / len(lost) ** 0.5)
