"""Scores as training computes them, which retrieval and scoring must equal."""

import numpy as np
import torch

from twofold.model.checkpoint import GenerativeModel
from twofold.records import Request
from twofold.training_examples import Example


def requests_of(items: int, rng: np.random.Generator) -> list[Request]:
    """Requests of both tasks over the items of a random model, with exclusions."""
    ids = [f"item-{n:03d}" for n in range(items)]
    requests = []
    for number, query in enumerate(["space opera", None, "heist", None, "slow slow slow dance"]):
        history = tuple(rng.choice(ids, size=int(rng.integers(0, 8))))
        exclude = frozenset(rng.choice(ids, size=int(rng.integers(0, items))))
        requests.append(Request(str(number), query=query, history=history, exclude=exclude))
    return requests


def score_in_training(model: GenerativeModel, request: Request, item: int) -> float:
    """Log-probability of an item's codes over the valid continuations, as in training."""
    history = np.array([model.catalog.positions[i] for i in request.history], dtype=np.int64)
    example = Example(
        history=history,
        query=request.query,
        targets=np.array([item]),
        visible=np.array([len(history)]),
    )
    batch = model.vocabulary.collate(model.vocabulary.encode(example))
    with torch.no_grad():
        states, rows = model.backbone.states(batch), model.backbone.output_embeddings().detach()
    score, codes = 0.0, model.vocabulary.spaces.of(model.vocabulary.task(request.query)).codes
    targets = zip(batch.targets, batch.target_contexts, strict=True)
    for level, (target, context) in enumerate(targets):
        codebook = model.vocabulary.spaces.codebooks[int(batch.context_codebooks[context])]
        alike = (codes[:, :level] == codes[item, :level]).all(axis=1)
        logits = states[context] @ rows[codebook].T
        valid = np.unique(codes[alike, level])
        score += float(logits[target] - logits[valid].logsumexp(0))
    return score
