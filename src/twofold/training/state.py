"""Where training stands: kept at every validation, so that a killed run goes on from there."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from twofold import artifact
from twofold.records import InputError

_KIND = "training state"


@dataclass(slots=True)
class Progress:
    """What happened so far.

    Attributes:
        update: updates done.
        curve: one entry a validation: update, loss since the last one, measure by task, value.
        best_update: of the best validation value; 0 before the first.
        best_value: that value.
        targets_seen: targets learned from so far, by source.
    """

    update: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_update: int = 0
    best_value: float = -1.0
    targets_seen: dict[str, int] = field(default_factory=dict)


Weights = dict[str, torch.Tensor]


def save_state(
    folder: Path,
    identity: dict[str, Any],
    progress: Progress,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Weights,
) -> None:
    """Write a new state beside the old one, then remove the old one."""
    target = folder / f"update-{progress.update:08d}"
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
) -> tuple[Progress, Weights] | None:
    """Restore the newest finished state into `model` and `optimizer`; None where there is none.

    Raises:
        InputError: the state is of another training.
    """
    found = sorted(folder.glob("update-*")) if folder.is_dir() else []
    if not found:
        return None
    newest = found[-1]
    require_same(artifact.load(newest, _KIND)["config"], identity, folder)
    model.load_state_dict(load_file(newest / "weights.safetensors"), strict=False)
    moments: dict[int, Weights] = {}
    for name, tensor in load_file(newest / "optimizer.safetensors").items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    progress = Progress(**artifact.read_json(newest / "progress.json"))
    return progress, load_file(newest / "best.safetensors")


def require_same(before: dict[str, Any], now: dict[str, Any], place: Path) -> None:
    """Raise InputError where a training that is resumed was started in another way."""
    before, now = _flat(before), _flat(now)
    changed = sorted(key for key in now if before.get(key) != now[key])
    if changed:
        raise InputError(
            f"{place}: was started with {changed[0]}={before.get(changed[0])}, not "
            f"{now[changed[0]]}; repeat its command, or leave out --resume"
        )


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Settings beside the rest: `{"training": {"a": 1}, "seed": 0}` -> `{"a": 1, "seed": 0}`."""
    return {
        **identity.get("training", {}),
        **{k: v for k, v in identity.items() if k != "training"},
    }


def copy_weights(model: torch.nn.Module) -> Weights:
    """A copy of the weights, tied ones once."""
    return {k: v.detach().clone() for k, v in _unshared(model.state_dict()).items()}


def _moments(optimizer: torch.optim.Optimizer) -> Weights:
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": t for number, entry in state.items() for key, t in entry.items()}


def _unshared(weights: Weights) -> Weights:
    """Tied weights share memory, which safetensors refuses: the first name stands for all."""
    seen: set[int] = set()
    kept: Weights = {}
    for name, tensor in weights.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    return kept
