"""The recipe: same bits twice, same bits after a kill, honest refusals."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.builds import count_builds
from tests.conftest import WriteFolder
from twofold import artifact
from twofold.records import InputError, Request
from twofold.retrieval.generative import load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

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


def test_threads_train_one_after_another_with_the_bits_of_one(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"max_steps": 8, "dropout": 0.3})

    def run(name: str) -> None:
        train(catalog, "search", out=tmp_path / name, config=config, device="cpu")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, ["a", "b", "c"]))
    run("alone")
    assert len({_weights(tmp_path / name) for name in ("a", "b", "c", "alone")}) == 1


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True, 10**10])
@pytest.mark.parametrize("name", ["threads", "steps"])
def test_what_is_no_number_of_threads_or_steps_is_refused(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    name: str,
    number: Any,
) -> None:
    with pytest.raises(InputError, match=f"{name} {number!r}: must be a whole number from 1 to"):
        train(catalog, "search", out=tmp_path / "m", config=quick_config, **{name: number})
    assert not list(tmp_path.iterdir())


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
    # Validation may begin high, as the items start from what the texts and the data say.
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_a_finished_model_is_not_trained_again(
    catalog: PreparedDataset, quick_config: TrainingConfig, model_folder: Path
) -> None:
    before = (model_folder / artifact.MANIFEST).stat().st_mtime_ns
    train(catalog, "joint", out=model_folder, config=quick_config, device="cpu", resume=True)
    assert (model_folder / artifact.MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="exists and is not empty"):
        train(catalog, "joint", out=model_folder, config=quick_config, device="cpu")


def test_sampled_softmax_trains_and_the_log_says_so(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    config = quick_config.model_copy(update={"full_softmax_max_codes": 10, "num_negatives": 20})
    stamp = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu").model.stamp
    assert stamp.loss == "sampled softmax, 20 negatives"
    assert "more than full_softmax_max_codes=10: each step scores 20 negatives" in caplog.text
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
