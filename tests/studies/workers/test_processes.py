"""Several units of a study at once: the same numbers, and what happens when one is stopped."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import COMMAND
from tests.studies.conftest import SETTINGS
from tests.studies.made_units import Part, dies, log, meets, mistaken
from tests.studies.plans import study_plan
from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.studies.study import study
from twofold.studies.workers import processes as module
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.pool import Resources, SerialPool, Workload, run_units
from twofold.studies.workers.processes import LocalExecutor, ProcessPool, free_memory
from twofold.studies.workers.units import Unit
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig, resolve_config

GIB = 1 << 30


def nothing(
    part: Part, _context: StudyContext, found: Mapping[Unit, Any]
) -> tuple[str, int, list[Any]]:
    return part.name, os.getpid(), [found[need] for need in part.needs]


def logs(part: Part, _context: StudyContext, _found: Mapping[Unit, Any]) -> int:
    log(part)
    return torch.get_num_threads()


class OddError(Exception):
    """Cannot be pickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.held = threading.Lock()


def broken(_part: Part, _context: StudyContext, _found: Mapping[Unit, Any]) -> None:
    raise OddError(1, 2)


@pytest.fixture
def context(catalog: PreparedDataset, tmp_path: Path) -> StudyContext:
    return StudyContext(catalog, {}, StudyFolder(tmp_path / "out"), "cpu", study_plan())


@pytest.fixture
def two(context: StudyContext) -> Any:
    pool = ProcessPool(context, 2)
    yield pool
    pool.close()


def test_units_run_at_once_in_other_processes_and_wait_for_what_they_need(
    two: ProcessPool, context: StudyContext, tmp_path: Path
) -> None:
    first, second = (Part(name, meets, folder=str(tmp_path)) for name in ("one", "two"))
    last = Part("last", nothing, needs=(first, second))
    found: dict[Unit, Any] = {}
    in_order = [unit for unit, _ in run_units([last, Part("done", nothing)], context, two, found)]
    assert in_order[-1] == last
    assert found[first] is found[second] is True, "both were at work at the same time"
    name, process, needed = found[last]
    assert (name, needed) == ("last", [True, True])
    assert process != os.getpid()
    assert list(run_units([last], context, two, found)) == []


def test_the_log_counts_the_units(context: StudyContext, caplog: pytest.LogCaptureFixture) -> None:
    first = Part("first", nothing)
    with caplog.at_level(logging.INFO, "twofold"):
        list(run_units([Part("last", nothing, needs=(first,))], context, SerialPool(context), {}))
    assert caplog.messages == ["first: begins, 1 of 2", "last: begins, 2 of 2"]


def test_this_process_is_a_pool_of_one(context: StudyContext) -> None:
    first = Part("first", nothing)
    found: dict[Unit, Any] = {}
    in_order = list(
        run_units([Part("last", nothing, needs=(first,))], context, SerialPool(context), found)
    )
    assert [unit.name for unit, _ in in_order] == ["first", "last"]
    assert found[first] == ("first", os.getpid(), [])


def test_a_worker_logs_through_the_study_and_has_its_number_of_threads(
    two: ProcessPool, context: StudyContext, caplog: pytest.LogCaptureFixture
) -> None:
    part = Part("seed 3 from behaviour", logs)
    with caplog.at_level(logging.INFO, "twofold"):
        [(_, threads)] = run_units([part], context, two, {})
    assert threads == 1
    own = [record for record in caplog.records if record.name == "twofold.made"]
    assert [record.getMessage() for record in own] == [
        "seed 3 from behaviour: 40 % of seed 3 from behaviour"
    ]


def test_a_mistake_in_a_worker_is_the_study_s(two: ProcessPool, context: StudyContext) -> None:
    with pytest.raises(InputError, match="3 is no film"):
        list(run_units([Part("one", mistaken)], context, two, {}))
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        list(run_units([Part("two", broken)], context, two, {}))


def test_a_killed_worker_is_named_with_the_remedy(two: ProcessPool, context: StudyContext) -> None:
    with pytest.raises(InputError, match=r"seed 2 .*was killed \(SIGKILL\).*--resume") as said:
        list(run_units([Part("seed 2 with item text", dies)], context, two, {}))
    assert "\n" not in str(said.value)


def test_no_worker_outlives_its_study(context: StudyContext) -> None:
    pool = ProcessPool(context, 2)
    [(_, result)] = run_units([Part("one", nothing)], context, pool, {})
    process = pool._workers[0].process
    assert result[1] == process.pid
    pool._workers[0].connection.close()  # as the end of this process would
    assert process.wait(30) == 1
    pool.close()


def test_a_worker_does_not_run_the_user_s_script_again(tmp_path: Path) -> None:
    """A script without a guard, as people write them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import twofold\n"
        "print('once')\n"
        "dataset = twofold.load_dataset('simulate:catalog:films=40,users=40,queries=60')\n"
        "config = twofold.resolve_config('quick', max_steps=2, backbone='decoder:tiny')\n"
        "done = twofold.study(dataset, out='out', seeds=1, config=config, tune=0, device='cpu',\n"
        "                     text='without', threads=1, workers=2)\n"
        "print(sorted(done.verdicts))\n"
    )
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "once\n['recommendation', 'search']\n"


def common(catalog_config: TrainingConfig) -> dict[str, Any]:
    return {"seeds": 2, "config": catalog_config, "tune": 2, "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    return resolve_config("quick", None, tuple(SETTINGS)).model_copy(update={"max_steps": 12})


@pytest.fixture(scope="module")
def alone(
    catalog: PreparedDataset, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> StudyFolder:
    """A study in one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    study(catalog, out=out, workers=1, **common(config))
    return StudyFolder(out)


