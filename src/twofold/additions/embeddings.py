"""Rows of new items, learned while all else stays as it was trained.

A new item is asked for by its title and by words of its text, as training asks for items; its row
moves from where its text puts it until such requests find it, held back by requests that want
other items. IncDSI (Kishore et al., ICML 2023) adds documents by such a search under constraints;
here it is the loss of training itself, as if every item of the catalog asked once.

Shapes: M new items, N items of the catalog, S requests, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from twofold.data.dataset import Catalog
from twofold.encoders.encoders import Vectors
from twofold.model.checkpoint import GenerativeModel
from twofold.model.vocabulary import EncodedExample
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
_SCORES = 1 << 22
"""Scores that are held at once: 16 MB of float32."""


@dataclass(frozen=True, eq=False)
class Others:
    """Requests that want items of the catalog, and what their scores sum to: dear to work out,
    and the same for every new item.

    Attributes:
        states: what the requests end in, (S, D).
        log_sums: log of the sum of exp(score) over the rows of all codes, (S,).
        rows: how many rows that were.
    """

    states: Vectors
    log_sums: Vectors
    rows: int

    @classmethod
    def of(cls, model: GenerativeModel, seed: int = 0) -> "Others":
        """A draw of them; seconds for a large catalog."""
        states, rows = _states_of_others(model, seed), _rows(model)
        return cls(states, log_sums(torch.from_numpy(states), rows).numpy(), len(rows))

    def grown(self, model: GenerativeModel) -> "Others":
        """The same once rows were appended to those of the model; the rest must stand as it was."""
        rows = _rows(model)
        if len(rows) == self.rows:
            return self
        more = log_sums(torch.from_numpy(self.states), rows[self.rows :]).numpy()
        return Others(self.states, np.logaddexp(self.log_sums, more), len(rows))


@torch.no_grad()
def log_sums(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """log of the sum of exp(score) over the rows, (S, D) and (codes, D) -> (S,)."""
    at_once = max(1, _SCORES // max(1, len(rows)))
    # One buffer for all: new ones, between what is kept, would not be given back.
    buffer, found = torch.empty(min(at_once, len(states)), len(rows)), torch.empty(len(states))
    for first in range(0, len(states), at_once):
        some = states[first : first + at_once]
        scores = torch.mm(some, rows.T, out=buffer[: len(some)])
        highest = scores.amax(dim=1, keepdim=True)
        sums = scores.sub_(highest).exp_().sum(dim=1)
        found[first : first + at_once] = sums.log_() + highest[:, 0]
    return found


def _rows(model: GenerativeModel) -> torch.Tensor:
    """Output rows of all codes, (codes, D), where the processor can read them."""
    return model.backbone.code_rows().detach().cpu()


def _states_of_others(model: GenerativeModel, seed: int) -> Vectors:
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


def fit_rows(model: GenerativeModel, start: Vectors, items: Catalog, others: Others) -> Vectors:
    """The rows of new items, (M, D).

    Args:
        model: as trained; read, never changed.
        start: where their texts put them, (M, D).
        items: their titles and texts.
        others: of the model as it stands, `grown` where it has.
    """
    asked = item_text_queries(items, _SNIPPETS)
    nothing = np.zeros(0, np.int64)
    own = torch.from_numpy(
        _states(model, [_encode(model, nothing, query) for queries in asked for query in queries])
    )
    counts = torch.tensor([len(queries) for queries in asked])
    whose = torch.repeat_interleave(torch.arange(len(asked)), counts)
    crowd, anchor = torch.from_numpy(others.states), torch.from_numpy(start)
    own_rest, crowd_rest = log_sums(own, _rows(model)), torch.from_numpy(others.log_sums)
    fitted = anchor.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        # -log p of the new item, and what it takes off log p of the item that others want
        missed = F.softplus(own_rest - (fitted[whose] * own).sum(dim=1)) / counts[whose]
        taken = F.softplus(fitted @ crowd.T - crowd_rest).mean(dim=1)
        moved = (fitted - anchor).square().sum()
        total = missed.sum() + others.rows * taken.sum() + _ANCHOR * moved
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return fitted.detach().numpy()


def _encode(model: GenerativeModel, history: Ints, query: str | None) -> EncodedExample:
    return model.vocabulary.encode_request(history, query)


@torch.inference_mode()
def _states(model: GenerativeModel, sequences: Sequence[EncodedExample]) -> Vectors:
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
