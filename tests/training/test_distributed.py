"""Two processes under torchrun: the numbers of one, any world size resumes, a killed one returns.

Every process has one thread; the model and the data are tiny.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from twofold import artifact
from twofold.cluster.processes import is_launched, joined
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.state import ALONE, Processes, state_folder
from twofold.training.train import train

SCRIPT = Path(__file__).with_name("launched.py")
ROOT = SCRIPT.parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
STEPS = 30
TOLERANCE = 1e-5
"""What may differ, by rounding, between weights of up to 2 after as many steps."""


@pytest.fixture(scope="module")
def plain(quick_config: TrainingConfig) -> TrainingConfig:
    """Without dropout, whose draws depend on the world size."""
    return quick_config.model_copy(update={"dropout": 0.0, "max_steps": STEPS})


@pytest.fixture(scope="module")
def alone(
    catalog: PreparedDataset, plain: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model of one process."""
    out = tmp_path_factory.mktemp("alone") / "model"
    train(catalog, "joint", out=out, config=plain, device="cpu")
    return out


@pytest.fixture(scope="module")
def sampled(plain: TrainingConfig) -> TrainingConfig:
    """With a sampled softmax, whose gradients are sparse."""
    return plain.model_copy(update={"full_softmax_max_codes": 0, "num_negatives": 20})


@pytest.fixture(scope="module")
def stopped(
    prepared: Path, sampled: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A training in two processes that were stopped after ten steps, and in `log` what they read;
    a test takes a copy."""
    folder = tmp_path_factory.mktemp("stopped")
    torchrun(folder / "log", command(prepared, folder / "model", sampled), UNTIL="10")
    assert not (folder / "model").exists()
    return folder


def command(prepared: Path, out: Path, config: TrainingConfig, *more: str) -> list[str]:
    """A command line that trains."""
    file = out.with_suffix(".json")
    file.write_text(config.model_dump_json())
    given = ["train", str(prepared), "--out", str(out), "--config", str(file), *more]
    return [str(SCRIPT), *given, "--device", "cpu", "--threads", "1"]


def environment(log: Path, **more: str) -> dict[str, str]:
    """The variables of a process."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    return {**os.environ, "LOG": str(log), "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}


