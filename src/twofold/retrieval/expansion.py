"""The next-code logits of each hypothesis, which beam search and scoring go by."""

import numpy as np
import numpy.typing as npt
import torch

from twofold.model.checkpoint import GenerativeModel, finite, with_matches
from twofold.model.decoding import steps_of
from twofold.model.vocabulary import Batch
from twofold.records import Ints, Task


class Expansion:
    """Next-code logits of the hypotheses of a batch; see `beam_search.Expand`.

    Args:
        model: in evaluation mode.
        task: the task whose identifiers are generated.
        batch: encoded requests.
        beams: the most hypotheses of a level.
    """

    def __init__(self, model: GenerativeModel, task: Task, batch: Batch, beams: int) -> None:
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
