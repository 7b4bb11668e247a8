"""A training that was killed resumes to the same bits, and only as it was started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from twofold import artifact
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset
from twofold.training.config import TrainingConfig
from twofold.training.optimizer import AdamW
from twofold.training.state import require_same
from twofold.training.train import train

COMMAND = """
import sys, torch
torch.set_num_threads(1)
from twofold.tasks.storage import load_dataset
from twofold.training import loop
from twofold.training.config import TrainingConfig
from twofold.training.train import train
loop.SAVED_EVERY = 0.0
config = TrainingConfig.model_validate_json(sys.argv[3])
train(load_dataset(sys.argv[1]), "joint", out=sys.argv[2], config=config, device="cpu",
      resume=True)
"""


def _start(dataset: Path, out: Path, config: TrainingConfig) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", COMMAND, str(dataset), str(out), config.model_dump_json()]
    return subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _kill_after_state(process: subprocess.Popen[bytes], state: Path, step: int) -> None:
    """Kill the process as soon as a state of at least `step` steps is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        steps = [int(p.name.removeprefix("step-")) for p in state.glob("step-*")]
        if steps and max(steps) >= step:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()


def test_killed_and_resumed_training_ends_with_the_same_bits(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "dataset")
    out = tmp_path / "model"
    state = tmp_path / ".model.training"
    for step in (10, 30):
        _kill_after_state(_start(tmp_path / "dataset", out, quick_config), state, step)
        assert not out.exists()
    assert _start(tmp_path / "dataset", out, quick_config).wait() == 0
    assert not state.exists()
    assert artifact.load(out, "model") == artifact.load(model_folder, "model")


def test_a_finished_model_with_histories_is_none_without(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path
) -> None:
    with pytest.raises(InputError, match=r"joint: has the users' histories; give another --out"):
        train(
            catalog, "joint", out=model_folder, config=quick_config, device="cpu", resume=True,
            histories=False,
        )  # fmt: skip


def test_a_training_resumes_only_as_it_was_started(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path
) -> None:
    other = quick_config.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(InputError, match=r"started with learning_rate=0.001, not 0.5; repeat"):
        train(catalog, "joint", out=model_folder, config=other, device="cpu", resume=True)
    with pytest.raises(InputError, match="started with seed=0, not 3"):
        train(
            catalog, "joint", out=model_folder, config=quick_config, device="cpu", resume=True,
            seed=3,
        )  # fmt: skip


def test_other_data_are_named_before_the_settings_and_not_by_their_hash(tmp_path: Path) -> None:
    before, now = {"data": "abc", "batch": 1}, {"data": "def", "batch": 2}
    with pytest.raises(InputError, match="was started on other data than the dataset has now"):
        require_same(before, now, tmp_path)
    require_same(now, now, tmp_path)


def _steps(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("step-*")]


def test_a_killed_training_is_not_started_anew_without_a_word(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "dataset")
    out, state = tmp_path / "model", tmp_path / ".model.training"
    process = _start(tmp_path / "dataset", out, quick_config)
    _kill_after_state(process, state, 10)
    kept = _steps(state)
    assert kept
    with pytest.raises(InputError, match=r"add --resume to continue it, or remove .*\.training"):
        train(catalog, "joint", out=out, config=quick_config, device="cpu")
    assert _steps(state) == kept
    with max(state.glob("step-*")).joinpath("weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"remove .*\.training, then run the command again"):
        train(catalog, "joint", out=out, config=quick_config, device="cpu", resume=True)


def test_a_second_process_is_refused_and_the_first_one_ends(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "dataset")
    out, state = tmp_path / "model", tmp_path / ".model.training"
    first = _start(tmp_path / "dataset", out, quick_config)
    deadline = time.monotonic() + 120
    while not _steps(state) and time.monotonic() < deadline:
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)
    try:
        for resume in (False, True):
            with pytest.raises(InputError, match=f"process {first.pid} is writing it; wait"):
                train(catalog, "joint", out=out, config=quick_config, device="cpu", resume=resume)
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert artifact.is_complete(out)
    assert not (tmp_path / ".model.lock").exists()


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_an_empty_folder_is_written_to(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path, exists: bool
) -> None:
    link, elsewhere = tmp_path / "link", tmp_path / "disk" / "elsewhere"
    elsewhere.parent.mkdir()
    if exists:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    config = quick_config.model_copy(update={"max_steps": 2})
    train(catalog, "joint", out=link, config=config, device="cpu")
    assert link.is_symlink()
    assert artifact.is_complete(elsewhere)
    assert artifact.is_complete(link)
    assert train(catalog, "joint", out=link, config=config, device="cpu", resume=True)


def test_the_optimizer_has_the_bits_of_torchs() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(40, 7)), torch.nn.Parameter(torch.randn(7))]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    one = AdamW([(ours[:1], 0.1), (ours[1:], 0.0)])
    groups: list[dict[str, Any]] = [
        {"params": theirs[:1], "weight_decay": 0.1},
        {"params": theirs[1:]},
    ]
    other = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.0, fused=True)
    for step in range(4):
        one.learning_rate = other.param_groups[0]["lr"] = other.param_groups[1]["lr"] = 0.01 * step
        one.zero_grad()
        for own, same in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape)
            same.grad = own.grad.clone()
        one.step()
        other.step()
    assert all(map(torch.equal, ours, theirs))
