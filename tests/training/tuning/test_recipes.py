"""Every arm has equally many recipes, which suit its data and the settings that were given."""

import pytest

from tests.planted import NO_TITLES, planted_dataset
from twofold.cli.options import MOST_RECIPES
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.tuning.recipes import (
    SASREC_RECIPES,
    SPACES,
    recipes_of,
    recipes_to_try,
    with_recipe,
)


def test_every_space_begins_with_the_fixed_recipe_and_holds_as_many_valid_ones() -> None:
    spaces = (*SPACES.values(), SASREC_RECIPES)
    assert {len(space) for space in spaces} == {MOST_RECIPES}
    for space in spaces:
        assert space[0] == {}
        assert all(recipe not in space[:number] for number, recipe in enumerate(space))
        for recipe in space:
            TrainingConfig.model_validate(with_recipe(TrainingConfig(), recipe).model_dump())


def test_settings_that_were_given_are_kept(catalog: PreparedDataset) -> None:
    config = resolve_config("quick", settings=("dropout=0.2", "backbone=decoder:tiny"))
    for arm in NAMED_ARMS.values():
        recipes = recipes_of(catalog, arm, config, 12)
        assert recipes[0] == {}
        assert not any({"dropout", "backbone"} & recipe.keys() for recipe in recipes)
        assert len(recipes) == len({str(recipe) for recipe in recipes}) > 5


def test_without_text_no_recipe_starts_from_it_and_as_many_are_left() -> None:
    dataset = planted_dataset(titles=NO_TITLES)
    for arm in NAMED_ARMS.values():
        recipes = recipes_of(dataset, arm, resolve_config("standard"), 9)
        assert len(recipes) >= 7
        starts = {recipe.get("item_init", "auto") for recipe in recipes}
        assert starts <= {"auto", "random"}


def test_the_number_of_recipes_follows_from_the_budget_or_is_asked_for() -> None:
    assert recipes_to_try(None, "standard") > recipes_to_try(None, "quick") > 1
    assert recipes_to_try(None, "standard", seeds=1) < recipes_to_try(None, "standard", seeds=3)
    assert recipes_to_try(None, "paper") == 0
    assert recipes_to_try(0, "standard") == 0
    with pytest.raises(InputError, match="choose a number from 1 to"):
        recipes_to_try(len(SASREC_RECIPES) + 1, "quick")


def test_a_given_learning_rate_leaves_what_decays_in_a_step(catalog: PreparedDataset) -> None:
    def decays(rate: float | None) -> list[float]:
        config = resolve_config("quick", learning_rate=rate)
        recipes = recipes_of(catalog, NAMED_ARMS["recommendation"], config, 3)
        own = [{**config.model_dump(), **recipe} for recipe in recipes]
        return [each["learning_rate"] * each["weight_decay"] for each in own]

    assert decays(2e-3)[1:] == pytest.approx(decays(None)[1:])
