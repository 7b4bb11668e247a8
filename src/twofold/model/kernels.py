"""Operations of a model that compute the same as torch's and are faster on a CPU.

*Matrix products.* torch multiplies float32 through MKL, which uses half the SIMD width of some
processors with AVX-512, and under autocast it converts the weights to bfloat16 in every forward
pass. oneDNN is part of torch as well. On these processors it multiplies the same numbers 2 to 4
times as fast, and everywhere it takes weights that were packed beforehand for the batch sizes of
serving (docs/results/quality.md). torch.compile freezes models with the same two operators. Without
AVX-512, torch's own products compute gradients: MKL has its full width there, and needs no
transposed copies.

*Gradients.* The backward passes of a causal model's layers are written by hand for fast training
steps: they save passes over memory, and avoid kernels that are slow for short sequences
(docs/project/log).

Shapes: B sequences, L tokens, H heads, d width of a head, D width, F width of the feed-forward
layer, N tokens of all sequences without padding, K columns that are summed over, M rows of a
weight.
"""

import os
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# oneDNN compiles a kernel of half a megabyte for each shape, and by default keeps 1024 of them. The
# next step has other lengths, so that hardly any of them is used again.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

_MAX_WEIGHTS = 1 << 24
"""The largest number of attention weights that are saved for the backward pass: 64 MB of float32.
"""
_SHORT = 32
"""Attention over shorter sequences is computed in float32. They have many shapes, and for bfloat16
oneDNN compiles and keeps a kernel of half a megabyte for each shape.
"""


class PackedLinear(nn.Module):
    """A linear layer for inference: its weights are packed, and cannot be trained or saved.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        dtype: the precision of the product, float32 or bfloat16.
    """

    weight = None  # T5 converts its input to the type of this attribute if it is a tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            weight.detach().to(dtype).contiguous()
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and deepcopy, which cannot copy packed weights: they are packed again."""
        return PackedLinear, (self._packed.to_dense(), self._bias, self._dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out), in the precision of the product."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            states.to(self._dtype), self._packed, self._bias, "none", [], ""
        )
        return product


@cache
def can_pack(device: torch.device) -> bool:
    """Whether this build of torch has the operators of `PackedLinear` for a device."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in operators)
    )


