"""What a model thinks of each next code: what beam search and scoring go by."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from twofold.model.checkpoint import GenerativeModel
from twofold.model.decoding import steps_of
from twofold.model.vocabulary import Batch, EncodedExample, padded
from twofold.records import InputError, Ints, Task


def batch_of(model: GenerativeModel, sequences: Sequence[EncodedExample]) -> Batch:
    """Requests side by side on the model's device.

    Their padding fills whole vectors of the processor: then attention sums in the same order
    whatever a batch's longest request is, and neighbours hardly change a bit of an answer
    (docs/project/decisions/0014-decode-hypotheses-as-positions.md).
    """
    longest = max(len(s.tokens) for s in sequences)
    room = getattr(model.backbone.model.config, "max_position_embeddings", None) or np.inf
    width = int(min(padded(longest), room))
    batch = model.vocabulary.collate(sequences, width)
    if model.hybrid is not None and any(s.query for s in sequences):
        matches = torch.from_numpy(model.hybrid.scores([s.query for s in sequences]))
        batch = replace(batch, matches=matches)
    return batch.to(model.device)


class Expansion:
    """What a model thinks of the next code of each hypothesis; see `beam_search.Expand`.

    Args:
        model: in evaluation mode.
        task: whose identifiers are spelled.
        batch: requests alone.
        beams: hypotheses of a level, at most.
    """

    def __init__(self, model: GenerativeModel, task: Task, batch: Batch, beams: int) -> None:
        spaces = model.vocabulary.spaces
        self._model = model
        self._codebooks = [spaces.codebooks[codebook] for codebook in spaces.codebooks_of(task)]
        self._matches = batch.matches[:, None]
        self._tokens = model.vocabulary.code_tokens(task)
        with model.autocast():
            self._steps = steps_of(model.backbone, batch, len(self._codebooks) - 1, beams)

    def __call__(self, level: int, codes: Ints, parents: Ints) -> npt.NDArray[np.float32]:
        with self._model.autocast():
            if level == 0:
                states = self._steps.first()[:, None]
            else:
                tokens = torch.from_numpy(codes + self._tokens[level - 1]).to(self._model.device)
                places = torch.from_numpy(parents).to(self._model.device)
                states = self._steps.next(tokens, places)
        logits = self._model.backbone.logits(finite(states), self._codebooks[level])
        if level == 0:
            logits = with_matches(logits, self._matches)
        found: npt.NDArray[np.float32] = logits.cpu().numpy()
        return found


def with_matches(logits: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """Scores of the first codes, (..., codes), with what a hybrid model adds to them."""
    return logits + matches if matches.shape[-1] else logits


def finite(states: torch.Tensor) -> torch.Tensor:
    """The states; raises InputError where a diverged training left none."""
    if not states.isfinite().all():
        raise InputError("the model's states are not finite: its training diverged, train anew")
    return states