def torchrun(log: Path, given: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in two processes."""
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node", "2", *given],
        env=environment(log, **more), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def largest_difference(one: Path, other: Path) -> float:
    """Between the weights of two models."""
    file = Path("backbone") / "model.safetensors"
    ours, theirs = load_file(one / file), load_file(other / file)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def stamp_of(model: Path) -> dict[str, Any]:
    """The stamp of a model folder."""
    stamp: dict[str, Any] = artifact.load(model, "model")["config"]["stamp"]
    return stamp


def entries(log: Path) -> list[dict[str, Any]]:
    """What all processes of a log have read, in order of time."""
    lines = [line for file in log.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda entry: entry["time"])


def times_read(log: Path, batches_per_epoch: int) -> dict[tuple[int, int], Counter[int]]:
    """By epoch and source, how often each row was read."""
    read: dict[tuple[int, int], Counter[int]] = {}
    for entry in entries(log):
        place = entry["step"] // batches_per_epoch, entry["source"]
        read.setdefault(place, Counter()).update(entry["rows"])
    return read


def test_two_processes_have_the_numbers_of_one(
    prepared: Path, alone: Path, plain: TrainingConfig, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    done = torchrun(tmp_path / "log", command(prepared, out, plain))
    assert largest_difference(alone, out) < TOLERANCE
    ours, theirs = stamp_of(alone), stamp_of(out)
    assert ours.pop("steps_by_world_size") == {"1": STEPS}
    assert theirs.pop("steps_by_world_size") == {"2": STEPS}
    for one, two in zip(ours.pop("curve"), theirs.pop("curve"), strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    assert ours.pop("best_value") == pytest.approx(theirs.pop("best_value"))
    assert ours == theirs
    assert done.stdout.count("best at step") == 1
    assert done.stderr.count("ended by max_steps") == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_then_one_then_two_processes_read_each_example_once_an_epoch(
    catalog: PreparedDataset,
    prepared: Path,
    sampled: TrainingConfig,
    stopped: Path,
    tmp_path: Path,
) -> None:
    alone, folder = tmp_path / "alone", tmp_path / "stopped"
    train(catalog, "joint", out=alone, config=sampled, device="cpu")
    shutil.copytree(stopped, folder)
    log, out = folder / "log", folder / "model"
    given = command(prepared, out, sampled, "--resume")
    subprocess.run([sys.executable, *given], env=environment(log, UNTIL="18"), check=True)
    torchrun(log, given)
    stamp = stamp_of(out)
    by_size = stamp["steps_by_world_size"]
    assert sum(by_size.values()) == stamp["steps"] == STEPS
    assert by_size["1"] > 0
    assert largest_difference(alone, out) < TOLERANCE
    per_epoch = round(stamp["steps"] / stamp["epochs"])
    assert per_epoch < STEPS
    assert 10 % per_epoch, "the world size changes in the midst of an epoch"
    read = times_read(log, per_epoch)
    for source in {source for _, source in read}:
        first = read[0, source]
        assert set(first) == set(range(len(first))), "every example"
        assert set(first.values()) == {1}, "once"


def test_a_killed_process_comes_back_and_the_bits_are_those_of_a_run_without_it(
    prepared: Path, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    """With dropout, whose draws are repeated."""
    config = quick_config.model_copy(update={"max_steps": STEPS})
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    torchrun(tmp_path / "other", command(prepared, whole, config))
    process = subprocess.Popen(
        [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1",
         *command(prepared, killed, config)],
        env=environment(log), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_state(state_folder(killed), 10)
    os.kill(int((log / "1.pid").read_text()), signal.SIGKILL)
    died = time.time()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    again = next(entry["step"] for entry in entries(log) if entry["time"] > died + 0.5)
    assert 10 <= again < STEPS, "from the last state, without --resume"
    assert artifact.load(killed, "model") == artifact.load(whole, "model")


@pytest.mark.alone  # on a busy machine torchrun may end rank 0 before it has said why
def test_a_restart_does_not_continue_a_training_that_the_first_attempt_refused(
    prepared: Path, sampled: TrainingConfig, stopped: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    shutil.copytree(stopped, folder)
    out = folder / "model"
    given = command(prepared, out, sampled)
    before = sorted(path.name for path in state_folder(out).iterdir())
    refused = subprocess.run(
        [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", *given],
        env=environment(folder / "log"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert refused.returncode
    message = f"twofold: {out}: a training was interrupted there; add --resume to continue it"
    assert refused.stderr.count(message) == 2, "once for each attempt"
    assert sorted(path.name for path in state_folder(out).iterdir()) == before
    assert not out.exists()


def wait_for_state(states: Path, step: int) -> None:
    """Wait until a state of so many steps is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(int(path.name.removeprefix("step-")) >= step for path in states.glob("step-*")):
            return
        time.sleep(0.002)
    raise AssertionError(f"{states}: no state of step {step}")


def pair(source: str, arguments: Sequence[str] = ()) -> list[subprocess.CompletedProcess[str]]:
    """Run a program in two processes of one group, without torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            env=environment(ROOT, RANK=str(rank), LOCAL_RANK=str(rank), **group),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    ended = [process.communicate(timeout=120) for process in running]
    return [
        subprocess.CompletedProcess([], process.returncode, out, errors)
        for process, (out, errors) in zip(running, ended, strict=True)
    ]


TWO_SEEDS = """
import os, sys
from twofold.cli import main
sys.argv = ["twofold", *sys.argv[1:], "--seed", os.environ["RANK"]]
main()
"""


def test_processes_with_other_commands_are_told_so_once(
    prepared: Path, plain: TrainingConfig, tmp_path: Path
) -> None:
    given = command(prepared, tmp_path / "model", plain)[1:]
    first, second = pair(TWO_SEEDS, given)
    assert (first.returncode, second.returncode) == (2, 2)
    assert first.stderr.startswith("twofold: process 1 has seed=1, process 0 0: give all the same")
    assert first.stderr.count("\n") == 1
    assert second.stderr == ""
    assert not (tmp_path / "model").exists()


SUMS = """
import os, torch
from twofold.cluster.processes import joined
from twofold.records import InputError

def tell(error):
    raise InputError(error)

rank = int(os.environ["RANK"])
with joined("cpu") as processes:
    dense, large, rows, one, never = (
        torch.nn.Parameter(torch.zeros(*shape)) for shape in
        [(3,), (1100, 1000), (4, 2), (2,), (2,)])
    dense.grad, large.grad = torch.full((3,), rank + 1.0), torch.full(large.shape, rank + 1.0)
    if rank:
        one.grad = torch.ones(2)
    places = torch.tensor([[1, 3] if rank else [3]])
    rows.grad = torch.sparse_coo_tensor(places, torch.ones(places.shape[1], 2), (4, 2))
    sums = torch.tensor([1.0 + rank])
    parameters = [dense, large, rows, one, never]
    assert processes.all_reduce_gradients(parameters, sums).tolist() == [3.0]
    assert dense.grad.tolist() == [3.0] * 3
    assert (large.grad == 3).all()
    assert rows.grad.is_sparse
    assert rows.grad.to_dense().tolist() == [[0, 0], [1, 1], [0, 0], [2, 2]]
    assert one.grad.tolist() == [1.0, 1.0]
    assert never.grad is None
    if rank == 0:
        rows.grad = None
    processes.all_reduce_gradients(parameters, sums)
    assert rows.grad.to_dense().tolist() == [[0, 0], [1, 1], [0, 0], [2, 2]]
    shared = torch.full((2,), float(rank))
    processes.broadcast([shared])
    assert shared.tolist() == [0.0, 0.0]
    assert processes.all_gather(lambda: rank) == [0, 1]
    assert processes.on_rank_zero(lambda: rank) == 0
    for wrong in (lambda: rank and tell("second"), lambda: rank or tell("first")):
        try:
            processes.all_gather(wrong)
        except InputError as error:
            print(error, flush=True)
    try:
        processes.on_rank_zero(lambda: tell("once"))
    except InputError as error:
        print(error, flush=True)
print("done", rank)
"""


def test_gradients_are_summed_and_errors_reach_all() -> None:
    for rank, done in enumerate(pair(SUMS)):
        assert done.stdout.split("\n")[:4] == ["second", "first", "once", f"done {rank}"], done


LEFT = """
from pathlib import Path
import torch
from twofold.cluster.processes import joined

with joined("cpu") as processes:
    torch.use_deterministic_algorithms(True)  # loads what takes the group as a default
    processes.all_gather(lambda: 1)
names = [place.read_text().strip() for place in Path("/proc/self/task").glob("*/comm")]
print([name for name in names if "gloo" in name])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads have no names here")
def test_a_group_that_is_left_leaves_no_thread() -> None:
    """A thread of it that runs when Python ends aborts the process, after all its work."""
    for process in pair(LEFT, []):
        assert process.returncode == 0, process.stderr
        assert process.stdout.strip() == "[]"


def test_a_batch_in_micro_batches_has_the_gradients_of_the_whole(
    catalog: PreparedDataset, alone: Path, plain: TrainingConfig, tmp_path: Path
) -> None:
    processes = Processes(gradient_accumulation_steps=3)
    out = tmp_path / "model"
    train(catalog, "joint", out=out, config=plain, device="cpu", processes=processes)
    assert largest_difference(alone, out) < TOLERANCE


def test_the_micro_batches_of_a_batch_share_its_negatives(
    catalog: PreparedDataset, plain: TrainingConfig, tmp_path: Path
) -> None:
    config = plain.model_copy(
        update={"full_softmax_max_codes": 0, "num_negatives": 7, "max_steps": 8}
    )
    outs = [tmp_path / "one", tmp_path / "three"]
    for out, processes in zip(outs, (ALONE, Processes(3)), strict=True):
        train(catalog, "joint", out=out, config=config, device="cpu", processes=processes)
    assert largest_difference(*outs) < TOLERANCE


def test_more_micro_batches_than_a_batch_has_sequences_are_refused(
    catalog: PreparedDataset, plain: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="1 processes with 9 micro-batches each"):
        train(
            catalog, "joint", out=tmp_path / "m", config=plain, device="cpu",
            processes=Processes(9),
        )  # fmt: skip


def test_without_a_launcher_a_process_is_alone() -> None:
    group = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert is_launched(group)
    assert not is_launched({})
    with joined("cpu") as processes:
        assert (processes.rank, processes.world_size, processes.micro_batches) == (0, 1, 1)
    assert not torch.distributed.is_initialized()
