"""The state from which a killed training resumes, and the processes that train together."""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import load_file, save_file

from twofold import artifact
from twofold.model.stamp import HISTORIES, KIND
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.training.optimizer import AdamW, Average

_KIND = "training state"

T = TypeVar("T")

Tensors = dict[str, torch.Tensor]
"""Tensors by name, such as the weights of a model."""


class Processes:
    """The processes that train one model together; this class is a single process.

    `twofold.cluster.processes` has the class of a process group. Each process has a copy of the
    model and reads its own micro-batches of every batch. All processes must call these methods in
    the same order.

    Args:
        gradient_accumulation_steps: the number of micro-batches of a batch that each process
            reads, one after another. With more of them, less memory is needed; the batch stays the
            same.

    Attributes:
        rank: the number of this process, from 0; the first one writes and reports.
        world_size: the number of processes.
        micro_batches: the number of micro-batches of a batch, over all processes.
        is_restarted: whether a launcher restarted the processes after one of them had ended; they
            then resume the training.
    """

    rank = 0
    world_size = 1
    is_restarted = False

    def __init__(self, gradient_accumulation_steps: int = 1) -> None:
        self._steps = gradient_accumulation_steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._steps})"

    @property
    def micro_batches(self) -> int:
        return self.world_size * self._steps

    @property
    def own_micro_batches(self) -> range:
        """The numbers of the micro-batches that this process reads."""
        return range(self.rank * self._steps, (self.rank + 1) * self._steps)

    def on_every_rank(self, make: Callable[[], T]) -> T:
        """The result of `make` in this process; if one process raises InputError, all do."""
        return make()

    def on_rank_zero(self, make: Callable[[], T]) -> T:
        """The result of `make` in the first process, sent to all; so is its InputError."""
        return make()

    def entered(self, context: AbstractContextManager[T]) -> AbstractContextManager[T]:
        """A context that only the first process enters; its value, or InputError, reaches all."""
        return context

    def all_gather(self, make: Callable[[], T]) -> list[T]:
        """The results of `make` in all processes, by rank; if one raises InputError, all do."""
        return [make()]

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Broadcast the values of the first process's tensors, in place."""

    def all_reduce_gradients(
        self,
        parameters: Sequence[torch.nn.Parameter],  # noqa: ARG002
        sums: torch.Tensor,
    ) -> torch.Tensor:
        """Sum the gradients of all processes, in place, and a few numbers, which are returned.

        A gradient is dense, sparse (COO), or None if a process has no gradient of the parameter.

        Args:
            parameters: the parameters, in the same order in all processes.
            sums: the numbers of this process, such as its loss, (n,).

        Returns:
            the sums over all processes, (n,).
        """
        return sums

    def require_alike(self, values: Callable[[], dict[str, Any]]) -> None:
        """Raise InputError, in all processes, if a value differs between them."""


ALONE = Processes()
"""A single process, which reads whole batches."""


class DivergedError(InputError):
    """A training whose loss or weights are not finite; if it is resumed, it fails again."""