def test_two_workers_give_the_digits_of_one(
    alone: StudyFolder,
    catalog: PreparedDataset,
    config: TrainingConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    together = StudyFolder(tmp_path / "out")
    with caplog.at_level(logging.INFO, "twofold"):
        study(catalog, out=together.path, workers=2, **common(config))
    assert together.result.read_bytes() == alone.result.read_bytes()
    assert together.per_request.read_bytes() == alone.per_request.read_bytes()
    for model in alone.path.glob("models/*/*/manifest.json"):
        own = together.path / model.relative_to(alone.path)
        assert artifact.read_json(own)["files"] == artifact.read_json(model)["files"]
    said = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("seed 1 from behaviour, joint: joint: step ") for line in said)
    assert any(line.startswith("recipe of search with item text: search, rec") for line in said)


def test_more_seeds_are_trained_where_a_look_wants_them(
    alone: StudyFolder, catalog: PreparedDataset, config: TrainingConfig, tmp_path: Path
) -> None:
    shutil.copytree(alone.path, tmp_path / "out")
    more = {**common(config), "max_seeds": 3, "workers": 2, "resume": True}
    grown = study(catalog, out=tmp_path / "out", **more).result
    assert grown["stamp"]["looks"] == [2, 3]
    assert grown["stamp"]["threads"] == 1


def test_nothing_is_started_where_everything_is_done(
    alone: StudyFolder,
    catalog: PreparedDataset,
    config: TrainingConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_start_worker", lambda: pytest.fail("a worker was started"))
    before = alone.result.read_bytes()
    asked = common(config)
    del asked["threads"]  # as the study had them
    study(catalog, out=alone.path, workers=2, resume=True, **asked)
    assert alone.result.read_bytes() == before
    assert torch.get_num_threads() == 1


def _command(prepared: Path, out: Path) -> list[str]:
    endless = ["max_steps=100000", "patience=100000"]
    settings = [*(setting for setting in SETTINGS if "max_steps" not in setting), *endless]
    command = [
        *COMMAND,
        "study",
        str(prepared),
        "--out",
        str(out),
        "--seeds",
        "2",
        "--tune",
        "none",
    ]
    command += ["--budget", "quick", "--device", "cpu", "--threads", "1", "--workers", "2"]
    return command + [part for setting in settings for part in ("--set", setting)]


def _workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc here")
@pytest.mark.parametrize("stopped", ["Ctrl-C", "SIGKILL of a worker", "SIGKILL"])
def test_a_stopped_study_leaves_no_process_and_says_how_to_resume(
    prepared: Path, tmp_path: Path, stopped: str
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(_command(prepared, out), stderr=subprocess.PIPE, text=True)
    _until(lambda: len(list(out.glob("models/*/.seed-0.training/step-*"))) >= 2, process)
    workers = _workers_of(process)
    assert len(workers) == 2
    if stopped == "SIGKILL of a worker":
        os.kill(workers[1], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGINT if stopped == "Ctrl-C" else signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    last = said.splitlines()[-1]
    if stopped == "Ctrl-C":
        assert process.returncode == 130
        assert last.startswith("interrupted: to continue, run: twofold study ")
        assert last.endswith(" --resume")
    if stopped == "SIGKILL of a worker":
        assert process.returncode == 2
        assert re.fullmatch(r"twofold: seed 0 .*, process \d+, was killed \(SIGKILL\); .*", last)
    assert "Traceback" not in said
    _until(lambda: not any(_is_alive(pid) for pid in workers))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(holds: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_threads_are_shared_by_the_workers_and_never_depend_on_free_memory(
    catalog: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resources(
        workers: int | None, threads: int | None, units: int, device: str = "cpu"
    ) -> Resources:
        return LocalExecutor().allocate(Workload(workers, threads, units, catalog, device))

    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(module, "free_memory", lambda: 100 * GIB)
    assert resources(None, None, 6) == Resources(6, 2)
    assert resources(None, 1, 6) == Resources(6, 1)
    assert resources(None, 4, 6) == Resources(4, 4)
    assert resources(None, None, 100) == Resources(16, 1)
    assert resources(2, None, 6) == Resources(2, 8)
    assert resources(32, None, 6) == Resources(32, 1)
    assert resources(None, None, 6, "cuda") == Resources(1, 16)
    assert resources(2, None, 6, "cuda") == Resources(2, 8)
    monkeypatch.setattr(module, "free_memory", lambda: 5 * GIB // 2)
    assert resources(None, None, 6) == Resources(2, 2)
    monkeypatch.setattr(module, "free_memory", lambda: 0)
    assert resources(None, None, 6) == Resources(1, 2)
    assert resources(3, None, 6) == Resources(3, 5)


def test_free_memory_is_that_of_the_system() -> None:
    assert 0 < free_memory() <= 1 << 62


def test_no_workers_are_no_study(catalog: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--workers 0: at least 1"):
        study(catalog, out=tmp_path / "out", workers=0)
