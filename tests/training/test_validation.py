"""Which checkpoint is kept, and by which value."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import WriteFolder
from tests.training.measured import values_of
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training import validation
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.train import train
from twofold.training.validation import Validation, validation_requests

CONFIG = resolve_config("quick")


def test_without_validation_requests_the_last_checkpoint_is_kept(
    write_folder: WriteFolder, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    folder = write_folder(
        interactions="user_id,item_id\nu,a\nu,b\nv,b\nv,c\n", queries=None, qrels=None
    )
    dataset = load_dataset(folder)
    found = train(dataset, "recommendation", out=tmp_path / "m", config=quick_config)
    assert found.model.stamp.best_step == found.model.stamp.max_steps == 40


def test_the_best_checkpoint_is_the_one_that_is_kept(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    # Its weight is chosen after the checkpoint.
    config = quick_config.model_copy(update={"hybrid": "none"})
    found = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    stamp = found.model.stamp
    values = [
        values_of(load_model(tmp_path / "m"), catalog.task(task).requests("validation")).mean()
        for task in catalog.tasks
    ]
    assert sum(values) / 2 == pytest.approx(stamp.best_value)
    assert max(entry["value"] for entry in stamp.curve) == stamp.best_value


def test_a_joint_value_is_the_mean_over_tasks_of_what_the_reference_divides(
    catalog: PreparedDataset, retriever: GenerativeRetriever, quick_config: TrainingConfig
) -> None:
    judged = validation_requests(catalog, NAMED_ARMS["joint"], {}, quick_config, seed=0)
    search, recommendation = (values_of(retriever, requests).mean() for requests in judged)
    assert search > 0
    values = Validation(retriever, judged, {"search": 0.5}).on_all()
    assert (values["search"], values["recommendation"]) == (search, recommendation)
    assert values["value"] == pytest.approx((search / 0.5 + recommendation) / 2)


def test_the_sample_is_a_part_of_all_requests_and_costs_less(
    catalog: PreparedDataset, retriever: GenerativeRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    (judged,) = validation_requests(catalog, NAMED_ARMS["recommendation"], {}, CONFIG, seed=0)
    assert not Validation(retriever, [judged], {}).has_more
    whole = values_of(retriever, judged).mean()
    monkeypatch.setattr(validation, "_SAMPLE", validation._Size(20, 0.0))
    divided = Validation(retriever, [judged], {})
    assert divided.has_more
    assert divided.sample_cost < divided.cost / 2
    assert divided.on_all()["value"] == pytest.approx(whole)
    assert divided.on_sample()["value"] != whole


def test_larger_parts_hold_the_smaller_ones(
    catalog: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (judged,) = validation_requests(catalog, NAMED_ARMS["recommendation"], {}, CONFIG, seed=0)

    def parts(sample: int, most: int, trial: int) -> list[set[str]]:
        for name, fewest in (("_SAMPLE", sample), ("_ALL", most), ("_TRIAL", trial)):
            monkeypatch.setattr(validation, name, validation._Size(fewest, 0.0))
        divided = validation._divided(judged, items=0)
        return [{request.request_id for request in part.requests} for part in divided]

    small, large = parts(10, 20, 30), parts(20, 30, 40)
    assert [len(part) for part in (*small, *large)] == [10, 10, 10, 20, 10, 10]
    assert small[0] | small[1] == large[0]
    assert not small[0] & small[1]
    assert len(parts(10, len(judged.requests), 5000)) == 2


def test_short_histories_are_cheap_and_more_of_them_are_asked(catalog: PreparedDataset) -> None:
    (judged,) = validation_requests(catalog, NAMED_ARMS["recommendation"], {}, CONFIG, seed=0)
    many = [
        replace(request, request_id=f"{request.request_id}-{copy}", history=request.history[:2])
        for request in judged.requests
        for copy in range(100)
    ]
    long = [replace(request, history=request.history * 40) for request in many]
    asked = [
        [len(part.requests) for part in validation._divided(replace(judged, requests=own), 1000)]
        for own in (many, long)
    ]
    assert asked[0][0] > 1.3 * asked[1][0] >= 1.3 * 350
    assert sum(asked[0]) > sum(asked[1])


def test_a_validation_asks_no_more_requests_than_the_setting_allows(
    catalog: PreparedDataset, quick_config: TrainingConfig
) -> None:
    config = quick_config.model_copy(update={"max_validation_requests": 3})
    for arm in NAMED_ARMS.values():
        judged = validation_requests(catalog, arm, {}, config, seed=0)
        assert [requests.task for requests in judged] == list(arm.tasks)
        assert all(len(requests.requests) == 3 for requests in judged)
