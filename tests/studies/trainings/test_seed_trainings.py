"""How the arms of a study are trained and judged."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twofold import artifact
from twofold.model.checkpoint import GenerativeModel
from twofold.model.hybrid import HistoryMatch
from twofold.records import TASKS, Task
from twofold.retrieval.generative import load_model
from twofold.studies.arms import ARMS, control_name
from twofold.studies.folder import StudyFolder
from twofold.studies.scores import model_stamp
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.tasks.evaluate import KIND, evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.training import validation
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.config import TrainingConfig
from twofold.training.state import state_folder
from twofold.training.train import train
from twofold.training.tuning.trials import Tuned
from twofold.training.validation import validated_history_match

SEED = 0


def scores_in(place: Path) -> pl.DataFrame:
    artifact.load(place, KIND)
    return pl.read_parquet(place / "per_request.parquet")


@pytest.fixture(scope="module")
def config(quick_config: TrainingConfig) -> TrainingConfig:
    return quick_config.model_copy(update={"hybrid": "after", "max_validation_requests": 60})


@pytest.fixture(scope="module")
def folder(
    catalog: PreparedDataset, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> StudyFolder:
    """Two kinds of evaluations of the same models; for the recommendation arm these are equal."""
    path = tmp_path_factory.mktemp("trainings")
    transfer = StudyFolder(path, evaluated_as="-with-text")
    outputs = SeedOutputs(ARMS, StudyFolder(path), SEED, transfer)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(validation, "validated_history_match", _none_for_recommendation)
        SeedTrainings(catalog, ArmTraining(config, "cpu"), outputs).run_all()
    return StudyFolder(path)


def _none_for_recommendation(
    dataset: PreparedDataset, arm: Arm, model: GenerativeModel, config: TrainingConfig
) -> tuple[HistoryMatch | None, dict[str, Any] | None]:
    """The history match of an arm; the recommendation arms are as if none had gained by it."""
    if arm.tasks == ("recommendation",):
        return None, {"weight": 0.0}
    return validated_history_match(dataset, arm, model, config)


def test_for_transfer_joint_is_judged_at_each_tasks_own_best_checkpoint(
    folder: StudyFolder, catalog: PreparedDataset, config: TrainingConfig, tmp_path: Path
) -> None:
    judged = StudyFolder(folder.path, evaluated_as="-with-text").evaluation("joint", SEED)
    stamp, joint = model_stamp(folder, "joint", SEED), artifact.load(judged, KIND)
    best = {task: stamp.best_step_of(task) for task in TASKS}
    assert joint["config"]["stamp"]["judged_at"] == best
    for task, step in best.items():
        shorter = config.model_copy(update={"max_steps": step, "hybrid": "none"})
        units = {str(name): model_stamp(folder, name, SEED).best_value for name in best}
        out = tmp_path / task
        train(catalog, "joint", out=out, config=shorter, device="cpu", reference=units)
        stopped = load_model(out)
        if stopped.model.stamp.best_step == step:
            own = scores_in(judged).filter(task=task)
            assert own.equals(evaluate(stopped, catalog, [task]).scores)


def test_what_is_deployed_has_one_checkpoint_and_the_hybrid_part(
    folder: StudyFolder, catalog: PreparedDataset
) -> None:
    parts = {}
    for arm in ("joint", "search"):
        retriever = load_model(folder.model(arm, SEED))
        parts[arm] = retriever.model.hybrid
        assert retriever.model.stamp.hybrid is not None, "it was tried"
        deployed = scores_in(folder.evaluation(arm, SEED))
        assert deployed.equals(evaluate(retriever, catalog, NAMED_ARMS[arm].tasks).scores)
    assert any(parts.values())


def test_for_transfer_no_arm_has_a_hybrid_part(folder: StudyFolder) -> None:
    transfer = StudyFolder(folder.path, evaluated_as="-with-text")
    for arm in ARMS:
        own = scores_in(transfer.evaluation(arm.name, SEED))
        deployed = scores_in(folder.evaluation(arm.name, SEED))
        assert own.columns == deployed.columns
        if "search" in arm.tasks:
            with_hybrid, alone = (s.filter(task="search")["value"] for s in (deployed, own))
            assert with_hybrid.mean() != alone.mean()
        else:
            assert own.equals(deployed), "nothing differs there, so nothing is scored twice"


def test_what_was_kept_for_judging_is_removed(folder: StudyFolder) -> None:
    for arm in ARMS:
        assert not state_folder(folder.model(arm.name, SEED)).exists()


def test_a_finished_model_is_judged_for_another_question_as_long_as_its_state_is_there(
    catalog: PreparedDataset, config: TrainingConfig, tmp_path: Path
) -> None:
    """As after a kill between a training and its evaluation."""
    own = StudyFolder(tmp_path, "-from-behaviour", "-from-behaviour")
    silent = config.model_copy(update={"item_texts": "none", "hybrid": "none"})
    plain = [arm for arm in ARMS if not arm.step_matched and len(arm.tasks) == 1]
    joint = next(arm for arm in ARMS if len(arm.tasks) > 1)
    training = ArmTraining(silent, "cpu")
    SeedTrainings(catalog, training, SeedOutputs(plain, own, SEED, own)).run_all()
    units = {arm.name: model_stamp(own, arm.name, SEED).best_value for arm in plain}
    place = own.model("joint", SEED)
    train(
        catalog,
        joint,
        out=place,
        config=silent,
        reference=units,
        histories=False,
        keep_state=True,
        device="cpu",
        seed=SEED,
    )
    before = artifact.load(place, "model")
    SeedTrainings(catalog, training, SeedOutputs([*plain, joint], own, SEED, own)).run_all()
    assert artifact.load(place, "model") == before
    names = sorted(path.parent.name for path in tmp_path.glob("evaluations/*/seed-0"))
    assert names == [f"{arm}-from-behaviour" for arm in ("joint", "recommendation", "search")]
    assert not state_folder(place).exists()


@pytest.fixture
def again(folder: StudyFolder, tmp_path: Path) -> StudyFolder:
    """A copy of the study that a test may change."""
    shutil.copytree(folder.path, tmp_path / "again")
    return StudyFolder(tmp_path / "again")


def test_a_kill_while_an_evaluation_is_copied_leaves_nothing_that_looks_finished(
    again: StudyFolder,
    catalog: PreparedDataset,
    config: TrainingConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transfer = StudyFolder(again.path, evaluated_as="-with-text")
    out, plain = transfer.evaluation("recommendation", SEED), [NAMED_ARMS["recommendation"]]
    whole = scores_in(out)
    shutil.rmtree(out)

    def killed(source: Path, target: Path) -> None:
        target.mkdir()
        shutil.copy(source / artifact.MANIFEST, target)
        raise KeyboardInterrupt

    outputs = SeedOutputs(plain, again, SEED, transfer)
    trainings = SeedTrainings(catalog, ArmTraining(config, "cpu"), outputs)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            trainings.run_all()
    assert not artifact.is_complete(out)
    trainings.run_all()
    assert scores_in(out).equals(whole)


def test_a_state_that_a_kill_left_behind_is_removed(
    again: StudyFolder, catalog: PreparedDataset, config: TrainingConfig
) -> None:
    left = state_folder(again.model("joint", SEED))
    transfer = StudyFolder(again.path, evaluated_as="-with-text")
    outputs = SeedOutputs(ARMS, again, SEED, transfer)
    assert all(map(outputs.is_done, ARMS))
    left.mkdir()
    assert [arm.name for arm in ARMS if not outputs.is_done(arm)] == ["joint"]
    SeedTrainings(catalog, ArmTraining(config, "cpu"), outputs).run_all()
    assert not left.exists()


def _control(task: Task) -> Arm:
    return next(arm for arm in ARMS if arm.name == control_name(task))


@pytest.mark.parametrize(
    ("joint", "plain", "tokens", "steps"),
    [
        (200, 100, 1024, 200),
        (200, 350, 1024, 350),  # else the control would be the shorter one
        (200, 100, 2048, 400),  # as many tokens as joint
        (200, 450, 2048, 450),
        (200, 100, 512, 200),  # no fewer steps either
    ],
)
def test_a_control_is_trained_no_shorter_than_joint_or_the_plain_arm(
    joint: int,
    plain: int,
    tokens: int,
    steps: int,
    catalog: PreparedDataset,
    config: TrainingConfig,
    tmp_path: Path,
) -> None:
    folder = StudyFolder(tmp_path)
    for arm, taken in (("joint", joint), ("search", plain)):
        place = folder.model(arm, SEED)
        place.mkdir(parents=True)
        stamp = {"arm": arm, "steps": taken}
        artifact.seal(place, "model", {"stamp": stamp})
    usual = config.model_copy(update={"batch_tokens": 1024})
    recipe = Tuned(usual.model_copy(update={"batch_tokens": tokens}), 0.5, {})
    training = ArmTraining(usual, tuned={"joint": recipe})
    trainings = SeedTrainings(catalog, training, SeedOutputs(ARMS, folder, SEED))
    assert trainings.matched_steps(_control("search")) == steps
    changed = Arm("joint-changed", TASKS, step_matched=True)
    assert trainings.matched_steps(changed) == joint, "it has joint's recipe"


def test_a_falling_rate_is_never_continued(
    again: StudyFolder,
    catalog: PreparedDataset,
    config: TrainingConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plain arm's rate falls over its own steps, the control's over those of the control."""
    called: list[str] = []
    monkeypatch.setattr(
        SeedOutputs, "continue_plain", lambda _outputs, arm, _steps: called.append(arm.name)
    )
    for schedule, continued in (("constant", 2), ("cosine", 0)):
        called.clear()
        own = config.model_copy(update={"lr_schedule": schedule})
        outputs = SeedOutputs(ARMS, again, SEED)
        SeedTrainings(catalog, ArmTraining(own, "cpu"), outputs).run_all()
        assert len(called) == continued