def product_of(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`left @ right.T` in the precision of both, (..., K) x (M, K) -> (..., M); no gradient."""
    if left.dtype == torch.float32 and left.numel() and can_pack(left.device):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            left, right.contiguous(), None, "none", [], ""
        )
        return product
    return left @ right.T


@torch.no_grad()
def pack_layers(model: nn.Module, dtype: torch.dtype, keep: nn.Module | None = None) -> None:
    """Replace every linear layer of `model` except `keep` by a `PackedLinear`, in place."""
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if layer is keep:
                continue
            if isinstance(layer, nn.Linear):
                setattr(module, name, PackedLinear(layer.weight, layer.bias, dtype))
            elif type(layer).__name__ == "Conv1D":  # GPT-2's in transformers, (in, out)
                weight, bias = layer.weight, layer.bias
                assert isinstance(weight, torch.Tensor)
                assert isinstance(bias, torch.Tensor)
                setattr(module, name, PackedLinear(weight.T, bias, dtype))


class Rotation(NamedTuple):
    """Cosines and sines of the rotary position embedding, each (L, d / 2), float32."""

    cosines: torch.Tensor
    sines: torch.Tensor

    def rotate(self, vectors: torch.Tensor, sign: int = 1) -> torch.Tensor:
        """Rotate vectors by their positions, or back with sign -1.

        Args:
            vectors: (..., L, d).

        Returns:
            float32, contiguous.
        """
        half = vectors.shape[-1] // 2
        first, second = vectors[..., :half], vectors[..., half:]
        if vectors.dtype != torch.float32:
            first, second = first.float(), second.float()
        rotated = vectors.new_empty(vectors.shape, dtype=torch.float32)
        torch.mul(first, self.cosines, out=rotated[..., :half])
        rotated[..., :half].addcmul_(second, self.sines, value=-sign)
        torch.mul(second, self.cosines, out=rotated[..., half:])
        rotated[..., half:].addcmul_(first, self.sines, value=sign)
        return rotated


def padded_size(tokens: int) -> int:
    """A slightly larger number of tokens, rounded up so that few shapes occur: see `_SHORT`."""
    step = 16 if tokens <= 256 else 128 if tokens <= 4096 else 1024
    return -(-tokens // step) * step


def segment_indices(
    begins: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices of many segments: `counts[i]` consecutive ones from `begins[i]`.

    Args:
        begins, counts: the first index and the number of indices of each segment, (n,).

    Returns:
        the number of the segment of each index, and the indices, both (sum of `counts`,), in the
        order of the segments.
    """
    segments = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    skipped = torch.repeat_interleave(counts.cumsum(0) - counts - begins, counts)
    return segments, torch.arange(len(segments), device=counts.device) - skipped


@cache
def _has_avx512() -> bool:
    """Whether torch uses the processor's AVX-512."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(states, weight)
        return product_of(states, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, weight = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        if not _has_avx512():
            return grad @ weight, flat.T @ states.reshape(-1, states.shape[-1])
        grad_weight = product_of(flat.T.contiguous(), states.reshape(-1, states.shape[-1]).T)
        return product_of(grad.contiguous(), weight.T), grad_weight


def linear(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`states @ weight.T` of one precision, (..., K) x (M, K) -> (..., M), with gradients."""
    if states.device.type == "cpu" and states.dtype == torch.float32:
        product: torch.Tensor = _Linear.apply(states, weight)  # type: ignore[no-untyped-call]
        return product
    return F.linear(states, weight)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, eps: float, product: torch.dtype
    ) -> torch.Tensor:
        mean_square = states.square().mean(dim=-1, keepdim=True)
        inverse = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(states, weight, inverse)
        return (states * inverse).mul_(weight).to(product)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight, inverse = ctx.saved_tensors
        normed, grad = states * inverse, grad.float()
        grad_weight = (normed * grad).reshape(-1, len(weight)).sum(dim=0)
        grad_normed = grad * weight
        shared = (grad_normed * normed).mean(dim=-1, keepdim=True)
        grad_states = normed.mul_(-shared).add_(grad_normed).mul_(inverse)
        return grad_states, grad_weight, None, None


def rms_norm(
    states: torch.Tensor, weight: torch.Tensor, eps: float, product: torch.dtype
) -> torch.Tensor:
    """RMSNorm (Zhang and Sennrich, NeurIPS 2019), (..., D), in the precision `product`."""
    normed: torch.Tensor = _RMSNorm.apply(states, weight, eps, product)  # type: ignore[no-untyped-call]
    return normed


class Padding(NamedTuple):
    """Where the tokens of all sequences are in a padded table, (B, L).

    Attributes:
        indices: the index of each token in the flattened table, (N,).
        rows, length: the shape of the table, B and L.
    """

    indices: torch.Tensor
    rows: int
    length: int

    def pad(self, states: torch.Tensor) -> torch.Tensor:
        """Tokens into the table, (at least N, K) -> (B, L, K); padding is zero."""
        table = states.new_zeros(self.rows * self.length, states.shape[1])
        table.index_copy_(0, self.indices, states[: len(self.indices)])
        return table.view(self.rows, self.length, -1)

    def unpad(self, table: torch.Tensor, tokens: int) -> torch.Tensor:
        """Tokens out of the table, (B, L, K) -> (tokens, K); zero after the first N."""
        states = table.new_zeros(tokens, table.shape[-1])
        torch.index_select(table.flatten(0, 1), 0, self.indices, out=states[: len(self.indices)])
        return states


