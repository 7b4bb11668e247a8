"""Exact ranks by scores of the whole catalog: the best k items, or the ranks of relevant items.

The tie rule is that of runs: equal scores by `item_id`, descending as strings. An evaluation with
atomic identifiers does not sort the catalog: the rank of a relevant item is the number of items
before it. Its measures equal those of the rankings.

Shapes: N items, R requests, B requests in a batch, T relevant items of a batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from twofold.evaluation.measures import Measure, tie_order
from twofold.model.encoded import batches_by_length
from twofold.records import Floats, InputError, Ints, Qrels, Ranking, Request

if TYPE_CHECKING:
    from twofold.model.checkpoint import GenerativeModel
    from twofold.model.encoded import Batch, EncodedExample
    from twofold.model.hybrid import HybridPart

_BATCH_REQUESTS = 256
"""The largest number of requests in a batch: their scores of 10,000 items fit in a processor's
cache."""
BATCH_SCORES = 1 << 24
"""The largest number of scores of a batch, and of scores that are compared at once with those of
relevant items: 64 MB of float32."""
_KEPT_MATCHES = 1 << 26
"""The largest number of scores of the hybrid part that are kept between validations: 256 MB of
float32."""


def top_k(scores: npt.NDArray[np.float32], k: int) -> tuple[Ints, npt.NDArray[np.float32]]:
    """The `k` largest scores of each row, best first; of equal ones, the leftmost.

    Args:
        scores: (B, N), columns in tie order; -inf where an item is not allowed.
        k: how many; at most N are returned.

    Returns:
        columns (B, k) and their scores (B, k).
    """
    width = scores.shape[1]
    k = min(k, width)
    if k == width:
        columns = np.argsort(-scores, axis=1, kind="stable")
        return columns, np.take_along_axis(scores, columns, axis=1)
    largest = torch.topk(torch.from_numpy(scores), k, dim=1, sorted=False).values
    threshold = largest.amin(dim=1, keepdim=True).numpy()
    kept = scores >= threshold
    if np.count_nonzero(kept) > k * len(scores):
        # Among the columns that equal the k-th largest value, the leftmost stay.
        equal = scores == threshold
        room = k - (scores > threshold).sum(axis=1, keepdims=True)
        kept &= ~equal | (np.cumsum(equal, axis=1) <= room)
    columns = np.nonzero(kept)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


class CatalogRanker:
    """Turns scores of the whole catalog into rankings: exclusions, ties, the first `k`.

    Args:
        item_ids: the catalog's item ids, in its order.
    """

    def __init__(self, item_ids: Sequence[str]) -> None:
        self.order = tie_order(item_ids)
        self._item_ids = np.asarray(item_ids, dtype=object)
        self._column = np.argsort(self.order)
        self._positions = {item_id: n for n, item_id in enumerate(item_ids)}

    def positions(self, item_ids: Iterable[str]) -> Ints:
        """The catalog positions of items.

        Raises:
            InputError: an item is not in the catalog.
        """
        try:
            return np.array([self._positions[i] for i in item_ids], dtype=np.int64)
        except KeyError as error:
            raise InputError(
                f"item '{error.args[0]}' is not in the catalog of {len(self._positions)} items; "
                f"use an item_id of the items table"
            ) from error

    def rank(
        self,
        requests: Sequence[Request],
        scores: npt.NDArray[np.float32],
        k: int,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> dict[str, Ranking]:
        """The `k` best items that each request allows.

        Args:
            requests: B requests.
            scores: (B, N), columns in `order`; changed in place: excluded items become -inf.
            k: the most items of a ranking.
            allowed: items that may be returned for any of the requests, (N,); all by default.
        """
        for row, request in enumerate(requests):
            scores[row, self._column[self.positions(request.exclude)]] = -np.inf
        order = self.order
        if allowed is not None and not allowed.all():
            # Columns are left out instead of set to -inf: top-k is slow among many equal values.
            kept = np.flatnonzero(allowed[order])
            order, scores = order[kept], scores[:, kept]
        columns, values = top_k(scores, k)
        rankings = {}
        for row, request in enumerate(requests):
            filled = values[row] > -np.inf
            rankings[request.request_id] = Ranking(
                item_ids=tuple(self._item_ids[order[columns[row][filled]]]),
                scores=tuple(values[row][filled].tolist()),
            )
        return rankings


@dataclass(frozen=True, slots=True, eq=False)
class _EncodedBatch:
    """Requests that are scored together, encoded once.

    Attributes:
        rows: the numbers of its requests among all of them, (B,).
        requests: the requests as tokens, (B,).
        batch: the same on the model's device; None if it would take too much memory.
        excluded: the row and the code of each item that a request excludes, (2, ...).
        relevant: the row and the code of each relevant item, (2, T).
        item_ids: the relevant items, (T,).
    """

    rows: Sequence[int]
    requests: "Sequence[EncodedExample]"
    batch: "Batch | None"
    excluded: torch.Tensor
    relevant: torch.Tensor
    item_ids: Sequence[str]


class RankCounter:
    """Evaluates a model with atomic identifiers repeatedly on the same requests.

    Requests are encoded once, in batches of similar length. The model's weights may change between
    calls; its hybrid parts may not.

    Args:
        model: the model to evaluate.
        requests: the requests; all have a query or none has one, and none has a filter (`where`).
        qrels: their relevant items.
        measure: the measure to compute.
    """

    def __init__(
        self, model: "GenerativeModel", requests: Sequence[Request], qrels: Qrels, measure: Measure
    ) -> None:
        self._model, self._measure = model, measure
        self._relevant = [qrels[request.request_id] for request in requests]
        spaces = model.vocabulary.spaces
        task = model.vocabulary.task(requests[0].query)
        self._codebook = spaces.codebooks[spaces.codebooks_of(task)[0]]
        self._codes = spaces.of(task).codes[:, 0]
        ranker = CatalogRanker(model.catalog.item_ids)
        ties = np.empty_like(self._codes)
        ties[self._codes[ranker.order]] = np.arange(len(ties))
        self._ties = torch.from_numpy(ties).to(model.device)
        encode = model.vocabulary.encode_request
        encoded = [
            encode(ranker.positions(r.history), r.query, r.since_last_event) for r in requests
        ]
        most = max(1, min(_BATCH_REQUESTS, BATCH_SCORES // len(ties)))
        keep = model.hybrid_part(task) is None or len(requests) * len(ties) <= _KEPT_MATCHES
        self._batches = [
            self._encoded_batch(
                rows, [requests[row] for row in rows], [encoded[row] for row in rows], keep, ranker
            )
            for rows in batches_by_length(range(len(requests)), encoded, most)
        ]

    def _encoded_batch(
        self,
        rows: Sequence[int],
        requests: Sequence[Request],
        encoded: "Sequence[EncodedExample]",
        keep: bool,
        ranker: CatalogRanker,
    ) -> _EncodedBatch:
        """The requests of some rows, encoded; on the device only if `keep`."""
        relevant = [[i for i, grade in self._relevant[row].items() if grade > 0] for row in rows]
        return _EncodedBatch(
            rows=rows,
            requests=encoded,
            batch=self._model.batch_of(encoded) if keep else None,
            excluded=self._places([ranker.positions(request.exclude) for request in requests]),
            relevant=self._places([ranker.positions(items) for items in relevant]),
            item_ids=[item for items in relevant for item in items],
        )

    @torch.inference_mode()
    def values(self) -> Floats:
        """The measure of each request with the current weights, (R,).

        Raises:
            NotFiniteError: the model computes numbers that are not finite.
        """
        values = np.zeros(len(self._relevant))
        for encoded in self._batches:
            self._measure_batch(encoded, self._scores(encoded), values)
        return values

    @torch.inference_mode()
    def values_with(self, parts: "Sequence[HybridPart]", weights: Sequence[float]) -> Floats:
        """The measure of each request for each part and factor of its matches, (P, W, R).

        The model computes its scores once for all of them.

        Args:
            parts: P hybrid parts, of which one at a time is added to the model's scores.
            weights: W factors.

        Raises:
            NotFiniteError: the model computes numbers that are not finite.
        """
        values = np.zeros((len(parts), len(weights), len(self._relevant)))
        for encoded in self._batches:
            scores = self._scores(encoded)
            for part_values, part in zip(values, parts, strict=True):
                matches = torch.from_numpy(part.matches(encoded.requests)).to(scores.device)
                for weight_values, weight in zip(part_values, weights, strict=True):
                    self._measure_batch(encoded, scores + weight * matches, weight_values)
        return values

    def _scores(self, encoded: _EncodedBatch) -> torch.Tensor:
        """The scores of all items, (B, N)."""
        batch = encoded.batch or self._model.batch_of(encoded.requests)
        return self._model.log_probabilities(batch, self._codebook)

    def _measure_batch(self, encoded: _EncodedBatch, scores: torch.Tensor, values: Floats) -> None:
        """Write the measure of a batch's requests into `values`, (R,).

        Args:
            encoded: the batch.
            scores: the scores of all items, (B, N); those of excluded items are changed.
            values: the measures of all requests.
        """
        rankings: dict[int, list[str]] = {}
        for number, rank in zip(*self._ranks(encoded, scores), strict=True):
            row = encoded.rows[int(encoded.relevant[0, number])]
            ranking = rankings.setdefault(row, [""] * self._measure.k)
            ranking[rank] = encoded.item_ids[number]
        for row, ranking in rankings.items():
            values[row] = self._measure.of(ranking, self._relevant[row])

    def _ranks(self, encoded: _EncodedBatch, scores: torch.Tensor) -> tuple[list[int], list[int]]:
        """The relevant items among the first k, as numbers from 0 to T, and their ranks from 0."""
        scores[tuple(encoded.excluded)] = -torch.inf
        k = min(self._measure.k, scores.shape[1])
        last = scores.topk(k, dim=1, sorted=False).values.amin(dim=1)
        rows, columns = encoded.relevant
        target_scores = scores[rows, columns]
        numbers = ((target_scores >= last[rows]) & (target_scores > -torch.inf)).nonzero()[:, 0]
        at_once = max(1, BATCH_SCORES // scores.shape[1])
        pairs = zip(rows[numbers].split(at_once), columns[numbers].split(at_once), strict=True)
        ranks = torch.cat([self._ahead(scores, *some) for some in pairs])
        in_top = ranks < k
        return numbers[in_top].tolist(), ranks[in_top].tolist()

    def _ahead(
        self, scores: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        """The number of items that rank before the one at each row and column, (T,)."""
        target_scores, others = scores[rows, columns, None], scores[rows]
        before = self._ties < self._ties[columns, None]
        return ((others > target_scores) | ((others == target_scores) & before)).sum(dim=1)

    def _places(self, items: Sequence[Ints]) -> torch.Tensor:
        """The row and the code of each item of B rows, (2, number of items)."""
        rows = np.repeat(np.arange(len(items)), [len(of_row) for of_row in items])
        places = np.stack([rows, self._codes[np.concatenate(items)]])
        return torch.from_numpy(places).to(self._model.device)
