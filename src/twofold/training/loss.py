"""Cross-entropy over the codes, full or sampled, without a (contexts x codes) matrix in memory.

Shapes: C contexts, V codes, D width, T targets, M negatives. A context may have several targets,
each with a weight; the loss is the sum over targets of weight x -log p(target | context).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from twofold.identifiers.identifiers import IdSpaces
from twofold.identifiers.trie import Trie
from twofold.records import Task

_CHUNK_BYTES, _GPU_CHUNK_BYTES = 8 << 20, 256 << 20
"""Scores held at once: what stays in the cache of one core, and what keeps a GPU at work."""


class Following(NamedTuple):
    """The codes of a level that go on with what each context has spelled; a softmax is over them.

    Attributes:
        begins, ends: where they stand in `codes`, (C,).
        codes: of all nodes of the level, (nodes,).
    """

    begins: torch.Tensor
    ends: torch.Tensor
    codes: torch.Tensor

    def others(self, chunk: slice, codes: int) -> torch.Tensor:
        """Which of the `codes` of the level lead nowhere from a chunk of contexts, (C, codes)."""
        begins, fans = self.begins[chunk], self.ends[chunk] - self.begins[chunk]
        contexts = torch.arange(len(fans), device=fans.device)
        owner = torch.repeat_interleave(contexts, fans)
        skipped = torch.repeat_interleave(fans.cumsum(0) - fans - begins, fans)
        places = torch.arange(len(owner), device=fans.device) - skipped
        found = torch.ones(len(fans), codes, dtype=torch.bool, device=fans.device)
        found[owner, self.codes[places]] = False
        return found


class _FullSoftmax(torch.autograd.Function):
    """Gradients are made in the forward pass, chunk by chunk, while the scores are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        rows: torch.Tensor,
        contexts: torch.Tensor,
        codes: torch.Tensor,
        weights: torch.Tensor,
        product: torch.dtype,
        following: Following | None,
    ) -> torch.Tensor:
        grad_states = torch.empty_like(states)
        grad_rows = torch.zeros_like(rows)
        loss = torch.zeros((), dtype=torch.float64, device=states.device)
        order = torch.argsort(contexts, stable=True)
        contexts, codes, weights = contexts[order], codes[order], weights[order]
        mass = torch.zeros(len(states), dtype=states.dtype, device=states.device)
        mass.index_add_(0, contexts, weights)
        room = _CHUNK_BYTES if states.device.type == "cpu" else _GPU_CHUNK_BYTES
        step = max(1, room // (4 * len(rows)))
        for start in range(0, len(states), step):
            chunk = slice(start, min(start + step, len(states)))
            first, last = torch.searchsorted(
                contexts, torch.tensor([chunk.start, chunk.stop], device=states.device)
            ).tolist()
            place, code, weight = (
                contexts[first:last] - start,
                codes[first:last],
                weights[first:last],
            )
            scores = states[chunk] @ rows.T
            if following is not None:
                scores.masked_fill_(following.others(chunk, len(rows)), -torch.inf)
            largest = scores.amax(dim=1)
            own = scores[place, code]
            total = scores.sub_(largest[:, None]).exp_().sum(dim=1)
            loss += (weight * (largest[place] + total.log()[place] - own)).double().sum()
            # d loss / d scores = mass * softmax - weight at the targets
            gradient = scores.mul_((mass[chunk] / total)[:, None])
            gradient.view(-1).index_add_(0, place * len(rows) + code, -weight)
            gradient = gradient.to(product)
            grad_states[chunk] = gradient @ rows.to(product)
            grad_rows += gradient.T @ states[chunk].to(product)
        ctx.save_for_backward(grad_states, grad_rows)
        return loss.to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states, grad_rows = ctx.saved_tensors
        return grad * grad_states, grad * grad_rows, None, None, None, None, None


def full_softmax(
    states: torch.Tensor,
    rows: torch.Tensor,
    contexts: torch.Tensor,
    codes: torch.Tensor,
    weights: torch.Tensor,
    product: torch.dtype = torch.float32,
    following: Following | None = None,
) -> torch.Tensor:
    """Weighted cross-entropy over all codes, or over those that go on.

    Args:
        states: (C, D), float32.
        rows: (V, D), float32.
        contexts: (T,), the context of each target.
        codes: (T,), the code of each target.
        weights: (T,).
        product: the type in which the gradient's matrix products are taken; scores and sums are
            float32 always.
        following: the codes that go on; by default all.

    Returns:
        A scalar.
    """
    loss: torch.Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
        states, rows, contexts, codes, weights, product, following
    )
    return loss


def sampled_softmax(
    states: torch.Tensor,
    rows: torch.Tensor,
    contexts: torch.Tensor,
    codes: torch.Tensor,
    weights: torch.Tensor,
    negatives: torch.Tensor,
    log_expected: torch.Tensor,
) -> torch.Tensor:
    """Weighted cross-entropy over each target and shared negatives, corrected for sampling.

    Subtracting the log of how often a code is expected among the negatives makes the estimate of
    the normaliser consistent (Bengio and Senecal 2008; Yi et al., RecSys 2019). A negative that
    is the target itself is masked. With every code drawn once it is the full softmax.

    Args:
        states, rows, contexts, codes, weights: as in `full_softmax`.
        negatives: (M,), codes drawn from the proposal.
        log_expected: (V,), log(M x probability under the proposal).
    """
    scores = states @ rows[negatives].T - log_expected[negatives]  # (C, M)
    own = (states[contexts] * rows[codes]).sum(dim=1) - log_expected[codes]  # (T,)
    hits = negatives[None, :] == codes[:, None]
    others = scores[contexts].masked_fill(hits, -torch.inf)
    normaliser = torch.logsumexp(torch.cat([own[:, None], others], dim=1), dim=1)
    return (weights * (normaliser - own)).sum()


