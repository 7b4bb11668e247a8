"""Weights laid out once for the products of a CPU, for models that only answer.

Plain torch multiplies float32 through MKL, which uses half of some processors' width, and under
autocast turns weights into bfloat16 anew on every pass. oneDNN, which torch carries as well, takes
weights that were reordered beforehand: 1.5 to 4 times as fast for the batches that requests come
in (docs/results/quality.md). torch.compile freezes models by way of the same two operators.
"""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


class PackedLinear(nn.Module):
    """What a linear layer computes; the weights can be neither trained nor saved any more.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        dtype: of the product: float32 or bfloat16.
    """

    weight = None  # T5 looks whether it is a tensor, to convert its input

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            weight.detach().to(dtype).contiguous()
        )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out), in the type of the product."""
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            states.to(self._dtype), self._packed, self._bias, "none", [], ""
        )
        return found


def can_pack(device: torch.device) -> bool:
    """Whether this build of torch has the operators."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in operators)
    )


@torch.no_grad()
def pack_layers(model: nn.Module, dtype: torch.dtype, keep: nn.Module | None = None) -> None:
    """Replace every linear layer of `model` but `keep`, in place."""
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if layer is keep:
                continue
            if isinstance(layer, nn.Linear):
                setattr(module, name, PackedLinear(layer.weight, layer.bias, dtype))
            elif isinstance(layer, Conv1D):  # GPT-2's, (in, out)
                setattr(module, name, PackedLinear(layer.weight.T, layer.bias, dtype))
