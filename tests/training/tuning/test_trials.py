"""A recipe is chosen on validation, at a cost that is counted, and with the same digits again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twofold import artifact
from twofold.records import InputError
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.training import loop
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig
from twofold.training.tuning import trials
from twofold.training.tuning.recipes import Recipe
from twofold.training.tuning.trials import Tuned, choose_recipe, rungs, train_tuned

HOPELESS: Recipe = {"item_init": "random", "learning_rate": 1e-7}
SPACE: list[Recipe] = [{}, HOPELESS, {"dropout": 0.3}, {"item_init": "text"}]


def _choose(
    dataset: PreparedDataset,
    folder: Path,
    config: TrainingConfig,
    recipes: list[Recipe] | None = None,
) -> Tuned:
    return choose_recipe(
        dataset, NAMED_ARMS["joint"], folder, config, recipes or SPACE, device="cpu"
    )


def _digits(tuned: Tuned) -> str:
    return json.dumps(tuned.record, sort_keys=True)


@pytest.fixture(scope="module", autouse=True)
def short_rungs() -> Iterator[None]:
    """Rungs of ten and thirty steps; the next validations are after 13 and 32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "_FEWEST", 10)
        patch.setattr(trials, "_MOST", 10)
        yield


@pytest.fixture(scope="module")
def tuned(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Tuned:
    return _choose(catalog, tmp_path_factory.mktemp("tuned"), quick_config)


def test_a_recipe_that_cannot_learn_is_not_chosen_and_costs_one_rung(tuned: Tuned) -> None:
    trials = tuned.record["trials"]
    assert tuned.record["chosen"] != HOPELESS
    assert [trial["rung"] for trial in trials if trial["recipe"] == 1] == [1]
    assert tuned.config.learning_rate == 1e-3
    assert [(trial["rung"], trial["steps"]) for trial in trials] == [(1, 13)] * 4 + [(3, 32)] * 2


def test_what_is_chosen_is_the_best_of_the_last_rung(tuned: Tuned) -> None:
    last = [trial for trial in tuned.record["trials"] if trial["rung"] == 3]
    best = max(last, key=lambda trial: float(trial["value"]))
    assert tuned.record["chosen"] == best["settings"]
    assert tuned.value == best["value"]


def test_a_trial_continues_from_its_own_state(tuned: Tuned) -> None:
    trials: list[dict[str, Any]] = tuned.record["trials"]
    longest = {trial["recipe"]: trial["steps"] for trial in trials}
    assert tuned.record["steps"] == sum(longest.values()) == 2 * 13 + 2 * 32


def test_killed_in_the_midst_and_repeated_it_ends_with_the_same_digits(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tuned: Tuned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, taken, finished = loop._step, 0, 0

    def killing(*arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken in (5, 28, 55):
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(loop, "_step", killing)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            _choose(catalog, tmp_path, quick_config)
        place = tmp_path / "tuning.json"
        done = len(artifact.read_json(place)["trials"]) if place.is_file() else 0
        assert done >= finished
        finished = done
    again = _choose(catalog, tmp_path, quick_config)
    assert _digits(again) == _digits(tuned)
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.json"], "states are removed"
    taken = 1000
    assert _digits(_choose(catalog, tmp_path, quick_config)) == _digits(tuned)
    assert taken == 1000, "nothing is trained again"


def test_a_folder_of_another_tuning_is_refused(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    _choose(catalog, tmp_path, quick_config, [{}, {"dropout": 0.3}])
    other = quick_config.model_copy(update={"batch_tokens": 256})
    with pytest.raises(InputError, match="was started with batch_tokens=512, not 256"):
        _choose(catalog, tmp_path, other, [{}, {"dropout": 0.3}])
    others: list[list[Recipe]] = [[{}], [{}, {"dropout": 0.5}]]
    for recipes in others:
        with pytest.raises(InputError, match="was started with recipes="):
            _choose(catalog, tmp_path, quick_config, recipes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not readable as JSON"),
        ("[]", "has no identity, first_rung, trials"),
        ('{"identity": {}, "trials": []}', "has no first_rung"),
    ],
)
def test_a_corrupt_record_is_refused_with_what_to_do(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    content: str,
    says: str,
) -> None:
    (tmp_path / "tuning.json").write_text(content)
    with pytest.raises(InputError, match=rf"tuning\.json: {says}.*; remove it to try the recipes"):
        _choose(catalog, tmp_path, quick_config, [{}, {"dropout": 0.3}])


def test_a_trial_that_diverges_is_not_chosen(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    found = _choose(catalog, tmp_path, quick_config, [{"learning_rate": 1e9}, {}])
    assert found.record["chosen"] == {}
    assert [t["value"] for t in found.record["trials"] if t["recipe"] == 0] == [-1.0]


def test_the_best_third_and_of_it_the_best_two_continue() -> None:
    assert rungs(9) == [(9, 1), (3, 3), (2, 9)]
    assert rungs(4) == [(4, 1), (2, 3)]
    assert rungs(3) == [(3, 1), (2, 3)], "one trial alone would be compared with nothing"
    assert rungs(2) == [(2, 1), (2, 3)]
    assert rungs(1) == []


def test_no_arm_has_the_seed_of_the_trials() -> None:
    assert trials.SEED > 100, "no study has so many seeds"


def test_a_tuned_model_says_what_it_was_chosen_from(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tuned_model(resume: bool = False) -> GenerativeRetriever:
        out = tmp_path / "model"
        few = quick_config.model_copy(update={"max_steps": 20})
        return train_tuned(
            catalog, "search", out=out, recipes=2, config=few, device="cpu", resume=resume
        )

    with monkeypatch.context() as patch:
        patch.setattr(trials, "train", lambda *_, **__: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            tuned_model()
    with pytest.raises(InputError, match="a tuning was interrupted there; add --resume"):
        tuned_model()
    stamp = tuned_model(resume=True).model.stamp
    assert stamp.tuning is not None
    assert stamp.tuning["recipes"] == 2
    assert stamp.seed == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing else is left"
    monkeypatch.setattr(loop, "_step", lambda *_: pytest.fail("trained again"))
    assert tuned_model(resume=True).model.stamp.tuning == stamp.tuning
