"""How the arms of a study are trained and judged."""

from pathlib import Path

import polars as pl
import pytest

from twofold import artifact
from twofold.records import TASKS
from twofold.retrieval.generative import load_model
from twofold.studies.arms import ARMS
from twofold.studies.folder import StudyFolder
from twofold.studies.scores import model_stamp
from twofold.studies.trainings import ArmTraining, run_arms
from twofold.tasks.evaluate import KIND, evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig
from twofold.training.state import state_folder
from twofold.training.train import train

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
    """Two kinds of evaluations of the same models."""
    path = tmp_path_factory.mktemp("trainings")
    transfer = StudyFolder(path, judged_as="-with-text")
    run_arms(catalog, ARMS, StudyFolder(path), SEED, ArmTraining(config, "cpu"), transfer)
    return StudyFolder(path)


def test_for_transfer_joint_is_judged_at_each_tasks_own_best_checkpoint(
    folder: StudyFolder, catalog: PreparedDataset, config: TrainingConfig, tmp_path: Path
) -> None:
    judged = StudyFolder(folder.path, judged_as="-with-text").evaluation("joint", SEED)
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
    transfer = StudyFolder(folder.path, judged_as="-with-text")
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
    run_arms(catalog, plain, own, SEED, training, own)
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
    run_arms(catalog, [*plain, joint], own, SEED, training, own)
    assert artifact.load(place, "model") == before
    names = sorted(path.parent.name for path in tmp_path.glob("evaluations/*/seed-0"))
    assert names == [f"{arm}-from-behaviour" for arm in ("joint", "recommendation", "search")]
    assert not state_folder(place).exists()
