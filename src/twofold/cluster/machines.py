"""The machines of the cluster that this process is connected to, and how a worker starts on one."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import ray

from twofold.records import InputError

LOSSES = 3
"""How many lost workers a unit of a study, an evaluation or a training survives."""


def room_for(needs: Mapping[str, float]) -> int:
    """How many workers find room on the machines that the cluster has now.

    Args:
        needs: what Ray reserves for a worker, by the names of its resources: `CPU`, `GPU`,
            `memory` in bytes.

    Raises:
        InputError: none ever would.
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
    """Let a worker work in the folder of the command, from which paths may be relative; a machine
    that lacks the folder lacks what is in it too, which is noticed when it is read."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
