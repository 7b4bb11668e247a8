"""Cross-entropy over the codes, full or sampled, without a (contexts x codes) matrix in memory.

Shapes: C contexts, V codes, D width, T targets, M negatives. A context is a position whose hidden
state predicts a code. It may have several targets, each with a weight; the loss is the sum over
targets of weight x -log p(target | context).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from twofold.identifiers.identifiers import IdSpaces
from twofold.model.encoded import EncodedSource
from twofold.model.kernels import padded_size, product_of, segment_indices
from twofold.records import Task
from twofold.training.config import TrainingConfig

if TYPE_CHECKING:
    from twofold.identifiers.trie import Trie
    from twofold.training.trie_levels import Continuations, TrieLevel

_log = logging.getLogger(__name__)

_CHUNK_BYTES, _GPU_CHUNK_BYTES = 8 << 20, 256 << 20
"""The bytes of scores in memory at once, on a CPU and on a GPU: they fit in the cache of a core,
and they are enough work for a GPU."""

_STEP = 128
"""If a chunk has more contexts than this, it has a multiple of this number."""
_FEWEST_CONTEXTS = 64
"""If a chunk would have fewer contexts than this, the gradient of all embeddings would be read and
written for few contexts at a time. Scores are then computed block by block over the codes, twice.
"""
_BLOCK_CONTEXTS = 1024
"""The number of contexts in a block."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The targets of the contexts of a batch.

    Attributes:
        contexts: the context of each target, (T,).
        codes: the code of each target within its codebook, (T,).
        weights: the weight of each target, (T,), float32.
        codebooks: the codebook of the code that each context predicts, (C,).
        items: an item whose identifier begins with the codes before each context, (C,).
    """

    contexts: torch.Tensor
    codes: torch.Tensor
    weights: torch.Tensor
    codebooks: torch.Tensor
    items: torch.Tensor

    def of_contexts(self, chosen: torch.Tensor) -> "Targets":
        """The targets of the contexts in the mask `chosen`, (C,); these contexts are renumbered
        from 0.
        """
        mine = chosen[self.contexts]
        places = chosen.cumsum(0) - 1
        return Targets(
            contexts=places[self.contexts[mine]],
            codes=self.codes[mine],
            weights=self.weights[mine],
            codebooks=self.codebooks[chosen],
            items=self.items[chosen],
        )


class _Gradients(NamedTuple):
    """A loss and its gradients.

    Attributes:
        loss: a scalar, float64.
        states: the gradient of the states, (C, D).
        embeddings: the gradient of the embeddings, (V, D).
    """

    loss: torch.Tensor
    states: torch.Tensor
    embeddings: torch.Tensor


class _FullSoftmax(torch.autograd.Function):
    """Gradients are computed in the forward pass, for each chunk while its scores are in memory."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        embeddings: torch.Tensor,
        targets: Targets,
        product: torch.dtype,
        valid: "Continuations | None",
    ) -> torch.Tensor:
        count = len(states)
        chunk = _contexts_of_chunk(states.device, len(embeddings))
        if valid is None:  # so that chunks have few different sizes
            states = F.pad(states, (0, 0, 0, padded_size(count) - count))
        if valid is None and chunk < _FEWEST_CONTEXTS:
            block = _contexts_of_chunk(states.device, _BLOCK_CONTEXTS)
            grads = _in_blocks(states, embeddings, targets, product, block)
        else:
            grads = _in_chunks(states, embeddings, targets, product, valid, chunk)
        ctx.save_for_backward(grads.states[:count], grads.embeddings)
        return grads.loss.to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states, grad_embeddings = ctx.saved_tensors
        if grad.device.type == "cpu" and grad == 1:  # copying a table of all codes is slow
            return grad_states, grad_embeddings, None, None, None
        return grad * grad_states, grad * grad_embeddings, None, None, None


def _contexts_of_chunk(device: torch.device, codes: int) -> int:
    """The number of contexts in a chunk, for scores of `codes` codes."""
    most = (_CHUNK_BYTES if device.type == "cpu" else _GPU_CHUNK_BYTES) // (4 * codes)
    return max(1, most - most % _STEP if most > _STEP else most)


