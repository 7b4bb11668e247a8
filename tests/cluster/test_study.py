"""A study on a Ray cluster: the same numbers, and what happens when a worker is lost."""

import logging
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMAND
from tests.studies.made_units import Part, dies, log, meets, mistaken
from tests.studies.plans import study_plan
from twofold import artifact
from twofold.cluster.machines import LOSSES
from twofold.cluster.study import RayExecutor
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.plan_file import begin
from twofold.studies.study import study
from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.pool import Resources, Workload, run_units
from twofold.studies.workers.units import Unit
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset
from twofold.training.config import resolve_config

SETTINGS = ("backbone=decoder:tiny", "max_steps=60", "text_vocab_size=400", "precision=float32")


def tells(
    part: Part, context: StudyContext, found: Mapping[Unit, Any]
) -> tuple[int, Path, list[Any]]:
    log(part)
    return len(context.dataset.catalog), Path.cwd(), [found[need] for need in part.needs]


def dies_once(part: Part, _context: StudyContext, _found: Mapping[Unit, Any]) -> str:
    begun = Path(part.folder) / "begun"
    if not begun.exists():
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "the second worker"


@pytest.fixture
def context(catalog: PreparedDataset, tmp_path: Path) -> StudyContext:
    folder, plan = StudyFolder(tmp_path / "out"), study_plan()
    begin(folder, plan, resume=False)
    return StudyContext(catalog, {}, folder, "cpu", plan)


def _run(context: StudyContext, *parts: Part) -> dict[Unit, Any]:
    with RayExecutor().pool(context, Resources(2, 1)) as pool:
        return dict(run_units(parts, context, pool, {}))


@pytest.mark.usefixtures("driver")
def test_units_run_at_once_on_the_cluster_and_log_through_the_study(
    context: StudyContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    first, second = (Part(name, meets, folder=str(meeting)) for name in ("one", "two"))
    last = Part("seed 3", tells, needs=(first, second))
    with caplog.at_level(logging.INFO, "twofold"):
        found = _run(context, last)
    assert found[last] == (60, Path.cwd(), [True, True])
    own = [record for record in caplog.records if record.name == "twofold.made"]
    assert [record.getMessage() for record in own] == ["seed 3: 40 % of seed 3"]


@pytest.mark.usefixtures("driver")
def test_a_lost_worker_s_unit_is_continued_by_another(
    context: StudyContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unit = Part("seed 0", dies_once, folder=str(tmp_path))
    with caplog.at_level(logging.INFO, "twofold"):
        assert _run(context, unit) == {unit: "the second worker"}
    assert "seed 0: its worker was lost, another continues it" in caplog.text
    with pytest.raises(
        InputError, match=f"seed 1: has lost {LOSSES + 1} workers.*--resume"
    ) as said:
        _run(context, Part("seed 1", dies))
    assert "\n" not in str(said.value)


@pytest.mark.usefixtures("driver")
def test_a_mistake_is_the_study_s_and_a_machine_must_see_its_folder(
    context: StudyContext, catalog: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="3 is no film"):
        _run(context, Part("one", mistaken))
    elsewhere = StudyContext(catalog, {}, StudyFolder(tmp_path / "not here"), "cpu", context.plan)
    with pytest.raises(InputError, match=r"not here: is not accessible on .* storage that all"):
        _run(elsewhere, Part("one", tells))


@pytest.mark.usefixtures("driver")
def test_workers_fill_the_cluster_and_never_more_than_it_has(catalog: PreparedDataset) -> None:
    allocate = RayExecutor().allocate
    assert allocate(Workload(None, None, 6, catalog)) == Resources(2, 1)
    assert allocate(Workload(None, 2, 6, catalog)) == Resources(1, 2)
    assert allocate(Workload(None, None, 1, catalog)) == Resources(1, 1)
    assert allocate(Workload(5, None, 6, catalog)) == Resources(5, 1)
    with pytest.raises(InputError, match=r"\(3 of CPU, .*fewer --threads"):
        allocate(Workload(None, 3, 6, catalog))
    with pytest.raises(InputError, match="1 of GPU"):
        allocate(Workload(None, None, 6, catalog, "cuda"))


def test_a_study_on_the_cluster_has_the_digits_of_one_machine_though_a_worker_is_killed(
    cluster: str, catalog: PreparedDataset, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "prepared")
    command = [*COMMAND, "cluster", "study", "prepared", "--out", "there", "--seeds", "1"]
    command += ["--address", cluster, "--budget", "quick", "--tune", "none", "--device", "cpu"]
    command += ["--text", "without"]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said, killed = [], False
        for line in process.stderr:
            said.append(line)
            if not killed and ": joint: step " in line:
                killed = _kill_a_worker()
    assert process.returncode == 0, "".join(said)
    assert killed
    assert any("its worker was lost, another continues it" in line for line in said)

    alone, there = StudyFolder(tmp_path / "alone"), StudyFolder(tmp_path / "there")
    config = resolve_config("quick", None, SETTINGS)
    one: dict[str, Any] = {
        "seeds": 1,
        "budget": "quick",
        "tune": 0,
        "threads": 1,
        "workers": 1,
        "device": "cpu",
    }
    one["text"] = "without"
    study(catalog, out=alone.path, config=config, **one)
    assert _numbers(there) == _numbers(alone)
    assert there.per_request.read_bytes() == alone.per_request.read_bytes()
    models = sorted(path.relative_to(alone.path) for path in alone.path.glob("models/*/*"))
    assert len(models) == 5
    for model in models:
        own = (artifact.read_json(root.path / model / "manifest.json") for root in (alone, there))
        assert next(own)["files"] == next(own)["files"]


def _numbers(folder: StudyFolder) -> dict[str, Any]:
    result = artifact.read_json(folder.result)
    del result["stamp"]["command"]
    return dict(result)


def _kill_a_worker() -> bool:
    """Kill one process of Ray that trains."""
    for process in Path("/proc").glob("[0-9]*"):
        if (process / "cmdline").read_bytes().startswith(b"ray::_messages"):
            os.kill(int(process.name), signal.SIGKILL)
            return True
    return False