@dataclass(slots=True)
class Progress:
    """The progress of a training.

    Attributes:
        step: the number of steps taken.
        curve: one entry for each validation: `step`, `loss` (the mean since the previous
            validation), the measure of each task on the sample, and `value`. Checkpoints that were
            compared on all requests also have `on_all`, the value there. The candidates for a
            task's best have `TASK_on_all`, if these are compared.
        loss: the sum of the losses since the last validation.
        best_step: the step of the best validation; 0 before the first.
        best_value: the value of that validation.
        averaged_step: the step at which the average of the weights was last updated.
        targets_seen: the number of targets in the steps so far, by source.
        steps_by_world_size: the number of steps, by the number of processes that took them.
        ended_by: what ended the training: `patience`, or a cap (`max_steps`, `epochs`, `max_time`),
            or `steps` if their number was given; empty before the end.
        seconds, validation_seconds: wall-clock seconds so far, and those in validation; no decision
            except that of `max_time` depends on them.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_value: float = -1.0
    averaged_step: int = 0
    targets_seen: dict[str, int] = field(default_factory=dict)
    steps_by_world_size: dict[str, int] = field(default_factory=dict)
    loss: float = 0.0
    ended_by: str = ""
    seconds: float = field(default=0.0, compare=False)
    validation_seconds: float = field(default=0.0, compare=False)

    @property
    def last_best_step(self) -> int:
        """The last step at which the measure of a task, or `value`, was at its best, on the sample
        or on all requests.
        """
        best: dict[str, dict[str, float]] = {}
        for point in self.curve:
            for name in point.keys() - {"step", "loss"}:
                if point[name] > best.get(name, {name: -1.0})[name]:
                    best[name] = point
        return max((int(point["step"]) for point in best.values()), default=0)

    @property
    def validation_share(self) -> float:
        """The share of the time that validation took."""
        return self.validation_seconds / max(self.seconds, 1e-9)

    def stamped(self) -> dict[str, Any]:
        """The entries of a model's stamp about the progress."""
        kept = ("steps_by_world_size", "targets_seen", "best_step", "best_value", "curve")
        return {"steps": self.step} | {name: getattr(self, name) for name in (*kept, "ended_by")}


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The objects that a training changes in place, in addition to its `Progress`.

    Attributes:
        model: the model, with the weights of the last step.
        optimizer: its optimizer.
        average: the average of its last weights.
        candidates: the weights of the best checkpoints so far, by step.
    """

    model: torch.nn.Module
    optimizer: "AdamW"
    average: "Average"
    candidates: dict[int, Tensors] = field(default_factory=dict)


def save_state(
    folder: Path, identity: dict[str, Any], progress: Progress, trained: Trained
) -> None:
    """Write a new state next to the old one, then remove the old one."""
    target = folder / f"step-{progress.step:08d}"
    with artifact.write(target, _KIND, identity) as partial:
        save_file(_unshared(trained.model.state_dict()), partial / "weights.safetensors")
        save_file(_moments(trained.optimizer), partial / "optimizer.safetensors")
        save_file(trained.average.saved(), partial / "average.safetensors")
        for step, weights in trained.candidates.items():
            save_file(_unshared(weights), partial / f"candidate-{step:08d}.safetensors")
        artifact.write_json(partial / "progress.json", asdict(progress))
    for other in folder.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def load_state(
    folder: Path, identity: dict[str, Any], trained: Trained, processes: Processes
) -> Progress | None:
    """Restore the newest complete state into `trained`; None if there is no state.

    The first process reads the state and sends it to the others.

    Raises:
        InputError: the state belongs to another training.
    """
    progress = processes.on_rank_zero(lambda: _read_state(folder, identity, trained))
    if progress is None:
        return None
    for step in processes.on_rank_zero(lambda: list(trained.candidates)):
        trained.candidates.setdefault(step, copy_weights(trained.model))
    kept = [_unshared(trained.model.state_dict()), _moments(trained.optimizer)]
    kept += [trained.average.saved(), *trained.candidates.values()]
    processes.broadcast(tensors[name] for tensors in kept for name in sorted(tensors))
    return progress


def _read_state(folder: Path, identity: dict[str, Any], trained: Trained) -> Progress | None:
    """Load the newest state of a folder into `trained`; None if there is no state."""
    states = sorted(folder.glob("step-*"))
    if not states:
        return None
    newest = states[-1]
    try:
        saved = artifact.load(newest, _KIND)["config"]
    except InputError as error:
        raise InputError(f"{error}: remove {folder}, then run the command again") from error
    require_same(saved, identity, folder)
    trained.model.load_state_dict(load_file(newest / "weights.safetensors"), strict=False)
    for name, tensor in load_file(newest / "optimizer.safetensors").items():
        number, key = name.split(".")
        trained.optimizer.moments[int(number)][key].copy_(tensor)
    averages = trained.average.saved()
    for number, average in load_file(newest / "average.safetensors").items():
        averages[number].copy_(average)
    trained.candidates.clear()
    for path in sorted(newest.glob("candidate-*")):
        # On the model's device, where the other processes expect them.
        step, weight = int(path.stem.removeprefix("candidate-")), next(trained.model.parameters())
        trained.candidates[step] = load_file(path, device=str(weight.device))
    return Progress(**artifact.read_json(newest / "progress.json"))


def load_candidate(folder: Path, step: int) -> Tensors:
    """The weights of a checkpoint in the last state of a training.

    Raises:
        InputError: the state does not contain that checkpoint.
    """
    kept = sorted(folder.glob(f"step-*/candidate-{step:08d}.safetensors"))
    if not kept:
        raise InputError(
            f"{folder}: has no checkpoint of step {step}; remove the model next to it, and run "
            f"the command again"
        )
    weights: Tensors = load_file(kept[-1])
    return weights


def load_weights(model: torch.nn.Module, weights: Tensors) -> None:
    """Load a checkpoint's weights, in which tied weights are stored once, into a model."""
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    assert not unknown, f"the checkpoint of another model: {unknown[0]}"


