"""A trained model as a retriever.

Invariant: score(item) = log p(identifier), p normalised over all codes of a level; what a
request excludes is left out afterwards, so a filter never reorders what passes it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from twofold.model.backbone import resolve_device
from twofold.model.checkpoint import GenerativeModel, load_model_folder
from twofold.model.decoding import steps_of
from twofold.model.vocabulary import Batch, Sequences
from twofold.records import TASKS, Answer, InputError, Ints, Ranking, Request, Run, Task
from twofold.retrieval.beam_search import Diversity, beam_search
from twofold.retrieval.top_k import CatalogRanker

_BATCH_TOKENS = 16_384
_BATCH_SCORES = 1 << 24
"""64 MB of float32; a few copies of them are alive at once."""
BEAMS = 50


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
        self._counts = {task: trie.counts() for task, trie in model.tries.items()}

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """The `k` best items for each request; see `twofold.records.Retriever`.

        Raises:
            InputError: a history or an exclusion names an unknown item.
        """
        sequences = [self._encode(request) for request in requests]
        rankings: dict[str, Ranking] = {}
        for task in TASKS:
            mine = [row for row, r in enumerate(requests) if self._task(r) == task]
            for rows in _batches(mine, sequences, self._most(task, k)):
                batch = [requests[row] for row in rows]
                rankings |= self._rank(task, batch, [sequences[row] for row in rows], k)
        return Run(
            self.name, {request.request_id: rankings[request.request_id] for request in requests}
        )

    def _task(self, request: Request) -> Task:
        return self.model.vocabulary.task(request.query)

    def _most(self, task: Task, k: int) -> int:
        """Requests of a batch, so that its scores fit."""
        if not self.model.tries:
            return max(1, _BATCH_SCORES // len(self._item_ids))
        widest = max(self.model.vocabulary.spaces.of(task).codebook_sizes)
        return max(1, _BATCH_SCORES // (max(self._beams, k) * widest))

    def search(self, query: str, k: int = 10, history: Sequence[str] = ()) -> list[Answer]:
        """Items for a query, personal where a history is given.

        Raises:
            InputError: an empty query, an unknown item, a `k` that cannot be.
        """
        request = Request("search", query=query, history=tuple(history))
        return self._answers(request, k)

    def recommend(self, history: Sequence[str], k: int = 10) -> list[Answer]:
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

    def recommend_for_user(self, user_id: str, k: int = 10) -> list[Answer]:
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

    def _answers(self, request: Request, k: int) -> list[Answer]:
        if not 1 <= k <= len(self.model.catalog):
            raise InputError(f"k is {k}; it must lie between 1 and {len(self.model.catalog)}")
        ranking = self.retrieve([request], k)[request.request_id]
        found = zip(ranking.item_ids, ranking.scores, strict=True)
        title = self.model.catalog.title
        return [Answer(rank, i, title(i), score) for rank, (i, score) in enumerate(found, start=1)]

    def _encode(self, request: Request) -> Sequences:
        if request.query is not None and not request.query.strip():
            raise InputError(f"request '{request.request_id}': the query is empty; type a word")
        history = self._ranker.positions(request.history)
        return self.model.vocabulary.encode_request(history, request.query)

    @torch.inference_mode()
    def _rank(
        self, task: Task, requests: Sequence[Request], sequences: Sequence[Sequences], k: int
    ) -> dict[str, Ranking]:
        batch = self.model.vocabulary.collate(sequences).to(self.model.device)
        if not self.model.tries:
            return self._ranker.rank(requests, self._scores(task, batch), k)
        k = min(k, len(self._item_ids))
        found = beam_search(
            Expansion(self.model, task, batch, max(self._beams, k)),
            self.model.tries[task],
            self._counts[task],
            [self._ranker.positions(request.exclude) for request in requests],
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

    def _scores(self, task: Task, batch: Batch) -> npt.NDArray[np.float32]:
        """Log-probabilities of one-level identifiers, (B, N), columns in tie order."""
        spaces = self.model.vocabulary.spaces
        with self.model.autocast():
            states = _finite(self.model.backbone.states(batch))
        slot = spaces.slots[spaces.slots_of(task)[0]]
        scores = torch.log_softmax(self.model.backbone.logits(states, slot), dim=1)
        codes = torch.from_numpy(spaces.of(task).codes[self._ranker.order, 0])
        found: npt.NDArray[np.float32] = scores[:, codes.to(scores.device)].cpu().numpy()
        return found


class Expansion:
    """What a model says of the next code of each hypothesis; see `beam_search.Expand`.

    Args:
        model: in evaluation mode.
        task: whose identifiers are spelled.
        batch: requests alone.
        beams: hypotheses of a level, at most.
    """

    def __init__(self, model: GenerativeModel, task: Task, batch: Batch, beams: int) -> None:
        spaces = model.vocabulary.spaces
        self._model = model
        self._slots = [spaces.slots[slot] for slot in spaces.slots_of(task)]
        self._tokens = model.vocabulary.code_tokens(task)
        with model.autocast():
            self._steps = steps_of(model.backbone, batch, len(self._slots) - 1, beams)

    def __call__(self, level: int, codes: Ints, parents: Ints) -> npt.NDArray[np.float32]:
        with self._model.autocast():
            if level == 0:
                states = self._steps.first()[:, None]
            else:
                tokens = torch.from_numpy(codes + self._tokens[level - 1]).to(self._model.device)
                places = torch.from_numpy(parents).to(self._model.device)
                states = self._steps.next(tokens, places)
        logits = self._model.backbone.logits(_finite(states), self._slots[level])
        scores = torch.log_softmax(logits, dim=-1)
        found: npt.NDArray[np.float32] = scores.cpu().numpy()
        return found


def _finite(states: torch.Tensor) -> torch.Tensor:
    if not states.isfinite().all():
        raise InputError("the model's states are not finite: its training diverged, train anew")
    return states


def _batches(rows: Sequence[int], sequences: Sequence[Sequences], most: int) -> Iterator[list[int]]:
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
    model.backbone.pack(model.precision, model.vocabulary.spaces.slots)
    return GenerativeRetriever(model, name or Path(folder).name)
