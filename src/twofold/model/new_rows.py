"""Rows of new items, learned while all else stays as it was trained.

A new item is asked for by its title and by words of its text, as training asks for items; its row
moves from where its text puts it until such requests find it, held back by requests that want
other items. IncDSI (Kishore et al., ICML 2023) adds documents by such a search under constraints;
here it is the loss of training itself, as if every item of the catalog asked once.

Shapes: M new items, N items of the catalog, S requests, D width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from twofold.data.dataset import Catalog
from twofold.encoders.encoders import Vectors
from twofold.model.checkpoint import GenerativeModel
from twofold.model.vocabulary import Sequences
from twofold.records import Ints
from twofold.tasks.examples import item_text_queries

_SNIPPETS = 16
"""Requests made of a new item's text, beside its title."""
_OTHERS, _HISTORIES = 3000, 1500
"""Requests that want other items: by their texts, and after histories that the model carries."""
_ANCHOR = 3.0
"""Of the squared distance from where the text puts a row, beside a loss of order one."""
_STEPS = 60
_BATCH = 64


def states_of_others(model: GenerativeModel, seed: int = 0) -> Vectors:
    """What requests that want items of the catalog end in, (S, D); a draw of them."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(model.catalog))[:_OTHERS]
    asked = item_text_queries(Catalog.of(model.catalog.items[drawn]), 1)
    nothing = np.zeros(0, np.int64)
    found = [_encode(model, nothing, queries[-1]) for queries in asked if queries]
    users = list(model.histories.values())
    for user in rng.permutation(len(users))[:_HISTORIES]:
        seen = users[user][: rng.integers(1, len(users[user]) + 1)]
        found.append(_encode(model, seen, None))
    return _states(model, found)


def fit_rows(model: GenerativeModel, start: Vectors, items: Catalog, others: Vectors) -> Vectors:
    """The rows of new items, (M, D).

    Args:
        model: as trained; read, never changed.
        start: where their texts put them, (M, D).
        items: their titles and texts.
        others: of `states_of_others`.
    """
    asked = item_text_queries(items, _SNIPPETS)
    nothing = np.zeros(0, np.int64)
    own = torch.from_numpy(
        _states(model, [_encode(model, nothing, query) for queries in asked for query in queries])
    )
    counts = torch.tensor([len(queries) for queries in asked])
    whose = torch.repeat_interleave(torch.arange(len(asked)), counts)
    crowd, anchor = torch.from_numpy(others), torch.from_numpy(start)
    rows = model.backbone.code_rows().detach().cpu()
    own_rest, crowd_rest = (torch.logsumexp(s @ rows.T, dim=1) for s in (own, crowd))
    fitted = anchor.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        # -log p of the new item, and what it takes off log p of the item that others want
        missed = F.softplus(own_rest - (fitted[whose] * own).sum(dim=1)) / counts[whose]
        taken = F.softplus(fitted @ crowd.T - crowd_rest).mean(dim=1)
        moved = (fitted - anchor).square().sum()
        total = missed.sum() + len(rows) * taken.sum() + _ANCHOR * moved
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return fitted.detach().numpy()


def _encode(model: GenerativeModel, history: Ints, query: str | None) -> Sequences:
    return model.vocabulary.encode_request(history, query)


@torch.inference_mode()
def _states(model: GenerativeModel, sequences: Sequence[Sequences]) -> Vectors:
    """The state that each request generates from, (S, D), in the order given."""
    width = model.backbone.code_rows().shape[1]
    found = np.zeros((len(sequences), width), np.float32)
    by_length = np.argsort([len(s.tokens) for s in sequences], kind="stable")
    for first in range(0, len(by_length), _BATCH):
        rows = by_length[first : first + _BATCH]
        batch = model.vocabulary.collate([sequences[row] for row in rows]).to(model.device)
        with model.autocast():
            found[rows] = model.backbone.states(batch).float().cpu().numpy()
    return found