def _in_chunks(
    states: torch.Tensor,
    embeddings: torch.Tensor,
    targets: Targets,
    product: torch.dtype,
    valid: "Continuations | None",
    size: int,
) -> _Gradients:
    """The loss and its gradients, `size` contexts at a time."""
    grad_states = torch.empty_like(states)
    grad_embeddings = torch.zeros_like(embeddings)
    loss = torch.zeros((), dtype=torch.float64, device=states.device)
    order = torch.argsort(targets.contexts, stable=True)
    contexts, codes, weights = (
        tensor[order] for tensor in (targets.contexts, targets.codes, targets.weights)
    )
    mass = torch.zeros(len(states), dtype=states.dtype, device=states.device)
    mass.index_add_(0, contexts, weights)
    rows, columns = embeddings.to(product), states.to(product)
    for chunk in _slices(len(states), size):
        borders = torch.searchsorted(contexts, contexts.new_tensor([chunk.start, chunk.stop]))
        of_chunk = slice(*borders.tolist())
        place, code, weight = contexts[of_chunk] - chunk.start, codes[of_chunk], weights[of_chunk]
        scores = product_of(states[chunk], embeddings)
        if valid is not None:
            scores.masked_fill_(valid.invalid(chunk, len(embeddings)), -torch.inf)
        probabilities = torch.softmax(scores, dim=1)
        # The probability of the largest score is exp(0) / total, which never underflows.
        normaliser = scores.amax(dim=1) - probabilities.amax(dim=1).log()
        loss += (weight * (normaliser[place] - scores[place, code])).double().sum()
        # d loss / d scores = mass * softmax - weight at the targets
        gradient = probabilities.mul_(mass[chunk, None])
        gradient.view(-1).index_add_(0, place * len(embeddings) + code, -weight)
        gradient = gradient.to(product)
        grad_states[chunk] = gradient @ rows
        grad_embeddings += gradient.T @ columns[chunk]
    return _Gradients(loss, grad_states, grad_embeddings)


def _in_blocks(
    states: torch.Tensor,
    embeddings: torch.Tensor,
    targets: Targets,
    product: torch.dtype,
    size: int,
) -> _Gradients:
    """The loss over all codes and its gradients, `size` codes at a time.

    Scores are computed twice, for the normalisers and for the gradients, so that only one block of
    them is in memory. With 100,000 codes this is faster than chunks with the scores of all codes.
    """
    own, wanted = states[targets.contexts], embeddings[targets.codes]
    weights = targets.weights[:, None]
    loss = -(weights * own * wanted).double().sum()
    grad_states = torch.zeros_like(states).index_add_(0, targets.contexts, -weights * wanted)
    grad_embeddings = torch.zeros_like(embeddings).index_add_(0, targets.codes, -weights * own)
    mass = states.new_zeros(len(states)).index_add_(0, targets.contexts, targets.weights)
    rows, columns = embeddings.to(product), states.to(product)
    for chunk in _slices(len(states), _BLOCK_CONTEXTS):
        some = states[chunk]
        blocks = _slices(len(embeddings), size)
        normaliser = some.new_full((len(some),), -torch.inf)
        for block in blocks:
            scores = product_of(some, embeddings[block])
            normaliser = torch.logaddexp(normaliser, scores.logsumexp(dim=1))
        for block in blocks:
            scores = product_of(some, embeddings[block])
            shares = scores.sub_(normaliser[:, None]).exp_().mul_(mass[chunk, None]).to(product)
            grad_states[chunk] += shares @ rows[block]
            grad_embeddings[block] += shares.T @ columns[chunk]
        loss += (mass[chunk] * normaliser).double().sum()
    return _Gradients(loss, grad_states, grad_embeddings)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def full_softmax(
    states: torch.Tensor,
    embeddings: torch.Tensor,
    targets: Targets,
    product: torch.dtype = torch.float32,
    valid: "Continuations | None" = None,
) -> torch.Tensor:
    """Weighted cross-entropy over all codes, or over the valid continuations.

    Args:
        states: (C, D), float32.
        embeddings: the output embeddings of the codes, (V, D), float32.
        targets: the targets, all of one codebook.
        product: the dtype of the matrix products of the gradient; scores and sums are always
            float32.
        valid: the valid continuations of each context; by default all codes.

    Returns:
        A scalar.
    """
    loss: torch.Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
        states, embeddings, targets, product, valid
    )
    return loss


