"""The loop: when it stops, what it refuses, what it leaves alone."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import WriteFolder
from twofold import artifact
from twofold.model.backbone import Backbone
from twofold.model.checkpoint import load_model_folder
from twofold.model.stamp import Stamp
from twofold.model.vocabulary import Vocabulary
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training import loop, schedule, validation
from twofold.training.config import TrainingConfig
from twofold.training.loop import Job
from twofold.training.schedule import Costs, Schedule
from twofold.training.state import Progress, Trained, load_candidate, load_weights, state_folder
from twofold.training.train import train


def test_patience_ends_a_training_early(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(
        update={"max_steps": None, "patience": 0.01, "learning_rate": 1e-9}
    )
    stamp = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.ended_by == "patience"
    assert 100 < stamp.steps < 200
    assert stamp.max_steps is None


def test_a_training_that_diverges_says_so(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    says = (
        r"at step \d+: training diverged with learning_rate=1e\+30; lower it: --set learning_rate="
    )
    with pytest.raises(InputError, match=says):
        train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")


def test_after_it_diverged_the_command_is_given_again_with_a_lower_rate(
    quick_config: TrainingConfig, write_folder: WriteFolder, tmp_path: Path
) -> None:
    dataset = load_dataset(write_folder())
    update: dict[str, object] = {"max_steps": 30, "warmup_steps": 15}
    config = quick_config.model_copy(update={**update, "learning_rate": 1e8})
    with pytest.raises(InputError, match=r"lower it: --set learning_rate=0\.001"):
        train(dataset, "joint", out=tmp_path / "m", config=config, device="cpu")
    config = quick_config.model_copy(update={**update, "learning_rate": 1e-3})
    train(dataset, "joint", out=tmp_path / "m", config=config, device="cpu")


@pytest.mark.parametrize("events", [2, 4])
def test_a_last_step_that_diverges_leaves_no_model(
    quick_config: TrainingConfig, write_folder: WriteFolder, tmp_path: Path, events: int
) -> None:
    """The loss of the only step is finite, and what it makes of the weights is not."""
    rows = [f"u{user},{item},{n}" for user in range(5) for n, item in enumerate("abcde"[:events])]
    text = "\n".join(["user_id,item_id,timestamp", *rows]) + "\n"
    dataset = load_dataset(write_folder(interactions=text, queries=None, qrels=None))
    config = quick_config.model_copy(
        update={"learning_rate": 3e38, "warmup_steps": 0, "max_steps": 1}
    )
    with pytest.raises(InputError, match="training diverged with learning_rate=3e"):
        train(dataset, "recommendation", out=tmp_path / "m", config=config, device="cpu")
    assert not (tmp_path / "m").exists()


def test_a_training_without_validation_requests_says_so(
    quick_config: TrainingConfig,
    write_folder: WriteFolder,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = "user_id,item_id,timestamp\n" + "".join(
        f"u{n},{pair[0]},1\nu{n},{pair[1]},2\n" for n, pair in enumerate(["ab", "bc", "cd", "de"])
    )
    dataset = load_dataset(write_folder(interactions=rows, queries=None, qrels=None))
    config = quick_config.model_copy(update={"max_steps": 4})
    train(dataset, "recommendation", out=tmp_path / "m", config=config, device="cpu")
    assert "no validation request, so the last weights are kept" in caplog.text


def test_training_leaves_the_callers_random_state_alone(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    config = quick_config.model_copy(update={"max_steps": 2})
    train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("sampled", [False, True])
def test_a_training_that_pauses_ends_with_the_same_bits(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sampled: bool,
) -> None:
    """Also where the item embeddings are learned by rows."""
    whole, paused = loop.run, []
    config = quick_config
    if sampled:
        changes = {"full_softmax_max_codes": 10, "num_negatives": 20}
        config = quick_config.model_copy(update=changes)
        model_folder = tmp_path / "whole"
        train(catalog, "joint", out=model_folder, config=config, device="cpu")

    def in_parts(
        backbone: Backbone, vocabulary: Vocabulary, job: Job, states: Path, _: None
    ) -> Progress:
        for until in (1, 15, 20):
            progress = whole(backbone, vocabulary, job, states, until)
            assert until <= progress.step == progress.curve[-1]["step"]
            paused.append(progress.step)
        return whole(backbone, vocabulary, job, states)

    monkeypatch.setattr(loop, "run", in_parts)
    train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    assert paused[0] < paused[1] <= paused[2] < 40
    assert artifact.load(tmp_path / "m", "model") == artifact.load(model_folder, "model")


def test_time_that_is_over_ends_a_training_and_the_stamp_says_at_which_step(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"max_steps": None, "max_time": 1e-4})
    stamp = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.ended_by == "max_time"
    assert 1 <= stamp.best_step <= stamp.steps == stamp.curve[-1]["step"] < 100


def test_the_checkpoint_at_which_each_task_was_best_is_kept_on_demand(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"hybrid": "none", "max_validation_requests": 60})
    kept, alone = tmp_path / "kept", tmp_path / "alone"
    stamp = train(catalog, "joint", out=kept, config=config, keep_state=True).model.stamp
    other = train(catalog, "joint", out=alone, config=config).model.stamp
    assert artifact.load(kept, "model")["files"] == artifact.load(alone, "model")["files"]
    assert not state_folder(alone).exists()
    steps = {stamp.best_step_of(task) for task in ("search", "recommendation")}
    assert len(steps) == 2, "each task is best at a step of its own, or this shows nothing"
    assert other.best_step == stamp.best_step
    model = load_model_folder(kept, torch.device("cpu"))
    for step in steps:
        load_weights(model.backbone, load_candidate(state_folder(kept), step))
    # A training that ends at that step ends with these weights.
    early = config.model_copy(update={"max_steps": min(steps)})
    stopped = train(catalog, "joint", out=tmp_path / "early", config=early, keep_state=True)
    last = load_candidate(state_folder(tmp_path / "early"), min(steps))
    for name, weight in load_candidate(state_folder(kept), min(steps)).items():
        assert torch.equal(weight, last[name]), name
    assert stopped.model.stamp.steps == min(steps)
    with pytest.raises(InputError, match="has no checkpoint of step 7; remove the model next to"):
        load_candidate(state_folder(kept), 7)


class _ByStep:
    """Validates a model whose only weight is the number of its step."""

    has_more = True

    def __init__(self, model: torch.nn.Module, values: dict[int, dict[str, float]]) -> None:
        self._model, self._values = model, values

    def on_all(self) -> dict[str, float]:
        """The values of the step."""
        return self._values[int(next(self._model.parameters()).item())]


def _compared(names: list[str], on_sample: Mapping[int, tuple[float, ...]]) -> Progress:
    """A progress whose two best checkpoints by each criterion were compared: by value, the sum, and
    by each task. All requests say the reverse of what the sample says."""
    progress, trained, job = _comparison(names, on_sample)
    loop._choose_checkpoint(progress, trained, job)
    return progress


def _comparison(
    names: list[str], on_sample: Mapping[int, tuple[float, ...]]
) -> tuple[Progress, Trained, Job]:
    model = torch.nn.Linear(1, 1, bias=False)
    curve = [
        {"step": step, "value": sum(own), **dict(zip(names, own, strict=True))}
        for step, own in on_sample.items()
    ]
    reverse = {int(p["step"]): {k: 1 - v for k, v in p.items() if k != "step"} for p in curve}
    weights = {step: {"weight": torch.full((1, 1), float(step))} for step in on_sample}
    shapes: Any = SimpleNamespace(names=names)
    plan: Any = SimpleNamespace(candidates=lambda _: 2)
    nothing: Any = None
    by_step: Any = _ByStep(model, reverse)
    job = Job("", shapes, [], nothing, nothing, plan, 0, by_step, {}, each_task=True)
    progress = Progress(step=max(on_sample), curve=curve)
    return progress, Trained(model, nothing, nothing, weights), job


@pytest.mark.parametrize(
    ("on_all", "ended_by"),
    [({100: 0.30, 200: 0.31}, ""), ({100: 0.31, 200: 0.30}, "patience")],
)
def test_patience_ends_no_training_whose_last_weights_are_best_on_all_requests(
    on_all: dict[int, float], ended_by: str
) -> None:
    progress, trained, job = _comparison(["search"], {100: (0.2,), 200: (0.1,)})
    by_step: Any = _ByStep(
        trained.model, {step: {"search": v, "value": v} for step, v in on_all.items()}
    )
    plan = Schedule(Costs(1, 0.1, 0.1), 0, 0.12, 0.5, least_patience=50)
    job = replace(job, validation=by_step, schedule=plan)
    trained.model.load_state_dict({"weight": torch.full((1, 1), 7.0)})
    assert plan.end(progress) == "patience", "on the sample"
    assert loop._end(progress, trained, job) == ended_by
    assert next(trained.model.parameters()).item() == 7, "the weights that are trained stay"
    loop._choose_checkpoint(progress, trained, job)
    assert progress.best_step == max(on_all, key=on_all.__getitem__)


def test_a_training_that_patience_did_not_end_pauses_with_the_same_bits(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validation, "_SAMPLE", validation._Size(2, 0))
    monkeypatch.setattr(schedule, "MOST_LEAST_PATIENCE", 1)
    whole, paused = loop.run, []
    config = quick_config.model_copy(update={"max_steps": 200, "patience": 0.01})
    steps = train(catalog, "search", out=tmp_path / "whole", config=config).model.stamp.steps

    def in_parts(
        backbone: Backbone, vocabulary: Vocabulary, job: Job, states: Path, _: None
    ) -> Progress:
        for until in range(1, steps, 5):
            progress = whole(backbone, vocabulary, job, states, until)
            paused.append(any("on_all" in point for point in progress.curve))
        return whole(backbone, vocabulary, job, states)

    monkeypatch.setattr(loop, "run", in_parts)
    train(catalog, "search", out=tmp_path / "parts", config=config)
    assert any(paused[:-1]), "patience ended on the sample, and not on all requests"
    folders = (tmp_path / "whole", tmp_path / "parts")
    one, other = (artifact.load(folder, "model") for folder in folders)
    assert one == other


def test_what_is_best_on_all_requests_stays_when_the_sample_prefers_later_checkpoints() -> None:
    progress, trained, job = _comparison(["search", "recommendation"], {1: (0.2, 0.1)})
    progress.curve[0] |= {"search_on_all": 0.9, "on_all": 0.9}
    average: Any = SimpleNamespace(update=lambda *_, **__: None, average_parameters=nullcontext)
    trained = replace(trained, average=average)
    later = {"search": 0.3, "recommendation": 0.2, "value": 0.5}
    on_sample: Any = SimpleNamespace(on_sample=lambda: later)
    for progress.step in range(2, 7):
        loop._validate(progress, trained, replace(job, validation=on_sample))
    assert Stamp(**progress.stamped()).best_step_of("search") == 1
    assert 1 in trained.candidates
    progress.curve[0] |= {"on_all": 0.1}
    progress.curve[-1] |= {"on_all": 0.2}
    progress.step = 7
    loop._validate(progress, trained, replace(job, validation=on_sample))
    assert 1 in trained.candidates, "a task has a best checkpoint of its own"


def _has(progress: Progress, key: str) -> set[int]:
    return {int(point["step"]) for point in progress.curve if key in point}


def test_each_task_chooses_among_as_many_candidates_as_an_arm_of_its_own() -> None:
    values = {1: (0.9, 0.0), 2: (0.8, 0.1), 3: (0.0, 0.9), 4: (0.1, 0.8), 5: (0.5, 0.5)}
    joint = _compared(["search", "recommendation"], values)
    assert _has(joint, "search_on_all") == {1, 2}
    assert _has(joint, "recommendation_on_all") == {3, 4}
    assert _has(joint, "on_all") == {1, 5}, "the best by value; of equal ones, the earlier"
    stamp = Stamp(**joint.stamped())
    assert (stamp.best_step_of("search"), stamp.best_step_of("recommendation")) == (2, 4)


def test_a_single_task_is_best_at_the_checkpoint_that_is_kept() -> None:
    alone = _compared(["search"], {1: (0.9,), 2: (0.8,), 3: (0.1,)})
    assert _has(alone, "search_on_all") == _has(alone, "on_all") == {1, 2}
    stamp = Stamp(**alone.stamped())
    assert stamp.best_step_of("search") == stamp.best_step == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these thresholds")
def test_what_a_step_frees_is_not_fetched_from_the_system_again() -> None:
    import resource

    def faults_of_a_step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(25_000) for _ in range(400)]  # 40 MB in blocks of 100 kB
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    loop.keep_freed_memory()
    faults_of_a_step()
    assert min(faults_of_a_step() for _ in range(3)) < 1000, "of 10,000 pages"
    loop.return_memory()
    assert faults_of_a_step() > 5000, "it was returned"
