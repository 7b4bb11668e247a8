"""Scores of given items, and how much each part of a request adds to them.

Invariant: the scores are those by which retrieval ranks: log p(identifier), plus the item's match
with the request if there are semantic IDs and a hybrid part.

Shapes: B contexts or requests, M items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from twofold.model.checkpoint import GenerativeModel
from twofold.records import Ints
from twofold.retrieval.beam_search import Scores
from twofold.retrieval.expansion import log_p

_PARTS = 50
"""The most recent items of a history, and the first words of a query, that are explained."""
_BATCH, _BATCH_LOGITS = 32, 1 << 24
"""The most contexts of one batch, and the most logits: each has one for every code of a level."""


@dataclass(frozen=True, slots=True)
class Context:
    """The history of a request as catalog positions, oldest first, its query, and the seconds since
    the last event; None if they are not known.
    """

    history: Ints
    query: str | None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request, and what it adds to an item's score.

    Attributes:
        kind: an item of the history, or a word of the query.
        place: the index of the item in the history, or of the word in the query.
        score: the item's score for the whole request minus its score without this part.
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
    task, encode = model.vocabulary.task(contexts[0].query), model.vocabulary.encode_request
    encoded = [encode(c.history, c.query, c.since) for c in contexts]
    each = np.broadcast_to(items, (len(contexts), len(items)))
    scores, part = log_p(model, task, model.batch_of(encoded), each), model.hybrid_part(task)
    if model.tries and part is not None:
        scores += part.matches(encoded)[:, items]
    return scores


def explain(model: GenerativeModel, context: Context, item: int) -> tuple[float, list[Part]]:
    """An item's score, and what each part of the request adds to it, largest first.

    One part is left out at a time, so of two parts with the same information neither gets credit.
    Parts are the last 50 items of the history that the model reads, and the first 50 words of the
    query.
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
        return replace(context, history=np.delete(context.history, place))
    return replace(context, query=" ".join([*words[:place], *words[place + 1 :]]))
