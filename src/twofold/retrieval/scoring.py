"""Scores of given items, and how much each part of a request adds to them.

Invariant: a score is the one that retrieval ranks by, log p(identifier).

Shapes: B contexts, M items, V codes of a level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from twofold.identifiers.trie import Trie
from twofold.model.checkpoint import GenerativeModel
from twofold.records import Ints
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
        score: log p(item) of the whole request, less that of the request without this part.
    """

    kind: Literal["history", "query"]
    place: int
    score: float


@torch.inference_mode()
def score_items(model: GenerativeModel, contexts: Sequence[Context], items: Ints) -> Scores:
    """Log p of the same items for each context, (B, M).

    Args:
        model: in evaluation mode.
        contexts: B contexts, all with a query or all without one.
        items: catalog positions, (M,).
    """
    task = model.vocabulary.task(contexts[0].query)
    batch = model.batch_of([model.vocabulary.encode_request(c.history, c.query) for c in contexts])
    expand = Expansion(model, task, batch, len(items))
    codes = model.vocabulary.spaces.of(task).codes[items]  # (M, levels)
    trie = model.tries.get(task)
    start = np.zeros((len(contexts), 1), np.int64)
    first = expand(0, start, start)[:, 0]
    valid = first[:, trie.codes[0]] if trie else first
    scores = first[:, codes[:, 0]] - log_totals(valid, np.array([valid.shape[1]]))[:, :1]
    for level in range(1, codes.shape[1]):
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
        items: catalog positions, (M,).
        codes: their codes, (M, levels).
    """
    each = np.arange(len(items))
    before = np.broadcast_to(codes[:, level - 1], scores.shape)
    parents = np.broadcast_to(each if level > 1 else np.zeros_like(each), before.shape)
    logits = expand(level, before.copy(), parents.copy())
    owner, child = trie.children(level, trie.paths(items)[:, level - 1])
    valid = logits[:, owner, trie.codes[level][child]]
    totals = log_totals(valid, np.bincount(owner))[:, np.searchsorted(owner, each)]
    return np.asarray(scores + logits[:, each, codes[:, level]] - totals)


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
