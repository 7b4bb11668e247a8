"""The machines of the cluster that this process is connected to, and how a worker starts on one."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import ray

from twofold.records import InputError

LOSSES = 3
"""The lost workers that a unit of a study, an evaluation or a training survives."""


def room_for(needs: Mapping[str, float]) -> int:
    """The number of workers that fit on the machines of the cluster, busy or not.

    Args:
        needs: what Ray reserves for a worker, by its names of resources: `CPU`, `GPU`, `memory` in
            bytes.

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
            f"no machine of the cluster has what a worker needs ({wanted}); give fewer --threads, "
            f"or add larger machines"
        )
    return room


def device_there(device: str) -> str:
    """The device of workers: `auto` is a GPU where the cluster has one."""
    if device == "auto":
        return "cuda" if "GPU" in ray.cluster_resources() else "cpu"
    return device


def work_in(folder: Path) -> None:
    """Make the command's working directory that of a worker, since paths may be relative to it.

    Where a machine lacks the directory, reading a file of it fails later with a message.
    """
    with contextlib.suppress(OSError):
        os.chdir(folder)
