"""A trained model as a retriever.

Invariant: score(item) = log p(identifier), p normalised over all codes of the level; what a
request excludes is masked afterwards, so a filter never reorders what passes it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from twofold.model.backbone import resolve_device
from twofold.model.checkpoint import GenerativeModel, load_model_folder
from twofold.model.vocabulary import Sequences
from twofold.records import Answer, Example, InputError, Ranking, Request, Run
from twofold.retrieval.top_k import CatalogRanker

_BATCH_TOKENS = 16_384
_BATCH_SCORES = 1 << 24
"""64 MB of float32; a few copies of them are alive at once."""
_NO_TARGET = np.zeros(1, dtype=np.int64)


class GenerativeRetriever:
    """Exact top-k over the codes of one step: for atomic identifiers.

    Args:
        model: a trained model; its weights are read, never changed.
        name: of the runs.
    """

    def __init__(self, model: GenerativeModel, name: str = "generative") -> None:
        self.name = name
        self.model = model
        self._item_ids = np.asarray(model.catalog.item_ids, dtype=object)
        self._ranker = CatalogRanker(model.catalog.item_ids)
        codes = model.vocabulary.identifiers.codes[self._ranker.order, 0]
        self._codes = torch.from_numpy(codes).to(model.device)

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """The `k` best items for each request; see `twofold.records.Retriever`.

        Raises:
            InputError: a history or an exclusion names an unknown item.
        """
        sequences = [self._encode(request) for request in requests]
        rankings: dict[str, Ranking] = {}
        most = max(1, _BATCH_SCORES // len(self._item_ids))
        for rows in _batches(sequences, most):
            scores = self._scores([sequences[row] for row in rows])
            rankings |= self._ranker.rank([requests[row] for row in rows], scores, k)
        return Run(
            self.name, {request.request_id: rankings[request.request_id] for request in requests}
        )

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
        visible = np.array([len(history)])
        return self.model.vocabulary.encode(Example(history, request.query, _NO_TARGET, visible))

    @torch.inference_mode()
    def _scores(self, sequences: Sequence[Sequences]) -> npt.NDArray[np.float32]:
        """Log-probabilities, (B, N), columns in tie order."""
        batch = self.model.vocabulary.collate(sequences).to(self.model.device)
        with self.model.autocast():
            states = self.model.backbone.states(batch)
        if not states.isfinite().all():
            raise InputError("the model's states are not finite: its training diverged, train anew")
        scores = torch.log_softmax(states @ self.model.backbone.code_rows().T, dim=1)
        found: npt.NDArray[np.float32] = scores[:, self._codes].cpu().numpy()
        return found


def _batches(sequences: Sequence[Sequences], most: int) -> Iterator[list[int]]:
    """Rows in batches of similar length, so that little of a batch is padding; `most` in one."""
    batch: list[int] = []
    for row in sorted(range(len(sequences)), key=lambda row: len(sequences[row].tokens)):
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
    return GenerativeRetriever(model, name or Path(folder).name)
