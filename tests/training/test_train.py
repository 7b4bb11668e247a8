"""The recipe: same bits twice, same bits after a kill, honest refusals."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.builds import count_builds
from tests.conftest import WriteFolder
from twofold import artifact
from twofold.encoders.sentence import SentenceEncoder
from twofold.records import InputError, Request
from twofold.retrieval.generative import load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.schedule import learning_rate
from twofold.training.start import assign_identifiers
from twofold.training.train import train
from twofold.training.validation import mean_value

WEIGHTS = "backbone/model.safetensors"


def _weights(folder: Path) -> str:
    return artifact.load(folder, "model")["files"][WEIGHTS]


def test_the_same_command_gives_the_same_bits(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path, tmp_path: Path
) -> None:
    train(catalog, "joint", out=tmp_path / "again", config=quick_config, device="cpu")
    assert artifact.load(tmp_path / "again", "model") == artifact.load(model_folder, "model")
    train(catalog, "joint", out=tmp_path / "other", config=quick_config, device="cpu", seed=1)
    assert _weights(tmp_path / "other") != _weights(model_folder)


def test_a_training_builds_examples_and_requests_once(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = quick_config.model_copy(update={"max_steps": 2, "identifiers": "semantic"})
    built = count_builds(monkeypatch)
    train(dataclasses.replace(catalog), "joint", out=tmp_path / "m", config=config, device="cpu")
    assert ("build_examples", "search") in built
    assert len(built) == len(set(built))


def test_training_learns(model_folder: Path) -> None:
    curve = load_model(model_folder).model.stamp.curve
    losses = [point["loss"] for point in curve]
    part = max(1, len(losses) // 4)
    assert sum(losses[-part:]) < sum(losses[:part])


COMMAND = """
import sys, torch
torch.set_num_threads(1)
from twofold.tasks.storage import load_dataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train
config = TrainingConfig.model_validate_json(sys.argv[3])
train(load_dataset(sys.argv[1]), "joint", out=sys.argv[2], config=config, device="cpu",
      resume=True)
"""


def _start(dataset: Path, out: Path, config: TrainingConfig) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", COMMAND, str(dataset), str(out), config.model_dump_json()]
    return subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _kill_after_state(process: subprocess.Popen[bytes], state: Path, update: int) -> None:
    """Kill the process as soon as a state of at least `update` updates stands."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        found = [int(p.name.removeprefix("step-")) for p in state.glob("step-*")]
        if found and max(found) >= update:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()


def test_killed_and_resumed_training_ends_with_the_same_bits(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path, tmp_path: Path
) -> None:
    from twofold.tasks.storage import save_dataset

    save_dataset(catalog, tmp_path / "dataset")
    out = tmp_path / "model"
    state = tmp_path / ".model.training"
    for update in (10, 30):
        _kill_after_state(_start(tmp_path / "dataset", out, quick_config), state, update)
        assert not out.exists()
    assert _start(tmp_path / "dataset", out, quick_config).wait() == 0
    assert not state.exists()
    assert artifact.load(out, "model") == artifact.load(model_folder, "model")


def test_a_finished_model_is_not_trained_again(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path
) -> None:
    before = (model_folder / artifact.MANIFEST).stat().st_mtime_ns
    train(catalog, "joint", out=model_folder, config=quick_config, device="cpu", resume=True)
    assert (model_folder / artifact.MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="exists and is not empty"):
        train(catalog, "joint", out=model_folder, config=quick_config, device="cpu")


