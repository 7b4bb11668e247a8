"""The state of a training, written at every validation, from which a killed one resumes."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from twofold import artifact
from twofold.model.stamp import current_settings
from twofold.records import InputError

_KIND = "training state"


class DivergedError(InputError):
    """A training whose numbers are no longer finite: resuming it would end in the same way."""


@dataclass(slots=True)
class Progress:
    """What happened so far.

    Attributes:
        step: the number of steps taken.
        curve: one entry for each validation: step, loss since the one before, the measure of each
            task, value.
        best_step: the step of the best validation; 0 before the first.
        best_value: the value of that validation.
        targets_seen: the number of targets learned from, by source.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_value: float = -1.0
    targets_seen: dict[str, int] = field(default_factory=dict)


Tensors = dict[str, torch.Tensor]
"""Tensors by name, such as the weights of a model."""


def save_state(
    folder: Path,
    identity: dict[str, Any],
    progress: Progress,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Tensors,
) -> None:
    """Write a new state next to the old one, then remove the old one."""
    target = folder / f"step-{progress.step:08d}"
    with artifact.write(target, _KIND, identity) as partial:
        save_file(_unshared(model.state_dict()), partial / "weights.safetensors")
        save_file(_unshared(best), partial / "best.safetensors")
        save_file(_moments(optimizer), partial / "optimizer.safetensors")
        artifact.write_json(partial / "progress.json", asdict(progress))
    for other in folder.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def load_state(
    folder: Path,
    identity: dict[str, Any],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[Progress, Tensors] | None:
    """Restore the newest finished state into `model` and `optimizer`; None where there is none.

    Raises:
        InputError: the state belongs to another training, or an earlier version wrote it.
    """
    require_current(folder)
    states = sorted(folder.glob("step-*"))
    if not states:
        return None
    newest = states[-1]
    require_same(artifact.load(newest, _KIND)["config"], identity, folder)
    model.load_state_dict(load_file(newest / "weights.safetensors"), strict=False)
    moments: dict[int, Tensors] = {}
    for name, tensor in load_file(newest / "optimizer.safetensors").items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    progress = Progress(**artifact.read_json(newest / "progress.json"))
    return progress, load_file(newest / "best.safetensors")


def require_current(folder: Path) -> None:
    """Raise InputError where an earlier version wrote the state in a folder."""
    if any(folder.glob("update-*")):
        raise InputError(
            f"{folder}: an earlier version wrote this state, which cannot be resumed; delete it, "
            f"and repeat the command"
        )


@contextlib.contextmanager
def working_folders(out: Path, resume: bool) -> Iterator[tuple[Path, Path]]:
    """Folders next to `out` for the states of a training and for the encoders that it tunes.

    They are removed when the training has ended or diverged, and kept where it was interrupted.

    Raises:
        InputError: an interrupted training has kept something, and `resume` is not given.
    """
    folders = out.parent / f".{out.name}.training", out.parent / f".{out.name}.encoders"
    if not resume:
        _require_no_state(out, *folders)
        _remove(*folders)
    try:
        yield folders
    except DivergedError:
        _remove(*folders)  # so that the command can be given again with another learning rate
        raise
    _remove(*folders)


def _require_no_state(out: Path, *folders: Path) -> None:
    for folder in folders:
        require_current(folder)
        if any(folder.rglob(artifact.MANIFEST)):
            raise InputError(
                f"{out}: a training was interrupted there; add --resume to continue it, or remove "
                f"{folder} to start anew"
            )


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def require_same(before: dict[str, Any], now: dict[str, Any], place: Path) -> None:
    """Raise InputError where a training that is resumed was started in another way."""
    before, now = _flat(before), _flat(now)
    changed = sorted(key for key in now if before.get(key) != now[key])
    if changed:
        key = changed[0]
        raise InputError(
            f"{place}: was started with {key}={before.get(key)}, not {now[key]}; repeat its "
            f"command, or give another --out"
        )


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Settings next to the rest: `{"training": {"a": 1}, "seed": 0}` -> `{"a": 1, "seed": 0}`."""
    rest = {key: value for key, value in identity.items() if key != "training"}
    return {**current_settings(identity.get("training", {})), **rest}


def copy_weights(model: torch.nn.Module) -> Tensors:
    """A copy of the weights, tied ones once."""
    return {k: v.detach().clone() for k, v in _unshared(model.state_dict()).items()}


def _moments(optimizer: torch.optim.Optimizer) -> Tensors:
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": t for number, entry in state.items() for key, t in entry.items()}


def _unshared(weights: Tensors) -> Tensors:
    """Tied weights once, under their first name: safetensors refuses shared memory."""
    seen: set[int] = set()
    kept: Tensors = {}
    for name, tensor in weights.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    return kept
