"""The next-code logits of each hypothesis, for beam search, and log p of given items.

Shapes: B requests, M items, K hypotheses, V codes of a level.
"""

import numpy as np
import numpy.typing as npt
import torch

from twofold.identifiers.trie import Trie
from twofold.model.checkpoint import GenerativeModel, finite, with_matches
from twofold.model.decoding import steps_of
from twofold.model.encoded import Batch
from twofold.records import Ints, Task
from twofold.retrieval.beam_search import Scores, log_totals


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


@torch.inference_mode()
def log_p(model: GenerativeModel, task: Task, batch: Batch, items: Ints) -> Scores:
    """Log p of some items for each request of a batch, (B, M).

    Args:
        model: in evaluation mode.
        task: the task of the requests.
        batch: B encoded requests.
        items: catalog positions, (B, M).
    """
    expand = Expansion(model, task, batch, items.shape[1])
    codes = model.vocabulary.spaces.of(task).codes[items]  # (B, M, levels)
    trie = model.tries.get(task)
    start = np.zeros((len(items), 1), np.int64)
    first = expand(0, start, start)[:, 0]
    valid = first[:, trie.codes[0]] if trie else first
    scores = np.take_along_axis(first, codes[:, :, 0], axis=1)
    scores = scores - log_totals(valid, np.array([valid.shape[1]]))[:, :1]
    for level in range(1, codes.shape[2]):
        assert trie is not None, "identifiers of several codes have a trie"
        scores = _with_level(scores, expand, trie, level, items, codes)
    return scores


def _with_level(
    scores: Scores, expand: Expansion, trie: Trie, level: int, items: Ints, codes: Ints
) -> Scores:
    """Log p of the items' prefixes with one more level, (B, M).

    Args:
        scores: log p of the prefixes before the level, (B, M).
        expand: was called for each level before.
        trie: the trie of valid identifiers.
        level: at least 1.
        items: catalog positions, (B, M).
        codes: their codes, (B, M, levels).
    """
    each = np.arange(items.size)
    columns = np.arange(items.shape[1]) if level > 1 else np.zeros(items.shape[1], np.int64)
    logits = expand(level, codes[:, :, level - 1], np.broadcast_to(columns, items.shape).copy())
    logits = logits.reshape(items.size, -1)
    owner, child = trie.children(level, trie.paths(items.reshape(-1))[:, level - 1])
    totals = log_totals(logits[owner, trie.codes[level][child]], np.bincount(owner))
    of_level = logits[each, codes[:, :, level].reshape(-1)] - totals[np.searchsorted(owner, each)]
    return np.asarray(scores + of_level.reshape(items.shape))
