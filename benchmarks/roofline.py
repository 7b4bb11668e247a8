"""A roofline: the least time that the matrix products of a call take on a machine.

A product takes at least its operations divided by the machine's peak rate of operations, or its
bytes divided by the peak rate of reading, whichever is longer. The rates are measured here, on the
calling thread or on the GPU.
"""

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from twofold.model.kernels import PackedLinear, can_pack

_PRODUCTS = ("linear", "matmul", "mm", "addmm", "bmm")
_KERNELS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm")


@dataclass(frozen=True, slots=True)
class Rates:
    """The peak rates of a device in float32: operations and bytes for each second."""

    operations: float
    bytes: float


_CPU = torch.device("cpu")


def measured_rates(device: torch.device = _CPU, repeats: int = 20) -> Rates:
    """The fastest of `repeats` large products, and of reading 256 MB, or 4 GB on a GPU."""
    width, read = (1024, 1 << 26) if device.type == "cpu" else (8192, 1 << 30)
    left, right = torch.randn(width, width, device=device), torch.randn(width, width, device=device)
    product = PackedLinear(right, None, torch.float32) if can_pack(device) else right.matmul
    numbers = torch.randn(read, device=device)
    with torch.inference_mode():
        multiplying = min(_seconds(lambda: product(left), device) for _ in range(repeats))
        reading = min(_seconds(numbers.sum, device) for _ in range(repeats))
    return Rates(operations=2 * width**3 / multiplying, bytes=numbers.nbytes / reading)


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


class Floor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that sums the least seconds of all plain matrix products within it."""

    def __init__(self, rates: Rates) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rates, self.seconds, self.operations = rates, 0.0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if (name := func.overloadpacket.__name__) in _PRODUCTS:
            left, right = args[1:3] if name == "addmm" else args[:2]
            operations = 2 * output.numel() * left.shape[-1]
            read = left.nbytes + right.nbytes + output.nbytes
            self.operations += operations
            self.seconds += max(operations / self.rates.operations, read / self.rates.bytes)
        return output


def floor_of(run: Callable[[], Any], rates: Rates) -> float:
    """The least seconds that the matrix products of `run` can take; its weights are plain."""
    floor = Floor(rates)
    with floor:
        run()
    return floor.seconds


def products_share(run: Callable[[], Any], device: torch.device = _CPU) -> float:
    """The share of matrix products in the time of a call's operators.

    On a GPU, the share of the call in which the GPU computes.
    """
    activity = torch.profiler.ProfilerActivity
    wanted = activity.CPU if device.type == "cpu" else activity.CUDA
    seconds = _seconds(run, device)
    with torch.profiler.profile(activities=[wanted]) as profiled:
        run()
    events = profiled.key_averages()
    if device.type != "cpu":
        return float(sum(event.self_device_time_total for event in events) / 1e6 / seconds)
    times = {event.key: event.self_cpu_time_total for event in events}
    return float(sum(times.get(name, 0.0) for name in _KERNELS) / sum(times.values()))


def peak_mib(run: Callable[[], Any], device: torch.device = _CPU) -> float:
    """The largest memory that a call adds on its device, in MiB; 0 on a CPU without Linux."""
    if device.type != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status = Path("/proc/self/status")
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # memory freed before would hide what the call takes
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the last peak
        before = _kib(status, "VmRSS")
        run()
        return max(0, _kib(status, "VmHWM") - before) / 1024
    return 0.0


def _kib(status: Path, name: str) -> int:
    lines = status.read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