class _SampledSoftmax(torch.autograd.Function):
    """Gradients are computed in the forward pass, as in `_FullSoftmax`."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        embeddings: torch.Tensor,
        targets: Targets,
        negatives: torch.Tensor,
        log_expected: torch.Tensor,
        product: torch.dtype,
        sparse: bool,
    ) -> torch.Tensor:
        count, codes = len(targets.codes), targets.codes
        contexts = F.pad(states[targets.contexts], (0, 0, 0, padded_size(count) - count))
        drawn, wanted = embeddings[negatives], embeddings[codes]
        target_scores = (contexts[:count] * wanted).sum(dim=1) - log_expected[codes]
        grad_contexts, grad_drawn = torch.zeros_like(contexts), torch.zeros_like(drawn)
        grad_targets = torch.zeros_like(target_scores)
        hits, columns = _hits(codes, negatives)
        rows, offsets = drawn.to(product), log_expected[negatives]
        loss = torch.zeros((), dtype=torch.float64, device=states.device)
        for chunk in _slices(len(contexts), _contexts_of_chunk(states.device, len(negatives))):
            some = contexts[chunk]
            scores = product_of(some, drawn).sub_(offsets)
            first, last = torch.searchsorted(hits, hits.new_tensor([chunk.start, chunk.stop]))
            scores[hits[first:last] - chunk.start, columns[first:last]] = -torch.inf
            score, weight = target_scores[chunk], targets.weights[chunk]
            shares = scores[: len(score)]  # the others are padding
            normaliser = torch.logaddexp(shares.logsumexp(dim=1), score)
            loss += (weight * (normaliser - score)).double().sum()
            grad_targets[chunk] = weight * torch.expm1(score - normaliser)
            shares.sub_(normaliser[:, None]).exp_().mul_(weight[:, None])
            scores[len(score) :] = 0
            gradient = scores.to(product)
            grad_contexts[chunk] = gradient @ rows
            grad_drawn += gradient.T @ some.to(product)
        grad_wanted = grad_targets[:, None] * contexts[:count]
        grad_contexts = grad_contexts[:count] + grad_targets[:, None] * wanted
        grad_states = torch.zeros_like(states).index_add_(0, targets.contexts, grad_contexts)
        ctx.shape, ctx.sparse = embeddings.shape, sparse
        ctx.save_for_backward(
            grad_states, torch.cat([negatives, codes]), torch.cat([grad_drawn, grad_wanted])
        )
        return loss.to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states, rows, values = ctx.saved_tensors
        values = grad * values
        if ctx.sparse:
            of_table = torch.sparse_coo_tensor(
                rows[None], values, ctx.shape, check_invariants=False
            )
        else:
            of_table = values.new_zeros(ctx.shape).index_add_(0, rows, values)
        return grad * grad_states, of_table, None, None, None, None, None


def _hits(codes: torch.Tensor, negatives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs of a target and a negative that have the same code, ordered by target."""
    ordered, order = negatives.sort()
    first = torch.searchsorted(ordered, codes)
    counts = torch.searchsorted(ordered, codes, right=True) - first
    hits, places = segment_indices(first, counts)
    return hits, order[places]


def sampled_softmax(
    states: torch.Tensor,
    embeddings: torch.Tensor,
    targets: Targets,
    negatives: torch.Tensor,
    log_expected: torch.Tensor,
    product: torch.dtype = torch.float32,
    sparse: bool = False,
) -> torch.Tensor:
    """Weighted cross-entropy over each target and shared negatives, corrected for sampling.

    The log of a code's expected count among the negatives is subtracted from its score, which makes
    the estimate of the normaliser consistent (Bengio and Senecal 2008; Yi et al., RecSys 2019). A
    negative that is the target itself is masked. If every code is drawn once, the result is the
    full softmax.

    Args:
        states, embeddings, targets, product: as in `full_softmax`.
        negatives: the codes drawn from the proposal distribution, (M,).
        log_expected: log(M x probability under the proposal distribution), (V,).
        sparse: whether the gradient of the embeddings is sparse.
    """
    loss: torch.Tensor = _SampledSoftmax.apply(  # type: ignore[no-untyped-call]
        states, embeddings, targets, negatives, log_expected, product, sparse
    )
    return loss


