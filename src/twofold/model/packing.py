"""Matrix products on a CPU that are faster than torch's own.

Plain torch multiplies float32 through MKL, which uses half the SIMD width of some processors, and
under autocast converts the weights to bfloat16 in every forward pass. oneDNN, which torch includes
as well, multiplies the same numbers 2 to 4 times as fast, and takes weights that were laid out
beforehand for the batch sizes of serving (docs/results/quality.md). torch.compile freezes models
with the same two operators.

Shapes: N rows, K columns that are summed over, M rows of a weight.
"""

import os
from functools import cache

import torch
from torch import nn

# oneDNN compiles a kernel of half a megabyte for each shape, and keeps 1024 of them.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


class PackedLinear(nn.Module):
    """Computes what a linear layer does; its weights can no longer be trained or saved.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        dtype: the precision of the product, float32 or bfloat16.
    """

    weight = None  # T5 converts its input to the type of this attribute where it is a tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            weight.detach().to(dtype).contiguous()
        )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out), in the precision of the product."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            states.to(self._dtype), self._packed, self._bias, "none", [], ""
        )
        return product


@cache
def can_pack(device: torch.device) -> bool:
    """Whether this build of torch has the operators for that device."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in operators)
    )


def product_of(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`left @ right.T` in their precision, (..., K) x (M, K) -> (..., M); no gradient."""
    if left.dtype == torch.float32 and left.numel() and can_pack(left.device):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            left, right.contiguous(), None, "none", [], ""
        )
        return product
    return left @ right.T


@torch.no_grad()
def pack_layers(model: nn.Module, dtype: torch.dtype, keep: nn.Module | None = None) -> None:
    """Replace every linear layer of `model` except `keep`, in place."""
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
