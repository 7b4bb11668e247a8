"""Where a model computes, and in which precision."""

import torch

from twofold.records import InputError


def resolve_device(device: str) -> torch.device:
    """The device of a name: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Raises:
        InputError: the device is not usable here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device '{device}': not usable here; use cpu") from error
    return resolved


def resolve_precision(precision: str, device: torch.device) -> str:
    """`float32` or `bfloat16`; `auto` chooses bfloat16 where the hardware multiplies it fast."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if device.type == "cpu" and has_instructions() else "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Compute matrix products in `precision` (resolved); everything else stays float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