class CodeLoss(nn.Module):
    """The loss of all arms of a study, over the valid continuations of each context.

    The softmax is full for a codebook with at most `limit` codes or with a trie level, which leaves
    few codes valid; otherwise it is sampled.

    Args:
        counts: the number of training targets of each code over all tasks, (V,). Half of the
            negatives are drawn uniformly and half in proportion to these counts, in the same way in
            every arm.
        codebooks: the range of each codebook among all codes.
        limit: the largest number of codes of a codebook with a full softmax.
        negatives: the number of codes that are drawn for a batch.
        product: the dtype of the matrix products of the gradient.
        levels: the trie level of each codebook; a codebook without invalid codes has none.
        sparse: whether the gradient of the embeddings is sparse if possible, see `is_sparse`.
    """

    log_expected: torch.Tensor
    cumulated: torch.Tensor

    def __init__(
        self,
        counts: torch.Tensor,
        codebooks: Sequence[slice],
        limit: int,
        negatives: int,
        product: torch.dtype = torch.float32,
        levels: Mapping[int, "TrieLevel"] | None = None,
        sparse: bool = True,
    ) -> None:
        super().__init__()
        self.product = product
        self.codebooks = tuple(codebooks)
        self.levels = nn.ModuleDict({str(n): level for n, level in (levels or {}).items()})
        self.limit = limit
        self.negatives = negatives
        self.sparse = sparse
        proposals = [_proposal(counts[codebook]) for codebook in self.codebooks]
        cumulated = torch.cat([proposal.cumsum(0) for proposal in proposals])
        self.register_buffer("cumulated", cumulated, persistent=False)
        expected = (negatives * torch.cat(proposals)).log().float()
        self.register_buffer("log_expected", expected, persistent=False)

    @property
    def is_sparse(self) -> bool:
        """Whether the gradient of the embeddings is sparse: if there is one codebook and its
        softmax is sampled.
        """
        return self.sparse and len(self.codebooks) == 1 and not self._is_full(0)

    def _is_full(self, number: int) -> bool:
        codes = self.codebooks[number]
        return str(number) in self.levels or codes.stop - codes.start <= self.limit

    def describe(self) -> str:
        """The name of the loss, for the stamp."""
        unrestricted = [
            codes for n, codes in enumerate(self.codebooks) if str(n) not in self.levels
        ]
        full = max((codes.stop - codes.start for codes in unrestricted), default=0) <= self.limit
        kind = "full softmax" if full else f"sampled softmax, {self.negatives} negatives"
        return f"{kind}, over the valid continuations" if self.levels else kind

    def forward(
        self, states: torch.Tensor, embeddings: torch.Tensor, targets: Targets
    ) -> torch.Tensor:
        """The loss of one batch, a scalar.

        Args:
            states: the states of the contexts, (C, D), float32.
            embeddings: the output embeddings of the codes of all codebooks, (V, D), float32.
            targets: the targets of the contexts, in any of the codebooks.
        """
        if len(self.codebooks) == 1:
            return self._of_codebook(0, states, embeddings, targets)
        total = states.new_zeros(())
        for number, codes in enumerate(self.codebooks):
            chosen = targets.codebooks == number
            in_codebook = targets.of_contexts(chosen)
            if len(in_codebook.codes):
                total = total + self._of_codebook(
                    number, states[chosen], embeddings[codes], in_codebook
                )
        return total

    def _of_codebook(
        self, number: int, states: torch.Tensor, embeddings: torch.Tensor, targets: Targets
    ) -> torch.Tensor:
        """The loss of the contexts that predict a code of one codebook."""
        codes = self.codebooks[number]
        if self._is_full(number):
            has_level = str(number) in self.levels
            valid = self.levels[str(number)](targets.items) if has_level else None
            return full_softmax(states, embeddings, targets, self.product, valid)
        # `multinomial` would be slow: it sums all probabilities in every call.
        cumulated = self.cumulated[codes]
        places = torch.rand(self.negatives, dtype=torch.float64, device=states.device)
        drawn = torch.searchsorted(cumulated, places * cumulated[-1], right=True)
        drawn.clamp_(max=len(cumulated) - 1)
        expected = self.log_expected[codes]
        return sampled_softmax(
            states, embeddings, targets, drawn, expected, self.product, self.is_sparse
        )


def loss_of(
    encoded: Mapping[Task, EncodedSource],
    spaces: IdSpaces,
    tries: "Mapping[Task, Trie]",
    config: TrainingConfig,
) -> CodeLoss:
    """The loss with the settings of a configuration.

    Args:
        encoded: the examples of every task of the dataset, whose targets are counted.
        spaces: the identifiers.
        tries: the tries of the tasks; none for atomic identifiers.
        config: the configuration, its precision resolved.
    """
    levels: Mapping[int, TrieLevel] = {}
    if tries:
        # Imported here, as all codes of atomic identifiers are valid.
        from twofold.training.trie_levels import trie_levels

        levels = trie_levels(spaces, tries)
    counted = sum(examples.code_counts(spaces) for examples in encoded.values())
    counts = torch.as_tensor(counted, dtype=torch.float64)
    loss = CodeLoss(
        counts,
        spaces.codebooks,
        limit=config.full_softmax_max_codes,
        negatives=config.num_negatives,
        product=torch.bfloat16 if config.precision == "bfloat16" else torch.float32,
        levels=levels,
    )
    if loss.is_sparse:
        _log.info(
            "%d codes are more than full_softmax_max_codes=%d: each step scores %d negatives "
            "instead of all codes, and changes only the embeddings that it read or scored",
            spaces.size,
            config.full_softmax_max_codes,
            config.num_negatives,
        )
    return loss


def _proposal(counts: torch.Tensor) -> torch.Tensor:
    """The proposal distribution of a codebook: half uniform, half in proportion to the counts."""
    share = counts.double() / counts.sum().clamp(min=1)
    proposal = 0.5 / len(counts) + 0.5 * share
    return proposal / proposal.sum()
