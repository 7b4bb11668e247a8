"""Processes that train one model together: torch.distributed behind `training.state.Processes`.

With torchrun, or if RANK, WORLD_SIZE and MASTER_ADDR are set, `joined` makes the process group; if
there is one already, as in a worker of Ray Train, it uses that. Gradients are summed by all-reduce
after the backward pass. CPUs communicate by gloo, GPUs by nccl.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# Imported before there is a group: the current group is a default argument of its functions, and a
# group that is still referenced when Python ends aborts the process (pytorch/pytorch#190489).
import torch.distributed.nn
from torch.distributed.rendezvous import rendezvous

from twofold.model.kernels import coalesced
from twofold.records import InputError
from twofold.training.state import ALONE, Processes, flat_identity

T = TypeVar("T")

_NAMED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
_TIMEOUT = timedelta(hours=1)
"""How long a process waits for the others: only the first one reads data and saves models."""
_TOGETHER = 4 << 20
"""Gradients of fewer bytes are sent together, in buffers of about this size."""
_LOST = 3
"""The exit code of a process after another one was lost."""
_MISTAKE = "twofold-mistake"
"""The key, in torchrun's store, of the InputError that ended the first attempt."""


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher such as torchrun started this process as one of a group."""
    return all(name in environment for name in _NAMED)


def is_restarted() -> bool:
    """Whether torchrun restarted this process after another process of the group had ended."""
    return os.environ.get(_RESTARTS, "0") != "0"


@contextmanager
def joined(device: str = "auto", gradient_accumulation_steps: int = 1) -> Iterator[Processes]:
    """Join the existing process group, or the one that the environment variables describe.

    Only the first process logs. An InputError is raised in all processes together; the others exit
    without a message.

    Args:
        device: `cpu`, `cuda`, or `auto`; with several GPUs a process uses the one of its
            LOCAL_RANK.
        gradient_accumulation_steps: as in `Processes`.

    Raises:
        InputError: a machine has fewer GPUs than processes.
    """
    is_own = not dist.is_initialized()  # then this process makes and destroys it
    if is_own and not is_launched():
        yield ALONE if gradient_accumulation_steps == 1 else Processes(gradient_accumulation_steps)
        return
    backend = _backend(device)
    store = _make_group(backend) if is_own else None
    processes = ProcessGroup(gradient_accumulation_steps)
    log = logging.getLogger("twofold")
    level = log.level
    if processes.rank:
        log.setLevel(logging.CRITICAL)
    try:
        yield processes
    except InputError as error:
        # All processes raise it. A group that is not destroyed aborts the process when Python ends.
        if store is not None:
            if not is_restarted():
                store.set(_MISTAKE, str(error))
            dist.destroy_process_group()
            if processes.rank:
                sys.exit(2)
        raise
    except LostProcessError as error:
        if not is_own:
            raise
        print(f"twofold: process {processes.rank}: {error}", file=sys.stderr)
        sys.exit(_LOST)
    finally:
        log.setLevel(level)
    if is_own:
        dist.destroy_process_group()


def _make_group(backend: str) -> Any:
    """Make the process group that the environment variables describe, and return its store.

    torchrun keeps its store over restarts.

    Raises:
        InputError: the first attempt ended with this error; a restart must not resume another
            training that the first attempt refused.
    """
    store, rank, size = next(iter(rendezvous("env://", timeout=_TIMEOUT)))
    if is_restarted() and store.check([_MISTAKE]):
        if rank:
            sys.exit(2)
        raise InputError(store.get(_MISTAKE).decode())
    # The store has the addresses of processes that have ended. Without its own prefix, a restarted
    # process would connect to one of them.
    attempt = os.environ.get(_RESTARTS, "0")
    attempt_store = dist.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]
    dist.init_process_group(
        backend, store=attempt_store, rank=rank, world_size=size, timeout=_TIMEOUT
    )
    return store


def _backend(device: str) -> str:
    """The backend for a device, after the process has chosen its GPU."""
    if device == "cpu" or not torch.cuda.is_available():
        return "gloo"
    own, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if own >= there:
        raise InputError(
            f"process {own} of this machine: it has {there} GPU{'s' if there > 1 else ''}; start "
            f"as many processes, or add --device cpu"
        )
    torch.cuda.set_device(own)
    return "cpu:gloo,cuda:nccl"


class LostProcessError(RuntimeError):
    """Another process ended before this one."""


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LostProcessError(
            f"lost another process ({lines[0]}); torchrun --max-restarts N restarts all of them "
            f"from the last state"
        ) from error


class ProcessGroup(Processes):
    """The processes of torch's default group; the methods are those of `Processes`."""

    def __init__(self, gradient_accumulation_steps: int = 1) -> None:
        super().__init__(gradient_accumulation_steps)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.is_restarted = is_restarted()
        self._only_gpu = dist.get_backend() == "nccl"

    def on_every_rank(self, make: Callable[[], T]) -> T:
        results: list[T] = []
        self.all_gather(lambda: results.append(make()))
        return results[0]

    def on_rank_zero(self, make: Callable[[], T]) -> T:
        attempts: list[Any] = [_attempt(make) if self.rank == 0 else None]
        with _connected():
            dist.broadcast_object_list(attempts, src=0)
        result: T = _results(attempts)[0]
        return result

    @contextmanager
    def entered(self, context: AbstractContextManager[T]) -> Iterator[T]:
        with ExitStack() as stack:
            yield self.on_rank_zero(lambda: stack.enter_context(context))

    def all_gather(self, make: Callable[[], T]) -> list[T]:
        attempts: list[Any] = [None] * self.world_size
        attempt = _attempt(make)
        with _connected():
            dist.all_gather_object(attempts, attempt)
        return _results(attempts)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            sent = self._sendable(tensor)
            with _connected():
                dist.broadcast(sent, src=0)
            if sent is not tensor:
                tensor.copy_(sent)

    def all_reduce_gradients(
        self, parameters: Sequence[torch.nn.Parameter], sums: torch.Tensor
    ) -> torch.Tensor:
        learned = [p for p in parameters if p.requires_grad]
        total, dense, sparse = self._kinds(learned, sums)
        for parameter in sparse:
            parameter.grad = self._sum_of_rows(parameter)
        small: list[torch.Tensor] = []
        for parameter in dense:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = parameter.grad.contiguous()
            if _bytes([parameter.grad]) >= _TOGETHER:
                self._sum(parameter.grad)
                continue
            small.append(parameter.grad)
            if _bytes(small) >= _TOGETHER:
                self._sum_together(small)
                small = []
        self._sum_together(small)
        return total

    def _kinds(
        self, parameters: Sequence[torch.nn.Parameter], sums: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """The total of `sums`, and the parameters with dense and with sparse gradients.

        A parameter counts if any process has a gradient for it.
        """
        has = [float(p.grad is not None) for p in parameters]
        sparse = [float(p.grad is not None and p.grad.is_sparse) for p in parameters]
        total = torch.cat([sums, torch.tensor([has, sparse], device=sums.device).view(-1)])
        self._sum(total)
        any_has, any_sparse = total[len(sums) :].view(2, -1).gt(0).tolist()
        flags = list(zip(parameters, any_has, any_sparse, strict=True))
        dense = [p for p, has_grad, is_sparse in flags if has_grad and not is_sparse]
        return total[: len(sums)], dense, [p for p, _, is_sparse in flags if is_sparse]

    def _sum(self, tensor: torch.Tensor) -> None:
        with _connected():
            dist.all_reduce(tensor)

    def _sum_together(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum small tensors in place, by one buffer."""
        if not tensors:
            return
        buffer = torch.cat([tensor.view(-1) for tensor in tensors])
        self._sum(buffer)
        parts = torch.split(buffer, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def _sum_of_rows(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """The sum of the sparse gradients of a table: rows are gathered, and added by rank."""
        rows = torch.empty(0, dtype=torch.long, device=parameter.device)
        values = parameter.detach().new_empty(0, *parameter.shape[1:])
        if parameter.grad is not None:
            grad = coalesced(parameter.grad)
            rows, values = grad._indices()[0], grad._values()
        rows, values = self._gathered(rows), self._gathered(values)
        return coalesced(torch.sparse_coo_tensor(rows[None], values, parameter.shape))

    def _gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, one after another; their numbers may differ."""
        counts = torch.zeros(self.world_size, dtype=torch.long, device=tensor.device)
        counts[self.rank] = len(tensor)
        self._sum(counts)
        most = int(counts.max())
        sent = tensor.new_zeros((most, *tensor.shape[1:]))
        sent[: len(tensor)] = tensor
        each = [torch.empty_like(sent) for _ in range(self.world_size)]
        with _connected():
            dist.all_gather(each, sent)
        return torch.cat([rows[:count] for rows, count in zip(each, counts.tolist(), strict=True)])

    def require_alike(self, values: Callable[[], dict[str, Any]]) -> None:
        first, *others = self.all_gather(values)
        for rank, other in enumerate(others, 1):
            for key, value in flat_identity(first).items():
                theirs = flat_identity(other).get(key)
                if theirs != value:
                    raise InputError(
                        f"process {rank} has {key}={theirs}, process 0 {value}: give all the same "
                        f"command, data and threads, on machines of one kind"
                    )

    def _sendable(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor itself, or a copy that the group can send."""
        if self._only_gpu and tensor.device.type == "cpu":
            return tensor.cuda()
        return tensor.contiguous()


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _attempt(make: Callable[[], T]) -> tuple[T | None, InputError | None]:
    """The result of `make`, or its InputError."""
    try:
        return make(), None
    except InputError as error:
        return None, error


def _results(attempts: Sequence[tuple[Any, InputError | None]]) -> list[Any]:
    """The results of all processes; raises the first error."""
    for _, error in attempts:
        if error is not None:
            raise error
    return [result for result, _ in attempts]