def state_folder(out: Path) -> Path:
    """The folder for the training state of a model folder."""
    return out.parent / f".{out.name}.training"


@contextlib.contextmanager
def working_folders(
    out: Path, resume: bool, keep_state: bool = False
) -> Iterator[tuple[Path, Path]]:
    """Folders next to `out` for the states of a training and for the encoders that it trains.

    They are removed when the training has ended or diverged, and kept if it was interrupted. With
    `keep_state` the states are always kept, unless it diverged.

    Raises:
        InputError: an interrupted training left a state or an encoder, and `resume` is False.
    """
    folders = _folders(out)
    if not resume:
        require_no_state(out)
        _remove(*folders)
    try:
        yield folders
    except DivergedError:
        _remove(*folders)  # so that the command can be repeated with another learning rate
        raise
    _remove(*folders[keep_state:])


def _folders(out: Path) -> tuple[Path, Path]:
    return state_folder(out), out.parent / f".{out.name}.encoders"


def require_no_state(out: Path) -> None:
    """Raise InputError if an interrupted training of a model folder left a state or an encoder."""
    for folder in _folders(out):
        if any(folder.rglob(artifact.MANIFEST)):
            raise InputError(
                f"{out}: a training was interrupted there; add --resume to continue it, or remove "
                f"{folder} to start again"
            )


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def require_made_by(folder: Path, identity: dict[str, Any], histories: bool) -> None:
    """Raise InputError if a finished model is not that of a training.

    Args:
        folder: the model folder.
        identity: what the weights of the training depend on.
        histories: whether the training stores the users' histories.
    """
    made = artifact.load(folder, KIND)
    require_same(made["config"].get("identity", {}), identity, folder)
    if HISTORIES in made["files"] and not histories:
        raise InputError(
            f"{folder}: has the users' histories; give another --out to train without them, or "
            f"remove this folder"
        )


def require_same(before: dict[str, Any], now: dict[str, Any], place: Path) -> None:
    """Raise InputError if a training that is resumed was started with other data or settings."""
    before, now = flat_identity(before), flat_identity(now)
    changed = sorted(key for key in now if before.get(key) != now[key])
    if "data" in changed:
        raise InputError(
            f"{place}: was started on other data than the dataset has now; give that dataset as it "
            f"was, or give another --out"
        )
    if changed:
        key = changed[0]
        raise InputError(
            f"{place}: was started with {key}={before.get(key)}, not {now[key]}; repeat its "
            f"command, or give another --out"
        )


def flat_identity(identity: dict[str, Any]) -> dict[str, Any]:
    """The settings and the other entries in one mapping.

    `{"training": {"a": 1}, "seed": 0}` -> `{"a": 1, "seed": 0}`
    """
    rest = {key: value for key, value in identity.items() if key != "training"}
    return {**identity.get("training", {}), **rest}


def copy_weights(model: torch.nn.Module) -> Tensors:
    """A copy of the weights, with tied weights once."""
    return {k: v.detach().clone() for k, v in _unshared(model.state_dict()).items()}


def checksum(model: torch.nn.Module) -> int:
    """The sum of all weights' bits as integers, which does not depend on the order."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return sum(
        int(weight.detach().view(kinds[weight.element_size()]).sum(dtype=torch.int64))
        for weight in model.parameters()
    )


def _moments(optimizer: "AdamW") -> Tensors:
    numbered = enumerate(optimizer.moments)
    return {f"{number}.{key}": t for number, kept in numbered for key, t in kept.items()}


def _unshared(weights: Tensors) -> Tensors:
    """The weights, tied ones once under their first name: safetensors rejects shared memory."""
    seen: set[int] = set()
    kept: Tensors = {}
    for name, tensor in weights.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    return kept
