"""What a machine cannot beat: how long the matrix products of a call take at its peak rates.

A product takes at least its operations over the rate of multiplying, or its bytes over the rate
of reading, whichever is longer. Rates are measured here, on the thread that asks or on its GPU.
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

from twofold.model.packing import PackedLinear, can_pack

_PRODUCTS = ("linear", "matmul", "mm", "addmm", "bmm")
_KERNELS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm")


@dataclass(frozen=True, slots=True)
class Rates:
    """Of float32: operations and bytes a second."""

    operations: float
    bytes: float


_CPU = torch.device("cpu")


def measured_rates(device: torch.device = _CPU, repeats: int = 20) -> Rates:
    """The best of `repeats` of a large product, and of reading 256 MB, or 4 GB of a GPU."""
    width, read = (1024, 1 << 26) if device.type == "cpu" else (8192, 1 << 30)
    left, right = torch.randn(width, width, device=device), torch.randn(width, width, device=device)
    product = PackedLinear(right, None, torch.float32) if can_pack(device) else right.matmul
    numbers = torch.randn(read, device=device)
    with torch.inference_mode():
        multiplying = min(_seconds(lambda: product(left), device) for _ in range(repeats))
        reading = min(_seconds(numbers.sum, device) for _ in range(repeats))
    return Rates(2 * width**3 / multiplying, numbers.nbytes / reading)


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
    """Adds up the least seconds of every plain matrix product that runs under it."""

    def __init__(self, rates: Rates) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rates, self.seconds, self.operations = rates, 0.0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if (name := func.overloadpacket.__name__) in _PRODUCTS:
            left, right = args[1:3] if name == "addmm" else args[:2]
            operations = 2 * found.numel() * left.shape[-1]
            read = left.nbytes + right.nbytes + found.nbytes
            self.operations += operations
            self.seconds += max(operations / self.rates.operations, read / self.rates.bytes)
        return found


def floor_of(run: Callable[[], Any], rates: Rates) -> float:
    """The least seconds that the products of `run`, on plain weights, can take."""
    floor = Floor(rates)
    with floor:
        run()
    return floor.seconds


def products_share(run: Callable[[], Any], device: torch.device = _CPU) -> float:
    """The share of a call's time in operators that is spent in matrix products; of a GPU the share
    of the call in which it computes at all."""
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
    """MiB that a call takes at most beyond what was held before, on its device; 0 for a CPU that
    is not under Linux."""
    if device.type != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status = Path("/proc/self/status")
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is taken
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the last peak
        before = _kib(status, "VmRSS")
        run()
        return max(0, _kib(status, "VmHWM") - before) / 1024
    return 0.0


def _kib(status: Path, name: str) -> int:
    lines = status.read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
