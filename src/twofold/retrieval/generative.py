"""A trained model as a retriever.

Invariant: score(item) = log p(identifier), p normalised over the codes that go on with a prefix
of the catalog; what a request excludes is left out afterwards, so a filter never reorders what
passes it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from twofold.identifiers.trie import Counts
from twofold.model.checkpoint import GenerativeModel, load_model_folder
from twofold.model.device import resolve_device
from twofold.model.vocabulary import Batch, EncodedExample
from twofold.records import InputError, RankedItem, Ranking, Request, Run, Task
from twofold.retrieval.attributes import Attributes, Mask, Where
from twofold.retrieval.beam_search import Diversity, beam_search
from twofold.retrieval.expansion import Expansion, batch_of, finite, with_matches
from twofold.retrieval.top_k import CatalogRanker

_BATCH_TOKENS = 16_384
_BATCH_SCORES = 1 << 24
"""64 MB of float32; a few copies of them are alive at once."""
BEAMS = 50
_FILTERS, _FILTER_BYTES = 100, 64 << 20
"""Whose counts of the trie are kept, and their bytes, about; filters are written by users."""


class GenerativeRetriever:
    """Exact top-k over one step for atomic identifiers, constrained beam search for semantic IDs.

    Args:
        model: a trained model; its weights are read, never changed.
        name: of the runs.
        beams: hypotheses of the beam search; more where more items are asked for.
        diversity: spreads them over more codes.
    """

    def __init__(
        self,
        model: GenerativeModel,
        name: str = "generative",
        beams: int = BEAMS,
        diversity: Diversity | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self._beams = beams
        self._diversity = diversity
        self._item_ids = np.asarray(model.catalog.item_ids, dtype=object)
        self._ranker = CatalogRanker(model.catalog.item_ids)
        self._tie_rank = np.argsort(self._ranker.order)
        self._attributes = Attributes(model.catalog)
        self._alive = np.ones(len(model.catalog), bool)
        self._counts: dict[tuple[Task, Where], Counts] = {}

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """The `k` best items for each request; see `twofold.records.Retriever`.

        Raises:
            InputError: a history or an exclusion names an unknown item.
        """
        sequences = [self._encode(request) for request in requests]
        rankings: dict[str, Ranking] = {}
        alike: dict[tuple[Task, Where], list[int]] = {}
        for row, request in enumerate(requests):
            alike.setdefault((self._task(request), request.where), []).append(row)
        for (task, where), mine in alike.items():
            for rows in _batches(mine, sequences, self._most(task, k)):
                batch = [requests[row] for row in rows]
                rankings |= self._rank(task, where, batch, [sequences[row] for row in rows], k)
        return Run(
            self.name, {request.request_id: rankings[request.request_id] for request in requests}
        )

    @property
    def alive(self) -> Mask:
        """The items that may come back, (N,); a copy."""
        return self._alive.copy()

    def is_alive(self, position: int) -> bool:
        """Whether an item may come back."""
        return bool(self._alive[position])

    def remove(self, item_ids: Sequence[str]) -> None:
        """Let items never come back; a history may still name them.

        Raises:
            InputError: an item is not in the catalog.
        """
        for item in self._ranker.positions(item_ids):
            self._set_alive(int(item), False)

    def restore(self, item_ids: Sequence[str]) -> None:
        """Let removed items come back.

        Raises:
            InputError: an item is not in the catalog.
        """
        for item in self._ranker.positions(item_ids):
            self._set_alive(int(item), True)

    def _set_alive(self, item: int, alive: bool) -> None:
        if self._alive[item] == alive:
            return
        self._alive[item] = alive
        # Counts of everything follow; those of a filter are made anew when it is asked for.
        self._counts = {key: counts for key, counts in self._counts.items() if not key[1]}
        for (task, _), counts in self._counts.items():
            self.model.tries[task].change(counts, item, 1 if alive else -1)

    def _task(self, request: Request) -> Task:
        return self.model.vocabulary.task(request.query)

    def _most(self, task: Task, k: int) -> int:
        """Requests of a batch, so that its scores fit."""
        if not self.model.tries:
            return max(1, _BATCH_SCORES // len(self._item_ids))
        widest = max(self.model.vocabulary.spaces.of(task).codebook_sizes)
        return max(1, _BATCH_SCORES // (max(self._beams, k) * widest))

    def search(self, query: str, k: int = 10, history: Sequence[str] = ()) -> list[RankedItem]:
        """Items for a query, personal where a history is given.

        Raises:
            InputError: an empty query, an unknown item, a `k` that cannot be.
        """
        request = Request("search", query=query, history=tuple(history))
        return self._answers(request, k)

    def recommend(self, history: Sequence[str], k: int = 10) -> list[RankedItem]:
        """Items that come next after a history; those in it do not come back where the dataset's
        protocol filters seen items.

        Raises:
            InputError: an empty history, an unknown item, a `k` that cannot be.
        """
        if not history:
            raise InputError("the history is empty; give at least one item_id")
        exclude = frozenset(history) if self.model.seen == "exclude" else frozenset()
        request = Request("recommendation", history=tuple(history), exclude=exclude)
        return self._answers(request, k)

    def recommend_for_user(self, user_id: str, k: int = 10) -> list[RankedItem]:
        """Items that come next for a user whose history the model folder carries.

        Raises:
            InputError: the folder carries no histories, or not this user's.
        """
        if not self.model.histories:
            raise InputError("the model was saved without histories; give the history itself")
        if user_id not in self.model.histories:
            raise InputError(
                f"user '{user_id}' is not among the model's {len(self.model.histories)} users; "
                f"give the history itself"
            )
        positions = self.model.histories[user_id]
        return self.recommend(self._item_ids[positions].tolist(), k)

    def _answers(self, request: Request, k: int) -> list[RankedItem]:
        if not 1 <= k <= len(self.model.catalog):
            raise InputError(f"k is {k}; it must lie between 1 and {len(self.model.catalog)}")
        ranking = self.retrieve([request], k)[request.request_id]
        ranked = enumerate(zip(ranking.item_ids, ranking.scores, strict=True), start=1)
        title = self.model.catalog.title
        return [
            RankedItem(rank=rank, item_id=item_id, title=title(item_id), score=score)
            for rank, (item_id, score) in ranked
        ]

    def _encode(self, request: Request) -> EncodedExample:
        if request.query is not None and not request.query.strip():
            raise InputError(f"request '{request.request_id}': the query is empty; type a word")
        history = self._ranker.positions(request.history)
        return self.model.vocabulary.encode_request(history, request.query)

    @torch.inference_mode()
    def _rank(
        self,
        task: Task,
        where: Where,
        requests: Sequence[Request],
        sequences: Sequence[EncodedExample],
        k: int,
    ) -> dict[str, Ranking]:
        batch = batch_of(self.model, sequences)
        allowed = self._alive & self._attributes.mask(where)
        if not self.model.tries:
            return self._ranker.rank(requests, self._scores(task, batch), k, allowed)
        k = min(k, len(self._item_ids))
        excluded = [self._ranker.positions(request.exclude) for request in requests]
        found = beam_search(
            Expansion(self.model, task, batch, max(self._beams, k)),
            self.model.tries[task],
            self._counts_of(task, where, allowed),
            [items[allowed[items]] for items in excluded],
            max(self._beams, k),
            k,
            self._tie_rank,
            self._diversity,
        )
        rankings = {}
        for request, items, scores in zip(requests, found.items, found.scores, strict=True):
            allowed = scores > -np.inf
            item_ids = self._item_ids[items[allowed]]
            rankings[request.request_id] = Ranking(tuple(item_ids), tuple(scores[allowed].tolist()))
        return rankings

    def _counts_of(self, task: Task, where: Where, allowed: Mask) -> Counts:
        """Items below each node that may come back; kept, for they cost a pass over the trie."""
        if (task, where) not in self._counts:
            found = self.model.tries[task].counts(allowed)
            kept = min(_FILTERS, _FILTER_BYTES // sum(level.nbytes for level in found))
            if len(self._counts) >= max(2, kept):
                self._counts.clear()
            self._counts[task, where] = found
        return self._counts[task, where]

    def _scores(self, task: Task, batch: Batch) -> npt.NDArray[np.float32]:
        """Log-probabilities of one-level identifiers, (B, N), columns in tie order."""
        spaces = self.model.vocabulary.spaces
        with self.model.autocast():
            states = finite(self.model.backbone.states(batch))
        codebook = spaces.codebooks[spaces.codebooks_of(task)[0]]
        logits = with_matches(self.model.backbone.logits(states, codebook), batch.matches)
        scores = torch.log_softmax(logits, dim=1)
        codes = torch.from_numpy(spaces.of(task).codes[self._ranker.order, 0])
        found: npt.NDArray[np.float32] = scores[:, codes.to(scores.device)].cpu().numpy()
        return found


def _batches(
    rows: Sequence[int], sequences: Sequence[EncodedExample], most: int
) -> Iterator[list[int]]:
    """`rows` in batches of similar length, so that little of a batch is padding; `most` in one."""
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: len(sequences[row].tokens)):
        tokens = (len(batch) + 1) * len(sequences[row].tokens)
        if batch and (tokens > _BATCH_TOKENS or len(batch) == most):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def load_model(
    folder: str | Path, device: str = "cpu", name: str | None = None
) -> GenerativeRetriever:
    """Load a model folder, verified by hash, ready to answer.

    Args:
        folder: the model folder.
        device: `cpu`, `cuda`, or `auto`.
        name: of the runs; the folder's by default.

    Raises:
        InputError: it is incomplete, changed, or of a newer format; no such device.
    """
    model = load_model_folder(Path(folder), resolve_device(device))
    model.backbone.pack(model.precision, model.vocabulary.spaces.codebooks)
    return GenerativeRetriever(model, name or Path(folder).name)
