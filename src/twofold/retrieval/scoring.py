"""Scores of given items, and which part of a request they rest on.

Invariant: a score is the one that retrieval ranks by, log p(identifier).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from twofold.model.checkpoint import GenerativeModel
from twofold.records import Ints
from twofold.retrieval.beam_search import Scores, log_totals
from twofold.retrieval.expansion import Expansion, batch_of

_PARTS = 50
"""Of a history, the most recent ones, and of a query, the first, that are weighed one by one."""
_TOGETHER = 32
"""Requests of one pass: each has a score for every code of a level."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a request says: catalog positions, oldest first, and what was typed."""

    history: Ints
    query: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request, and what it adds to an item's score.

    Attributes:
        place: of the history, or among the query's words.
        score: log p(item) with the whole request less that without this part.
    """

    kind: Literal["history", "query"]
    place: int
    score: float


@torch.inference_mode()
def score_items(model: GenerativeModel, contexts: Sequence[Context], items: Ints) -> Scores:
    """Log p of the same items for each context, (B, M).

    Args:
        contexts: all with a query, or all without one.
        items: catalog positions, (M,).
    """
    task = model.vocabulary.task(contexts[0].query)
    sequences = [model.vocabulary.encode_request(c.history, c.query) for c in contexts]
    batch = batch_of(model, sequences)
    expand = Expansion(model, task, batch, len(items))
    codes = model.vocabulary.spaces.of(task).codes[items]  # (M, levels)
    trie = model.tries.get(task)
    nodes = trie.paths(items) if trie else codes
    rows, each = len(contexts), np.arange(len(items))
    nothing = np.zeros((rows, 1), np.int64)
    first = expand(0, nothing, nothing)[:, 0]
    begins = first[:, trie.codes[0]] if trie else first
    scores = first[:, codes[:, 0]] - log_totals(begins, np.array([begins.shape[1]]))[:, :1]
    for level in range(1, codes.shape[1]):
        before = np.broadcast_to(codes[:, level - 1], (rows, len(items)))
        places = np.broadcast_to(each if level > 1 else np.zeros_like(each), before.shape)
        found = expand(level, before.copy(), places.copy())
        assert trie is not None
        owner, child = trie.children(level, nodes[:, level - 1])
        goes_on = log_totals(found[:, owner, trie.codes[level][child]], np.bincount(owner))
        starts = np.searchsorted(owner, each)
        scores = scores + found[:, each, codes[:, level]] - goes_on[:, starts]
    return scores


def explain(model: GenerativeModel, context: Context, item: int) -> tuple[float, list[Part]]:
    """An item's score, and what each part of the request adds to it, largest first.

    One part is left out at a time, so parts that say the same share no credit. Of a history only
    what the model reads, at most the last 50 items, and of a query at most the first 50 words.
    """
    words = context.query.split() if context.query is not None else []
    length = len(context.history)
    read = range(max(0, length - min(_PARTS, model.vocabulary.max_history)), length)
    parts: list[tuple[Literal["history", "query"], int]] = [("history", n) for n in read]
    parts += [("query", n) for n in range(min(_PARTS, len(words)))]
    contexts = [context, *(_without(context, words, kind, place) for kind, place in parts)]
    scored = [
        score_items(model, contexts[start : start + _TOGETHER], np.array([item]))[:, 0]
        for start in range(0, len(contexts), _TOGETHER)
    ]
    scores = np.concatenate(scored)
    found = [
        Part(kind, place, float(scores[0] - score))
        for (kind, place), score in zip(parts, scores[1:], strict=True)
    ]
    return float(scores[0]), sorted(found, key=lambda part: -abs(part.score))


def _without(
    context: Context, words: Sequence[str], kind: Literal["history", "query"], place: int
) -> Context:
    if kind == "history":
        return Context(np.delete(context.history, place), context.query)
    return Context(context.history, " ".join([*words[:place], *words[place + 1 :]]))
