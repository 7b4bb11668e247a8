"""Scores of given items, and how much each part of a request adds to them.

Invariant: a score is the one that retrieval ranks by: log p(identifier), and with semantic IDs the
item's match with the query on top, where there is a hybrid part.

Shapes: B contexts or requests, M items, V codes of a level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from twofold.identifiers.trie import Trie
from twofold.model.checkpoint import GenerativeModel
from twofold.model.vocabulary import Batch
from twofold.records import Ints, Task
from twofold.retrieval.beam_search import Scores, log_totals
from twofold.retrieval.expansion import Expansion

_PARTS = 50
"""The most recent items of a history, and the first words of a query, that are explained."""
_BATCH, _BATCH_LOGITS = 32, 1 << 24
"""The most contexts of one batch, and the most logits: each has one for every code of a level."""


@dataclass(frozen=True, slots=True)
class Context:
    """The history of a request as catalog positions, oldest first, and its query."""

    history: Ints
    query: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request, and what it adds to an item's score.

    Attributes:
        kind: an item of the history, or a word of the query.
        place: the index of the item in the history, or of the word in the query.
        score: the item's score of the whole request, less that of the request without this part.
    """

    kind: Literal["history", "query"]
    place: int
    score: float


@torch.inference_mode()
def score_items(model: GenerativeModel, contexts: Sequence[Context], items: Ints) -> Scores:
    """The scores of the same items for each context, (B, M).

    Args:
        model: in evaluation mode.
        contexts: B contexts, all with a query or all without one.
        items: catalog positions, (M,).
    """
    queries = [context.query for context in contexts]
    batch = model.batch_of([model.vocabulary.encode_request(c.history, c.query) for c in contexts])
    each = np.broadcast_to(items, (len(contexts), len(items)))
    scores = log_p(model, model.vocabulary.task(queries[0]), batch, each)
    if model.tries and model.hybrid is not None and queries[0] is not None:
        scores += model.hybrid.scores([query or "" for query in queries])[:, items]
    return scores


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
        expand: called for the levels before already.
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
    own = logits[each, codes[:, :, level].reshape(-1)] - totals[np.searchsorted(owner, each)]
    return np.asarray(scores + own.reshape(items.shape))


def explain(model: GenerativeModel, context: Context, item: int) -> tuple[float, list[Part]]:
    """An item's score, and what each part of the request adds to it, largest first.

    One part is left out at a time, so of two parts that say the same neither gets credit. Parts
    are the items of a history that the model reads, at most the last 50, and at most the first 50
    words of a query.
    """
    words = context.query.split() if context.query is not None else []
    length = len(context.history)
    read = range(max(0, length - min(_PARTS, model.vocabulary.max_history)), length)
    parts: list[tuple[Literal["history", "query"], int]] = [("history", n) for n in read]
    parts += [("query", n) for n in range(min(_PARTS, len(words)))]
    contexts = [context, *(_without(context, words, kind, place) for kind, place in parts)]
    task = model.vocabulary.task(context.query)
    widest = max(model.vocabulary.spaces.of(task).codebook_sizes)
    size = max(1, min(_BATCH, _BATCH_LOGITS // widest))
    scored = [
        score_items(model, contexts[start : start + size], np.array([item]))[:, 0]
        for start in range(0, len(contexts), size)
    ]
    scores = np.concatenate(scored)
    explained = [
        Part(kind=kind, place=place, score=float(scores[0] - score))
        for (kind, place), score in zip(parts, scores[1:], strict=True)
    ]
    return float(scores[0]), sorted(explained, key=lambda part: -abs(part.score))


def _without(
    context: Context, words: Sequence[str], kind: Literal["history", "query"], place: int
) -> Context:
    if kind == "history":
        return Context(np.delete(context.history, place), context.query)
    return Context(context.history, " ".join([*words[:place], *words[place + 1 :]]))