class CodeLoss(nn.Module):
    """The loss of one study, over the codes that may follow: full up to `limit` of a level, and
    wherever a trie leaves few of them; sampled above.

    Args:
        counts: (V,), training targets of each code over all tasks: the proposal is half uniform,
            half in proportion to them, and the same in every arm.
        slots: the codes of each table, among all.
        limit: the largest number of codes of a table with a full softmax.
        negatives: how many codes are drawn for a batch.
        product: the type of the gradient's matrix products under a full softmax.
        continuations: by slot; none for one all of whose codes may follow.
    """

    log_expected: torch.Tensor
    proposal: torch.Tensor

    def __init__(
        self,
        counts: torch.Tensor,
        slots: Sequence[slice],
        limit: int,
        negatives: int,
        product: torch.dtype = torch.float32,
        continuations: Mapping[int, "Continuations"] | None = None,
    ) -> None:
        super().__init__()
        self.product = product
        self.slots = tuple(slots)
        named = {str(slot): found for slot, found in (continuations or {}).items()}
        self.continuations = nn.ModuleDict(named)
        self.limit = limit
        self.negatives = negatives
        proposals = [_proposal(counts[slot]) for slot in self.slots]
        self.register_buffer("proposal", torch.cat(proposals), persistent=False)
        expected = (negatives * self.proposal).log().float()
        self.register_buffer("log_expected", expected, persistent=False)

    def describe(self) -> str:
        """For the stamp."""
        own = [slot for n, slot in enumerate(self.slots) if str(n) not in self.continuations]
        full = max((slot.stop - slot.start for slot in own), default=0) <= self.limit
        kind = "full softmax" if full else f"sampled softmax, {self.negatives} negatives"
        return f"{kind}, over the codes that go on" if self.continuations else kind

    def forward(
        self,
        states: torch.Tensor,
        rows: torch.Tensor,
        contexts: torch.Tensor,
        codes: torch.Tensor,
        weights: torch.Tensor,
        slots: torch.Tensor,
        items: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of one batch, a scalar.

        Args:
            states, rows, contexts, weights: as in `full_softmax`; rows of all codes.
            codes: (T,), the code of each target within its slot.
            slots: (C,), the slot that each context generates from.
            items: (C,), an item that is spelled so far in each context.
        """
        if len(self.slots) == 1:
            return self._of_slot(0, states, rows, contexts, codes, weights, items)
        total = states.new_zeros(())
        for number, slot in enumerate(self.slots):
            chosen = slots == number
            mine = chosen[contexts]
            if not mine.any():
                continue
            places = chosen.cumsum(0) - 1
            total = total + self._of_slot(
                number,
                states[chosen],
                rows[slot],
                places[contexts[mine]],
                codes[mine],
                weights[mine],
                items[chosen],
            )
        return total

    def _of_slot(
        self,
        number: int,
        states: torch.Tensor,
        rows: torch.Tensor,
        contexts: torch.Tensor,
        codes: torch.Tensor,
        weights: torch.Tensor,
        items: torch.Tensor,
    ) -> torch.Tensor:
        slot = self.slots[number]
        if str(number) in self.continuations:
            following = self.continuations[str(number)](items)
            return full_softmax(states, rows, contexts, codes, weights, self.product, following)
        if slot.stop - slot.start <= self.limit:
            return full_softmax(states, rows, contexts, codes, weights, self.product)
        drawn = torch.multinomial(self.proposal[slot], self.negatives, replacement=True)
        log_expected = self.log_expected[slot]
        return sampled_softmax(states, rows, contexts, codes, weights, drawn, log_expected)


class Continuations(nn.Module):
    """The codes of one level of a trie, by items of which all levels before it are spelled.

    Args:
        trie: of the identifiers.
        level: of the codes.
    """

    begins: torch.Tensor
    ends: torch.Tensor
    codes: torch.Tensor

    def __init__(self, trie: Trie, level: int) -> None:
        super().__init__()
        items = np.arange(len(trie))
        nodes = trie.paths(items)[:, level - 1] if level else np.zeros_like(items)
        first = torch.from_numpy(trie.first[level].astype(np.int64))
        codes = torch.from_numpy(trie.codes[level].astype(np.int64))
        self.register_buffer("begins", first[nodes], persistent=False)
        self.register_buffer("ends", first[nodes + 1], persistent=False)
        self.register_buffer("codes", codes, persistent=False)

    def forward(self, items: torch.Tensor) -> Following:
        """Of contexts, (C,)."""
        return Following(self.begins[items], self.ends[items], self.codes)


def continuations(spaces: IdSpaces, tries: Mapping[Task, Trie]) -> dict[int, Continuations]:
    """By slot; none for a first level all of whose codes begin an identifier, nor without tries."""
    found = {}
    for task, trie in tries.items():
        sizes = spaces.of(task).codebook_sizes
        for level, slot in enumerate(spaces.codebooks_of(task).tolist()):
            if level or len(trie.codes[0]) < sizes[0]:
                found[slot] = Continuations(trie, level)
    return found


def _proposal(counts: torch.Tensor) -> torch.Tensor:
    """Half uniform, half in proportion to the counts of one slot's codes."""
    share = counts.double() / counts.sum().clamp(min=1)
    proposal = 0.5 / len(counts) + 0.5 * share
    return proposal / proposal.sum()
