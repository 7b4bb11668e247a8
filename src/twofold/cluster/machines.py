"""The machines of the cluster that this process is connected to, and the start of workers."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import ray

from twofold.records import InputError

LOSSES = 3
"""The number of lost workers that a unit of a study, an evaluation or a training survives."""


def room_for(needs: Mapping[str, float]) -> int:
    """The number of workers that fit on the machines of the cluster, busy or not.

    Args:
        needs: the resources of a worker, by Ray's names: `CPU`, `GPU`, `memory` in bytes.

    Raises:
        InputError: no machine is large enough for a worker.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        min(int(machine.get(name, 0) // amount) for name, amount in needs.items())
        for machine in machines
    )
    if not room:
        wanted = ", ".join(f"{amount:g} of {name}" for name, amount in needs.items())
        raise InputError(
            f"no machine of the cluster has the resources of a worker ({wanted}); give fewer "
            f"--threads, or add larger machines"
        )
    return room


def device_there(device: str) -> str:
    """The device of workers: `auto` is a GPU if the cluster has one."""
    if device == "auto":
        return "cuda" if "GPU" in ray.cluster_resources() else "cpu"
    return device


def work_in(folder: Path) -> None:
    """Change to the command's working directory in a worker, since paths may be relative to it.

    If a machine does not have the directory, reading a file in it fails later with a message.
    """
    with contextlib.suppress(OSError):
        os.chdir(folder)
