"""The next-code logits of each hypothesis, which beam search and scoring go by."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from twofold.model.checkpoint import GenerativeModel
from twofold.model.vocabulary import Batch, EncodedExample, padded
from twofold.records import InputError, Ints, Task

_BATCH_TOKENS = 4096
"""Padding included: a batch of so many takes some 100 MB, and a larger one no less time."""


def batches_by_length(
    rows: Sequence[int], requests: Sequence[EncodedExample], size: int
) -> Iterator[list[int]]:
    """`rows` in batches of at most `size`, of similar length so that padding is little."""
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: len(requests[row].tokens)):
        tokens = (len(batch) + 1) * len(requests[row].tokens)
        if batch and (tokens > _BATCH_TOKENS or len(batch) == size):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def batch_of(model: GenerativeModel, requests: Sequence[EncodedExample]) -> Batch:
    """Encoded requests as one batch on the model's device, with the hybrid part's scores.

    They are padded to a multiple of the SIMD width: attention then sums in the same order whatever
    the batch's longest request is, and the rest of a batch hardly changes a bit of an answer
    (docs/project/decisions/0014-hypotheses-side-by-side.md).
    """
    longest = max(len(request.tokens) for request in requests)
    positions = getattr(model.backbone.model.config, "max_position_embeddings", None) or np.inf
    batch = model.vocabulary.collate(requests, int(min(padded(longest), positions)))
    if model.hybrid is not None and any(request.query for request in requests):
        matches = torch.from_numpy(model.hybrid.scores([request.query for request in requests]))
        batch = replace(batch, matches=matches)
    return batch.to(model.device)


class Expansion:
    """Next-code logits of the hypotheses of a batch; see `beam_search.Expand`.

    Args:
        model: in evaluation mode.
        task: the task whose identifiers are generated.
        batch: encoded requests.
        beams: the most hypotheses of a level.
    """

    def __init__(self, model: GenerativeModel, task: Task, batch: Batch, beams: int) -> None:
        # Imported here, as models with atomic identifiers never decode step by step.
        from twofold.model.decoding import steps_of

        spaces = model.vocabulary.spaces
        self._model = model
        self._codebooks = [spaces.codebooks[number] for number in spaces.codebooks_of(task)]
        self._matches = batch.matches[:, None]
        self._tokens = model.vocabulary.code_tokens(task)
        with model.autocast():
            self._steps = steps_of(model.backbone, batch, len(self._codebooks) - 1, beams)

    def __call__(self, level: int, codes: Ints, parents: Ints) -> npt.NDArray[np.float32]:
        """The logits of the level's codes after each hypothesis, (B, K, V)."""
        with self._model.autocast():
            if level == 0:
                states = self._steps.first()[:, None]
            else:
                tokens = torch.from_numpy(codes + self._tokens[level - 1]).to(self._model.device)
                states = self._steps.next(tokens, torch.from_numpy(parents).to(self._model.device))
        logits = self._model.backbone.logits(finite(states), self._codebooks[level])
        if level == 0:
            logits = with_matches(logits, self._matches)
        on_cpu: npt.NDArray[np.float32] = logits.cpu().numpy()
        return on_cpu


def with_matches(logits: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """Logits of the first codes, (..., codes), plus the scores of the hybrid part, if any."""
    return logits + matches if matches.shape[-1] else logits


class NotFiniteError(InputError):
    """A model computes numbers that are not finite."""


def finite(states: torch.Tensor) -> torch.Tensor:
    """The states; raises NotFiniteError where training diverged and they are not finite."""
    if not states.isfinite().all():
        raise NotFiniteError(
            "the model's states are not finite, as its training diverged: train it again with a "
            "lower learning rate (--set learning_rate=VALUE)"
        )
    return states
