"""One model trained by two workers of a Ray cluster, one of which is killed."""

import json
import logging
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.commands import mistake, run_here
from twofold import artifact
from twofold.cluster.connection import connected
from twofold.cluster.train import _worker, train_on_ray
from twofold.records import InputError
from twofold.tasks.storage import load_dataset
from twofold.training import loop
from twofold.training.config import TrainingConfig
from twofold.training.train import train

STEPS, KILLED_AT = 24, 15
WITHIN = 20.0
"""The seconds until a training continues. A busy or slow machine, whose first start takes longer,
may take as long as that start, of which a restart is a part."""

# Ray's own, where it imports its part for data.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray[.]data[.]"),
]

learn = loop._learn


def trained(prepared: Path, out: Path, config: TrainingConfig) -> None:
    """Train in a worker; the second one is killed once, at a step after a state."""
    from twofold.cluster.processes import joined

    def watched(backbone: Any, vocabulary: Any, job: loop.Job, step: int, micro_batch: int) -> Any:
        begun, log = out.with_suffix(".killed"), out.with_suffix(f".{job.processes.rank}")
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "time": time.time()}) + "\n")
        if step == KILLED_AT and job.processes.rank == 1 and not begun.exists():
            begun.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return learn(backbone, vocabulary, job, step, micro_batch)

    loop._learn, loop.SAVED_EVERY, loop.SAVING = watched, 0.0, 1e9
    with joined("cpu") as processes:
        data = load_dataset(str(prepared))
        train(
            data, "joint", out=out, config=config, device="cpu", threads=1, resume=True,
            processes=processes,
        )  # fmt: skip
    print("trained by", processes.rank)


@pytest.fixture(scope="module")
def config(quick_config: TrainingConfig) -> TrainingConfig:
    return quick_config.model_copy(update={"max_steps": STEPS})


@pytest.fixture(scope="module")
def whole(
    cluster: str,
    prepared: Path,
    config: TrainingConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What the command trains in two workers."""
    out = tmp_path_factory.mktemp("whole") / "model"
    file = out.with_suffix(".json")
    file.write_text(config.model_dump_json())
    asked = ["cluster", "train", prepared, "--out", out, "--config", file, "--address", cluster]
    done = run_here(*asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}: best at step ")
    assert "exists and is not empty" in mistake(*asked)
    return out


def test_the_command_trains_in_two_processes_and_leaves_the_model_alone(whole: Path) -> None:
    stamp = artifact.read_json(whole / "manifest.json")["config"]["stamp"]
    assert stamp["steps_by_world_size"] == {"2": STEPS}
    names = {path.name for path in whole.parent.iterdir()}
    assert names == {"model", "model.json"}


def test_a_killed_worker_s_training_continues_by_itself_and_ends_on_the_same_bits(
    cluster: str, whole: Path, prepared: Path, config: TrainingConfig, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    with connected(cluster):
        command = partial(trained, prepared, out, config)
        asked = time.time()
        assert train_on_ray(command, out, 2, 1, "cpu", False) == "trained by 0\n"
    files = [artifact.read_json(each / "manifest.json")["files"] for each in (whole, out)]
    assert files[0] == files[1]
    steps = [json.loads(line) for line in out.with_suffix(".1").read_text().splitlines()]
    at = next(i for i in range(1, len(steps)) if steps[i]["step"] <= steps[i - 1]["step"])
    assert steps[at - 1]["step"] == KILLED_AT
    assert steps[at]["step"] > 0, "from the last state"
    again = steps[at]["time"] - steps[at - 1]["time"]
    assert again < max(WITHIN, steps[0]["time"] - asked)


def test_a_training_for_which_there_is_no_room_is_refused(cluster: str, tmp_path: Path) -> None:
    with (
        connected(cluster),
        pytest.raises(InputError, match=r"^--workers 3: .* the cluster has resources for 2 with 1"),
    ):
        train_on_ray(print, tmp_path / "out", 3, 1, "cpu", False)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_returned_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken() -> None:
        print("begun")
        raise InputError("made.csv: 3 is no film; give another")

    monkeypatch.chdir(tmp_path)
    printed, error = _worker({"place": tmp_path, "level": logging.INFO, "command": mistaken})
    assert printed == "begun\n"
    assert str(error) == "made.csv: 3 is no film; give another"
