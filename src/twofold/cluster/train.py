"""One model trained by several machines of a Ray cluster.

Ray Train starts the workers, makes their process group, and restarts all of them if one is lost.
Each worker runs the same code as a process of torchrun, see `twofold.cluster.processes`. The
training state is saved next to the model folder, so Ray stores no checkpoint.
"""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from twofold.cluster.machines import LOSSES, device_there, room_for, work_in
from twofold.records import InputError
from twofold.studies.workers.messages import log_level
from twofold.training.state import require_no_state

Answer = tuple[str, InputError | None]
"""The output of a command, and its InputError, if any."""


def train_on_ray(
    command: Callable[[], None], out: Path, workers: int, threads: int, device: str, resume: bool
) -> str:
    """Run a training command in every worker of a cluster; return the output of the first one.

    Args:
        command: trains with the processes of torch's default group, and resumes from an existing
            state. It is pickled.
        out: the model folder, at the same path on every machine.
        workers: the number of processes.
        threads: the CPU threads of a process.
        device: `cpu`, `cuda` for one GPU for each process, or `auto` for `cuda` if the cluster has
            GPUs.
        resume: whether `out` may have the state of an interrupted training.

    Raises:
        InputError: the command raises it; the cluster has too few resources or no shared storage;
            or too many workers were lost.
    """
    if not resume:
        require_no_state(out)
    device = device_there(device)
    needs: dict[str, float] = {"CPU": threads} if device == "cpu" else {"CPU": threads, "GPU": 1}
    room = room_for(needs)
    if workers > room:
        raise InputError(
            f"--workers {workers}: all of them run at the same time, and the cluster has resources "
            f"for {room} with {threads} threads each; give fewer"
        )
    os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"  # the output is returned
    ray_folder = out.absolute().parent / f".{out.name}.ray"
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"place": Path.cwd(), "level": log_level(), "command": command},
        torch_config=TorchConfig(backend="gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=device != "cpu", resources_per_worker=needs
        ),
        run_config=RunConfig(
            name="run",
            storage_path=str(ray_folder),
            failure_config=FailureConfig(max_failures=LOSSES),
        ),
    )
    try:
        answer: Answer = trainer.fit().return_value
    except TrainingFailedError as error:
        raise InputError(
            f"{out}: {LOSSES + 1} times a worker was lost ({_first_line(error)}); the last state "
            f"is kept: repeat the command with --resume"
        ) from error
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)
    printed, mistake = answer
    if mistake is not None:
        raise mistake
    return printed


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _worker(config: dict[str, Any]) -> Answer:
    """Run the command in one of the workers."""
    logging.getLogger("twofold").setLevel(config["level"])  # Ray prints what reaches the root
    work_in(config["place"])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            config["command"]()
        except InputError as error:
            return printed.getvalue(), error
    return printed.getvalue(), None
