"""The ranks of right answers, by counting the items that score higher: no ranking is made.

Invariant: a measure has the value that it has of the retriever's answer (a test compares them).

Shapes: R requests, B of them in a batch, N items, T right answers of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from twofold.evaluation.measures import Measure
from twofold.model.checkpoint import GenerativeModel
from twofold.model.vocabulary import Batch
from twofold.records import Floats, Ints, Qrels, Request
from twofold.retrieval.expansion import batch_of, batches_by_length, finite, with_matches
from twofold.retrieval.top_k import CatalogRanker

_BATCH_REQUESTS = 256
"""The most requests of a batch: their scores of 10,000 items fit in a processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """One batch, encoded once.

    Attributes:
        rows: the requests' places, (B,).
        batch: the encoded requests, on the model's device.
        excluded: the row and the code of each item that a request excludes, (2, ...).
        right: the row and the code of each right answer, (2, T).
        item_ids: the right answers, (T,).
    """

    rows: Sequence[int]
    batch: Batch
    excluded: torch.Tensor
    right: torch.Tensor
    item_ids: Sequence[str]


class RankCounter:
    """Measures a model with atomic identifiers on the same requests again and again.

    Requests are encoded once, in batches of similar length. The model's weights may change between
    calls; its hybrid part may not.

    Args:
        model: the model to measure.
        requests: all with a query or all without one; none may have a filter (`where`).
        qrels: their right answers.
        measure: what is measured.
    """

    def __init__(
        self, model: GenerativeModel, requests: Sequence[Request], qrels: Qrels, measure: Measure
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
        encoded = [encode(ranker.positions(r.history), r.query) for r in requests]
        self._prepared = [
            self._prepare(rows, [requests[row] for row in rows], batch, ranker)
            for rows in batches_by_length(range(len(requests)), encoded, _BATCH_REQUESTS)
            for batch in [batch_of(model, [encoded[row] for row in rows])]
        ]

    def _prepare(
        self, rows: Sequence[int], requests: Sequence[Request], batch: Batch, ranker: CatalogRanker
    ) -> _Prepared:
        right = [[i for i, grade in self._relevant[row].items() if grade > 0] for row in rows]
        return _Prepared(
            rows=rows,
            batch=batch,
            excluded=self._places([ranker.positions(request.exclude) for request in requests]),
            right=self._places([ranker.positions(items) for items in right]),
            item_ids=[item for items in right for item in items],
        )

    def values(self) -> Floats:
        """The measure of each request under the current weights, (R,).

        Raises:
            NotFiniteError: the model computes numbers that are not finite.
        """
        found = np.zeros(len(self._relevant))
        for prepared in self._prepared:
            answers: dict[int, list[str]] = {}
            for number, rank in zip(*self._ranks(prepared), strict=True):
                row = prepared.rows[int(prepared.right[0, number])]
                answer = answers.setdefault(row, [""] * self._measure.k)
                answer[rank] = prepared.item_ids[number]
            for row, answer in answers.items():
                found[row] = self._measure.of(answer, self._relevant[row])
        return found

    @torch.inference_mode()
    def _ranks(self, prepared: _Prepared) -> tuple[list[int], list[int]]:
        """The right answers that are found, as numbers among the T, and their ranks from 0."""
        scores = self._scores(prepared.batch)
        scores[tuple(prepared.excluded)] = -torch.inf
        k = min(self._measure.k, scores.shape[1])
        last = scores.topk(k, dim=1, sorted=False).values.amin(dim=1)
        rows, columns = prepared.right
        own = scores[rows, columns]
        numbers = ((own >= last[rows]) & (own > -torch.inf)).nonzero()[:, 0]
        rows, columns, own = rows[numbers], columns[numbers], own[numbers, None]
        others = scores[rows]
        before = self._ties < self._ties[columns, None]
        ranks = ((others > own) | ((others == own) & before)).sum(dim=1)
        found = ranks < k
        return numbers[found].tolist(), ranks[found].tolist()

    def _scores(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities as the retriever computes them, (B, N), a column for each code."""
        backbone = self._model.backbone
        with self._model.autocast():
            states = finite(backbone.states(batch))
        logits = with_matches(backbone.logits(states, self._codebook), batch.matches)
        return torch.log_softmax(logits, dim=1)

    def _places(self, items: Sequence[Ints]) -> torch.Tensor:
        """The row and the code of each of B rows' items, (2, all of them)."""
        rows = np.repeat(np.arange(len(items)), [len(own) for own in items])
        places = np.stack([rows, self._codes[np.concatenate(items)]])
        return torch.from_numpy(places).to(self._model.device)