class _CausalAttention(torch.autograd.Function):
    """Keeps the attention weights in memory. torch's kernel for the CPU does not, and takes three
    times as long for 200 tokens and ten times as long for 8.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: torch.Tensor, rotation: Rotation, heads: int, padding: Padding
    ) -> torch.Tensor:
        rows, length = padding.rows, padding.length
        table = padding.pad(projected)
        split = table.view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        rotated = rotation.rotate(split[:2]).flatten(1, 2)  # (2, B x H, L, d)
        queries, keys = rotated
        product = projected.dtype if length >= _SHORT else torch.float32
        values = split[2].reshape(rows * heads, length, -1).to(product)
        scale = keys.shape[-1] ** -0.5
        mask = keys.new_full((length, length), -torch.inf).triu_(1)
        weights = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
        weights = torch.softmax(weights, dim=-1).to(product)
        mixed = torch.bmm(weights, values).view(rows, heads, length, -1)
        ctx.rotation, ctx.scale, ctx.heads, ctx.padding = rotation, scale, heads, padding
        ctx.save_for_backward(rotated.to(product), values, weights)
        mixed = mixed.transpose(1, 2).reshape(rows, length, -1).to(projected.dtype)
        return padding.unpad(mixed, len(projected))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (queries, keys), values, weights = ctx.saved_tensors
        padding, heads = ctx.padding, ctx.heads
        rows, length = padding.rows, padding.length
        grad_mixed = padding.pad(grad).view(rows, length, heads, -1).transpose(1, 2)
        grad_mixed = grad_mixed.reshape(values.shape).to(values.dtype)
        table = grad.new_empty(rows, length, 3 * grad.shape[1])
        split = table.view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        grad_values = torch.bmm(weights.transpose(1, 2), grad_mixed)
        split[2].copy_(grad_values.view(rows, heads, length, -1))
        grad_weights = torch.bmm(grad_mixed, values.transpose(1, 2)).float()
        grad_scores = torch._softmax_backward_data(grad_weights, weights.float(), -1, torch.float32)
        grad_scores = grad_scores.mul_(ctx.scale).to(values.dtype)
        grad_rotated = torch.stack(
            [torch.bmm(grad_scores, keys), torch.bmm(grad_scores.transpose(1, 2), queries)]
        ).view(2, rows, heads, length, -1)
        split[:2].copy_(ctx.rotation.rotate(grad_rotated, -1))
        return padding.unpad(table, len(grad)), None, None, None


def causal_attention(
    projected: torch.Tensor, rotation: Rotation, heads: int, padding: Padding
) -> torch.Tensor:
    """Causal self-attention with rotary positions.

    Args:
        projected: queries, keys and values of each token side by side, (at least N, 3 x D).
        rotation: the rotations of the L positions.
        heads: the number of heads.
        padding: where the N tokens are in the padded table.

    Returns:
        (at least N, D), in the precision of `projected`.
    """
    rows, length = padding.rows, padding.length
    if projected.device.type == "cpu" and rows * heads * length**2 <= _MAX_WEIGHTS:
        mixed: torch.Tensor = _CausalAttention.apply(projected, rotation, heads, padding)  # type: ignore[no-untyped-call]
        return mixed
    indices, tokens = padding.indices, len(projected)
    split = padding.pad(projected).view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys = (_rotated(part, rotation).to(projected.dtype) for part in split[:2])
    mixed = F.scaled_dot_product_attention(queries, keys, split[2], is_causal=True)
    states = mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, indices)
    return F.pad(states, (0, 0, 0, tokens - len(indices)))


def _rotated(vectors: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """`Rotation.rotate` by operations that torch differentiates."""
    first, second = vectors.float().chunk(2, dim=-1)
    cosines, sines = rotation
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


class _GatedSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: torch.Tensor) -> torch.Tensor:
        gate, up = both.chunk(2, dim=-1)
        active = F.silu(gate)
        ctx.save_for_backward(both, active)
        return active * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        both, active = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        grad_both = torch.empty_like(both)
        grad_gate, grad_up = grad_both.chunk(2, dim=-1)
        torch.mul(grad, active, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return grad_both


def gated_silu(both: torch.Tensor) -> torch.Tensor:
    """silu(gate) x up, where `both` is gate and up side by side, (..., 2 x F) -> (..., F)."""
    gated: torch.Tensor = _GatedSilu.apply(both)  # type: ignore[no-untyped-call]
    return gated


def dropout_mask(like: torch.Tensor, rate: float) -> torch.Tensor:
    """The factors of dropout: 0 with a probability of about `rate`, else 1 / (1 - rate), bfloat16.

    Each element takes sixteen bits of a random 64-bit number, 5 times as fast as torch's Bernoulli.
    The factor is rounded to bfloat16, and the rate is adjusted to the rounded factor.

    Args:
        like: a tensor of the wanted shape, on the wanted device.
        rate: the dropout rate, from 0 to below 1.
    """
    scale = torch.tensor(1 / (1 - rate)).bfloat16()
    keep = 1 / float(scale)
    count = like.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64, device=like.device)
    bits = drawn.random_(-(2**63), None).view(torch.int16)[:count].view(like.shape)
    kept = bits.lt_(round(keep * 65536) - 32768) if keep < 1 else torch.ones_like(bits)
    return kept.mul_(int(scale.view(torch.int16))).view(torch.bfloat16)


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, added: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(mask)
        ctx.product = added.dtype
        return states + added * mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        return grad, (grad * mask).to(ctx.product), None


def add_dropped(states: torch.Tensor, added: torch.Tensor, rate: float) -> torch.Tensor:
    """`states + dropout(added)`, (..., D), float32."""
    if not rate:
        return states + added
    mask = dropout_mask(added, rate)
    total: torch.Tensor = _AddDropped.apply(states, added, mask)  # type: ignore[no-untyped-call]
    return total


class _TiedRows(torch.autograd.Function):
    """Makes one gradient for an embedding table that is both input and output, instead of two and
    their sum. It is sparse where the gradient of the outputs is."""

    @staticmethod
    def forward(
        ctx: Any, table: torch.Tensor, tokens: torch.Tensor, start: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(tokens)
        ctx.shape, ctx.start = table.shape, start
        return F.embedding(tokens, table), table[start:].detach()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_inputs: torch.Tensor, grad_outputs: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        read, grad_inputs = tokens.reshape(-1), grad_inputs.reshape(-1, ctx.shape[1])
        if grad_outputs.is_sparse:
            rows = torch.cat([read, grad_outputs._indices()[0] + ctx.start])
            values = torch.cat([grad_inputs, grad_outputs._values()])
            return _sparse(rows, values, ctx.shape), None, None
        grad = grad_inputs.new_empty(ctx.shape)
        grad[: ctx.start] = 0
        grad[ctx.start :] = grad_outputs
        grad.index_add_(0, read, grad_inputs)
        return grad, None, None


def _sparse(rows: torch.Tensor, values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return torch.sparse_coo_tensor(rows[None], values, shape, check_invariants=False)


def coalesced(grad: torch.Tensor) -> torch.Tensor:
    """The sparse gradient of a table with each row once, in order, (M, D).

    The values of a row are added in their order, so that the result has the same bits each time.
    """
    rows, values = grad._indices()[0], grad._values()
    different, places = torch.unique(rows, return_inverse=True)
    sums = values.new_zeros(len(different), values.shape[1]).index_add_(0, places, values)
    return _sparse(different, sums, grad.shape)._coalesced_(True)


def tied_rows(
    table: torch.Tensor, tokens: torch.Tensor, start: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of some tokens, (..., D), and all rows from `start` on, of an embedding table.

    If the gradient of the second result is sparse, the gradient of the table is sparse too.

    Args:
        table: the embeddings, (M, D).
        tokens: the rows to read, (...,).
        start: the first row of the second result.
    """
    both: tuple[torch.Tensor, torch.Tensor] = _TiedRows.apply(table, tokens, start)  # type: ignore[no-untyped-call]
    return both