def test_a_training_goes_on_only_as_it_was_started(
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


def test_without_validation_requests_the_last_checkpoint_is_kept(
    write_folder: WriteFolder, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    folder = write_folder(
        interactions="user_id,item_id\nu,a\nu,b\nv,b\nv,c\n", queries=None, qrels=None
    )
    config = quick_config.model_copy(update={"patience": 0.01})
    dataset = load_dataset(folder)
    found = train(dataset, "recommendation", out=tmp_path / "m", config=config, device="cpu")
    assert found.model.stamp.best_step == found.model.stamp.max_steps == 40


def test_a_plain_arm_makes_joints_passes_and_a_control_its_updates(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path, tmp_path: Path
) -> None:
    from twofold.studies.arms import ARMS

    joint = load_model(model_folder).model.stamp
    budgets, cadences = {}, {joint.curve[0]["step"]}
    for arm in ARMS:
        if arm.name == "joint":
            continue
        config = quick_config.model_copy(update={"patience": 9.0})
        out = tmp_path / arm.name
        stamp = train(catalog, arm, out=out, config=config, device="cpu").model.stamp
        budgets[arm.name] = stamp.max_steps
        if not arm.step_matched:
            assert stamp.epochs == pytest.approx(joint.epochs, rel=0.1)
        cadences.add(stamp.curve[0]["step"])
    assert budgets["search-step-matched"] == joint.max_steps == 40
    assert len(cadences) == 1
    assert min(budgets.values()) >= 10 * cadences.pop(), "every arm looks ten times"
    assert budgets["search"] + budgets["recommendation"] == pytest.approx(40, abs=1)


def test_the_best_checkpoint_is_the_one_that_is_kept(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    # Its weight is chosen after the checkpoint.
    config = quick_config.model_copy(update={"hybrid": "none"})
    found = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    stamp = found.model.stamp
    values = [
        mean_value(load_model(tmp_path / "m"), catalog.task(task).requests("validation"))
        for task in catalog.tasks
    ]
    assert sum(values) / 2 == pytest.approx(stamp.best_value)
    assert max(entry["value"] for entry in stamp.curve) == stamp.best_value


def test_patience_ends_a_training_early(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(
        update={"max_steps": 400, "min_validations": 400, "patience": 0.01, "learning_rate": 1e-9}
    )
    stamp = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.steps < 60


def test_sampled_softmax_trains(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"full_softmax_max_codes": 10, "num_negatives": 20})
    stamp = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.loss == "sampled softmax, 20 negatives"
    assert stamp.curve[-1]["value"] > 0


def test_a_catalog_without_text_trains_for_recommendation(
    write_folder: WriteFolder, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    folder = write_folder(items="item_id,title\na,\nb,\nc,\nd,\ne,\n", queries=None, qrels=None)
    dataset = load_dataset(folder)
    model = train(dataset, "recommendation", out=tmp_path / "m", config=quick_config, device="cpu")
    assert [answer.title for answer in model.recommend(["a"], 2)] == [
        answer.item_id for answer in model.recommend(["a"], 2)
    ]
    with pytest.raises(InputError, match="the arm joint needs queries with qrels"):
        train(dataset, "joint", out=tmp_path / "j", config=quick_config)


def test_an_unreachable_backbone_says_what_to_do(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"backbone": "google/flan-t5-none"})
    with pytest.raises(InputError, match=r"backbone 'google/flan-t5-none': .*give its folder"):
        train(catalog, "joint", out=tmp_path / "m", config=config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("colour=red",), "setting 'colour': there is no such setting; the settings are backbone,"),
        (("updates=4",), "setting 'updates': there is no such setting; .*, max_steps, "),
        (("max_steps=0",), "setting 'max_steps': Input should be greater than or equal to 1"),
        (("max_steps",), "--set 'max_steps': write it as KEY=VALUE"),
    ],
)
def test_settings_are_checked(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_config("quick", settings=settings)


def test_the_defaults_are_the_preset_standard() -> None:
    assert TrainingConfig() == resolve_config() == resolve_config("standard")


def test_weights_are_given_by_name_as_json() -> None:
    given = 'source_weights={"search": 0.2, "recommendation": 0.8}'
    config = resolve_config("quick", None, (given,))
    assert config.source_weights == {"search": 0.2, "recommendation": 0.8}
    with pytest.raises(InputError, match=r"source_weights=.* not a JSON object"):
        resolve_config("quick", None, ("source_weights={search: 1}",))


def test_epochs_stand_in_for_updates(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"epochs": 2.0, "patience": 9.0})
    stamp = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.epochs == pytest.approx(2.0)
    assert stamp.max_steps == stamp.steps != quick_config.max_steps


def test_a_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"max_steps": 7, "dropout": 0.1}))
    config = resolve_config("quick", file=path, settings=("dropout=0.4",), backbone="t5:tiny")
    assert (config.max_steps, config.dropout, config.backbone) == (7, 0.4, "t5:tiny")
    path.write_text("[1]")
    with pytest.raises(InputError, match="must hold a JSON object"):
        resolve_config("quick", file=path)


def test_a_training_that_diverges_says_so(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0})
    with pytest.raises(InputError, match="training diverged"):
        train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")


def test_the_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [learning_rate(n, 100, 0.1) for n in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_training_leaves_the_callers_random_state_alone(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    config = quick_config.model_copy(update={"max_steps": 2, "min_validations": 1})
    train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_arms_need_their_tasks(catalog: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--arm 'both': there is search, recommendation, joint"):
        train(catalog, "both", out=tmp_path / "m")
    with pytest.raises(InputError, match="--device 'tpu': not usable here"):
        train(catalog, "joint", out=tmp_path / "m", device="tpu")
    one_side = dataclasses.replace(catalog, queries=catalog.queries.clear())
    with pytest.raises(InputError, match="or use --arm recommendation"):
        train(one_side, "search", out=tmp_path / "m")


@pytest.mark.parametrize("backbone", ["decoder:tiny", "t5:tiny"])
@pytest.mark.parametrize("space", ["shared", "separate", "shared-prefix"])
def test_semantic_ids_train_save_and_answer(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    backbone: str,
    space: str,
) -> None:
    changes = {"backbone": backbone, "identifiers": "semantic", "id_space": space, "max_steps": 12}
    config = TrainingConfig.model_validate(quick_config.model_dump() | changes)
    trained = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    made = trained.model.stamp.identifiers
    assert made["kind"] == "semantic"
    assert made["space"] == space
    assert trained.model.stamp.targets["search"] == sum(
        len(example.targets) for example in catalog.task("search").examples
    ), "items are counted, not their codes"
    requests = [
        Request("query", query="dark western film"),
        Request("history", history=("film-1", "film-2"), exclude=frozenset(["film-3"])),
        Request("both", query="wedding", history=("film-9",)),
    ]
    loaded = load_model(tmp_path / "m")
    items = len(catalog.catalog)
    for request_id, ranking in trained.retrieve(requests, items).rankings.items():
        found = loaded.retrieve(requests, items)[request_id]
        assert found.item_ids == ranking.item_ids
        assert len(set(found.item_ids)) == items - (request_id == "history")


def test_semantic_ids_come_from_the_sentence_encoder_that_is_asked_for(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
) -> None:
    semantic = quick_config.model_copy(
        update={"identifiers": "semantic", "id_embeddings": "search", "max_steps": 4}
    )
    config = semantic.model_copy(update={"text_encoder": f"tfidf+{sentence_encoder.name}"})
    kept = tmp_path / "encoders"
    named = assign_identifiers(catalog, config, kept)
    assert artifact.is_complete(kept / "search"), "tuned on the task's pairs"
    assert named.spaces.digest != assign_identifiers(catalog, semantic, kept).spaces.digest
    model = train(catalog, "joint", out=tmp_path / "model", config=config, device="cpu").model
    assert model.vocabulary.spaces.digest == named.spaces.digest
    assert {path.name for path in tmp_path.iterdir()} == {"encoders", "model"}
