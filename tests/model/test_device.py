"""Devices and precisions by name."""

import pytest
import torch

from twofold.model.device import autocast, resolve_device, resolve_precision
from twofold.records import InputError

CPU = torch.device("cpu")


def test_a_device_that_is_not_there_is_named_with_a_remedy() -> None:
    assert resolve_device("cpu") == CPU
    for name in ("warp", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(InputError, match=f"--device '{name}': not usable here; use cpu"):
            resolve_device(name)


def test_a_precision_that_is_named_is_kept_and_auto_is_resolved() -> None:
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    assert resolve_precision("auto", CPU) in ("float32", "bfloat16")


def test_products_have_the_precision() -> None:
    matrix = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (matrix @ matrix).dtype == torch.float32
