"""Embeddings of new items, fitted to the frozen model.

Positive requests for a new item are its title and snippets of its text, as in training. The
embedding is initialised by a map from the item's text and learned from these requests; negative
requests, whose targets are other items, hold it back. IncDSI (Kishore et al., ICML 2023) adds
documents by such an optimisation under constraints; here the objective is the training loss, with
one request for each item of the catalog.

Shapes: M new items, N items of the catalog, S requests, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from twofold.data.dataset import Catalog
from twofold.encoders.vectors import Vectors
from twofold.model.checkpoint import GenerativeModel
from twofold.model.encoded import EncodedExample
from twofold.records import Ints
from twofold.tasks.training_data import item_text_queries

_SNIPPETS = 16
"""The number of positive requests from a new item's text, in addition to its title."""
_TEXT_NEGATIVES, _HISTORY_NEGATIVES = 3000, 1500
"""The numbers of negative requests: texts of other items, and histories that the model stores."""
_ANCHOR_WEIGHT = 3.0
"""The weight of the squared distance from the initial embedding; the loss is of order one."""
_MAX_STEPS = 60
_BATCH_SIZE = 64
_MAX_SCORES = 1 << 22
"""The number of scores in memory at once: 16 MB of float32."""


@dataclass(frozen=True, eq=False)
class NegativeRequests:
    """Requests whose targets are items of the catalog, with the normalisers of their scores. They
    are expensive, computed once, and the same for every new item.

    Attributes:
        states: the hidden states that generate the answers, (S, D).
        log_sums: log of the sum of exp(score) over all codes, (S,).
        num_codes: the number of codes in that sum.
    """

    states: Vectors
    log_sums: Vectors
    num_codes: int

    @classmethod
    def of(cls, model: GenerativeModel, seed: int = 0) -> "NegativeRequests":
        """Draw the requests for a model; this takes seconds for a large catalog."""
        states, embeddings = _negative_states(model, seed), _code_embeddings(model)
        log_sums = log_sum_exp(torch.from_numpy(states), embeddings).numpy()
        return cls(states, log_sums, len(embeddings))

    def extended(self, model: GenerativeModel) -> "NegativeRequests":
        """The same requests after codes were appended to the model, which is otherwise unchanged:
        only the new codes are scored."""
        embeddings = _code_embeddings(model)
        if len(embeddings) == self.num_codes:
            return self
        new = log_sum_exp(torch.from_numpy(self.states), embeddings[self.num_codes :]).numpy()
        return NegativeRequests(self.states, np.logaddexp(self.log_sums, new), len(embeddings))


@torch.no_grad()
def log_sum_exp(states: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    """log of the sum of exp(score) over the codes, (S, D) and (codes, D) -> (S,)."""
    chunk = max(1, _MAX_SCORES // max(1, len(embeddings)))
    # One buffer for all chunks: freed chunks between kept memory would not be returned to the
    # system.
    buffer = torch.empty(min(chunk, len(states)), len(embeddings))
    log_sums = torch.empty(len(states))
    for first in range(0, len(states), chunk):
        some = states[first : first + chunk]
        scores = torch.mm(some, embeddings.T, out=buffer[: len(some)])
        highest = scores.amax(dim=1, keepdim=True)
        sums = scores.sub_(highest).exp_().sum(dim=1)
        log_sums[first : first + chunk] = sums.log_() + highest[:, 0]
    return log_sums


def fit_embeddings(
    model: GenerativeModel, start: Vectors, items: Catalog, negatives: NegativeRequests
) -> Vectors:
    """The output embeddings of new items, (M, D), by L-BFGS.

    Args:
        model: as trained; it is read and never changed.
        start: the initial embeddings by the map from texts, (M, D).
        items: the items' titles and texts.
        negatives: requests for other items, `extended` to the model's present codes.
    """
    queries = item_text_queries(items, _SNIPPETS)
    counts = torch.tensor([len(texts) for texts in queries])
    owner = torch.repeat_interleave(torch.arange(len(queries)), counts)
    positives = torch.from_numpy(
        _states(model, [_encode(model, None, text) for texts in queries for text in texts])
    )
    positive_log_sums = log_sum_exp(positives, _code_embeddings(model))
    negative_states = torch.from_numpy(negatives.states)
    negative_log_sums = torch.from_numpy(negatives.log_sums)
    anchor = torch.from_numpy(start)
    fitted = anchor.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        # -log p of the new item, and the loss of log p of the targets of the negative requests
        positive_scores = (fitted[owner] * positives).sum(dim=1)
        positive_loss = F.softplus(positive_log_sums - positive_scores) / counts[owner]
        negative_loss = F.softplus(fitted @ negative_states.T - negative_log_sums).mean(dim=1)
        moved = (fitted - anchor).square().sum()
        total = (
            positive_loss.sum() + negatives.num_codes * negative_loss.sum() + _ANCHOR_WEIGHT * moved
        )
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return fitted.detach().numpy()


def _code_embeddings(model: GenerativeModel) -> torch.Tensor:
    """Output embeddings of all codes, (codes, D), on the CPU."""
    return model.backbone.output_embeddings().detach().cpu()


def _negative_states(model: GenerativeModel, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    items = rng.permutation(len(model.catalog))[:_TEXT_NEGATIVES]
    queries = item_text_queries(Catalog.of(model.catalog.items[items]), 1)
    requests = [_encode(model, None, texts[-1]) for texts in queries if texts]
    histories = list(model.histories.values())
    for user in rng.permutation(len(histories))[:_HISTORY_NEGATIVES]:
        prefix = histories[user][: rng.integers(1, len(histories[user]) + 1)]
        requests.append(_encode(model, prefix, None))
    return _states(model, requests)


def _encode(model: GenerativeModel, history: Ints | None, query: str | None) -> EncodedExample:
    items = np.zeros(0, np.int64) if history is None else history
    return model.vocabulary.encode_request(items, query)


@torch.inference_mode()
def _states(model: GenerativeModel, requests: Sequence[EncodedExample]) -> Vectors:
    """The hidden state that generates each request's answer, (S, D), in the given order."""
    states = np.zeros((len(requests), model.backbone.output_embeddings().shape[1]), np.float32)
    by_length = np.argsort([len(request.tokens) for request in requests], kind="stable")
    for first in range(0, len(by_length), _BATCH_SIZE):
        some = by_length[first : first + _BATCH_SIZE]
        batch = model.vocabulary.collate([requests[place] for place in some]).to(model.device)
        with model.autocast():
            states[some] = model.backbone.states(batch).float().cpu().numpy()
    return states
