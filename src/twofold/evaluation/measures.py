"""Recall, nDCG, RR and Success at any k, for every request, as trec_eval defines them.

Invariant: a request without a ranking counts, with a score of 0.
"""

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.records import InputError, Ints, Qrels, Run

Item = TypeVar("Item", bound=Hashable)

SCORES = pl.Schema({"request_id": pl.String, "measure": pl.String, "value": pl.Float64})

TIE_RULE = "equal scores by item_id, descending as strings"


def tie_order(item_ids: Sequence[str]) -> Ints:
    """Catalog positions in the order in which items with equal scores are ranked, (N,)."""
    return np.asarray(sorted(range(len(item_ids)), key=item_ids.__getitem__, reverse=True))


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure by its ir-measures name, such as `Recall@30`.

    Example:
        import twofold

        ranked, relevant = ["a", "b", "c"], {"b": 1}
        assert twofold.Measure.parse("RR@10").of(ranked, relevant) == 0.5
    """

    name: str
    k: int

    @classmethod
    def parse(cls, text: str) -> "Measure":
        match = re.fullmatch(r"(\w+)@([1-9]\d*)", text)
        if match is None or match[1] not in _VALUES:
            raise InputError(f"measure '{text}': write Recall@K, nDCG@K, RR@K or Success@K")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def of(self, items: Sequence[Item], relevant: Mapping[Item, int]) -> float:
        """The value of one ranking; 0 if no item is relevant."""
        judged = {item: grade for item, grade in relevant.items() if grade > 0}
        if not judged:
            return 0.0
        grades = [judged.get(item, 0) for item in items[: self.k]]
        return _VALUES[self.name](grades, sorted(judged.values(), reverse=True), self.k)

    def of_scores(self, scores: npt.NDArray[Any], relevant: Mapping[int, int], ties: Ints) -> float:
        """The value of the ranking by the given scores.

        Args:
            scores: the score of each item, (N,); an item with -inf is not in the ranking.
            relevant: the grades of the relevant items, by position.
            ties: the positions of the items in the order in which equal scores are ranked, (N,).
        """
        ranked = ties[scores[ties] > -np.inf]
        if len(ranked) > self.k:
            last = np.partition(scores[ranked], -self.k)[-self.k]
            ranked = ranked[scores[ranked] >= last]
        best = ranked[np.argsort(-scores[ranked], kind="stable")][: self.k]
        return self.of(best.tolist(), relevant)


PRIMARY = Measure("Recall", 30)
MEASURES = (
    PRIMARY,
    Measure("Recall", 10),
    Measure("nDCG", 10),
    Measure("RR", 10),
    Measure("Success", 10),
)


def score(run: Run, qrels: Qrels, measures: Sequence[Measure] = MEASURES) -> pl.DataFrame:
    """Every measure of every request in `qrels`, in that order.

    Returns:
        columns request_id, measure, value.
    """
    rows = [
        (request_id, str(measure), measure.of(_ranked(run, request_id), relevant))
        for request_id, relevant in qrels.items()
        for measure in measures
    ]
    return pl.DataFrame(rows, schema=SCORES, orient="row")


def means(scores: pl.DataFrame) -> dict[str, float]:
    """Mean of each measure over the requests.

    The sum is exact before it is rounded: one by polars has other last digits with another number
    of threads.
    """
    values = scores.group_by("measure", maintain_order=True).agg("value")
    return {measure: fmean(of_requests) for measure, of_requests in values.iter_rows()}


def unanswered(run: Run, qrels: Qrels) -> int:
    """Requests that got no item at all."""
    return sum(not _ranked(run, request_id) for request_id in qrels)


def _ranked(run: Run, request_id: str) -> Sequence[str]:
    ranking = run.rankings.get(request_id)
    return ranking.item_ids if ranking is not None else ()


def _recall(grades: Sequence[int], best: Sequence[int], _k: int) -> float:
    return sum(grade > 0 for grade in grades) / len(best)


def _success(grades: Sequence[int], _best: Sequence[int], _k: int) -> float:
    return float(any(grades))


def _reciprocal_rank(grades: Sequence[int], _best: Sequence[int], _k: int) -> float:
    return next((1.0 / rank for rank, grade in enumerate(grades, start=1) if grade), 0.0)


def _ndcg(grades: Sequence[int], best: Sequence[int], k: int) -> float:
    return _gain(grades) / _gain(best[:k])


def _gain(grades: Sequence[int]) -> float:
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))


_VALUES: Mapping[str, Callable[[Sequence[int], Sequence[int], int], float]] = {
    "Recall": _recall,
    "nDCG": _ndcg,
    "RR": _reciprocal_rank,
    "Success": _success,
}
"""The measures: functions of the grades of the first k items, of the grades of all relevant items
(at least one, best first), and of k.
"""
