"""The recipes that are tried for each arm, and for the baseline SASRec.

Invariant: for any number of recipes, `joint` and the single-task arms choose among similar ones:
otherwise a verdict could be due to the recipes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.records import TASKS, InputError, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import Budget, TrainingConfig

Recipe = Mapping[str, Any]
"""Settings that replace those of the fixed recipe."""

_BY_BUDGET: Mapping[Budget, int] = {"quick": 6, "standard": 9, "paper": 0}
"""The number of recipes that a study tries by default."""

_FEW_SEARCHES = {"search": 0.25, "recommendation": 0.75}
_LARGE_BATCHES = {
    "dropout": 0.3,
    "weight_decay": 1.5,
    "batch_tokens": 2048,
    "max_batch_size": 256,
    "learning_rate": 1.4e-3,
}
_SMALL_STEPS = {
    "dropout": 0.3,
    "weight_decay": 3.0,
    "backbone": "decoder:medium",
    "learning_rate": 3e-4,
}
"""In each step, Adam changes an item's embedding by about the learning rate, even if its gradient
is small: with 1e-3, the item embeddings of `joint` lost the information of the texts within a
hundred steps."""

_RECOMMENDATION: Sequence[Recipe] = (
    {},
    _LARGE_BATCHES,
    _SMALL_STEPS,
    {"dropout": 0.3, "backbone": "decoder:medium"},
    {**_LARGE_BATCHES, "item_init": "factors"},
    {"item_init": "text", "dropout": 0.3},
    {**_LARGE_BATCHES, "backbone": "decoder:medium"},
    {"dropout": 0.3},
    {"item_init": "factors", "dropout": 0.3, "weight_decay": 1.0},
    {"dropout": 0.5, "weight_decay": 1.0, "backbone": "decoder:medium"},
    {"item_init": "random", "dropout": 0.3, "weight_decay": 1.0},
    {"dropout": 0.5, "learning_rate": 2e-3},
)
_SEARCH: Sequence[Recipe] = (
    {},
    _LARGE_BATCHES,
    _SMALL_STEPS,
    {"dropout": 0.3, "backbone": "decoder:medium"},
    {"item_init": "factors", "dropout": 0.3},
    {"item_init": "text", "dropout": 0.3},
    {"item_text_queries": 3},
    {"item_text_queries": 3, "dropout": 0.3, "backbone": "decoder:medium"},
    {"item_init": "text", "item_text_queries": 3, "dropout": 0.3},
    {"dropout": 0.3, "weight_decay": 1.0},
    {"item_init": "text"},
    {"item_init": "random", "dropout": 0.3, "weight_decay": 1.0},
)
_JOINT: Sequence[Recipe] = (
    {},
    {**_LARGE_BATCHES, "source_weights": _FEW_SEARCHES},
    {**_SMALL_STEPS, "source_weights": "balanced"},
    {"dropout": 0.3, "backbone": "decoder:medium", "source_weights": "balanced"},
    {**_LARGE_BATCHES, "item_init": "factors", "source_weights": _FEW_SEARCHES},
    {"item_init": "text", "dropout": 0.3, "source_weights": "balanced"},
    {"item_text_queries": 3, "source_weights": _FEW_SEARCHES},
    {**_LARGE_BATCHES, "source_weights": _FEW_SEARCHES, "backbone": "decoder:medium"},
    {"item_text_queries": 3, "dropout": 0.3, "source_weights": "balanced"},
    {"item_init": "factors", "dropout": 0.3, "weight_decay": 1.0},
    {"dropout": 0.5, "learning_rate": 2e-3},
    {"item_init": "random", "dropout": 0.3, "weight_decay": 1.0},
)
SPACES: Mapping[tuple[Task, ...], Sequence[Recipe]] = {
    ("recommendation",): _RECOMMENDATION,
    ("search",): _SEARCH,
    TASKS: _JOINT,
}
"""The recipes for an arm's tasks, the most promising first; the first is the fixed recipe."""

SASREC_RECIPES: Sequence[Recipe] = (
    {},
    {"dropout": 0.3},
    {"dropout": 0.3, "weight_decay": 1.0, "backbone": "sasrec:medium"},
    _LARGE_BATCHES,
    {"dropout": 0.5},
    {"dropout": 0.3, "backbone": "sasrec:medium"},
    {"dropout": 0.5, "weight_decay": 1.0},
    {"dropout": 0.3, "learning_rate": 3e-3},
    {"dropout": 0.3, "backbone": "sasrec:tiny"},
    {"learning_rate": 3e-4},
    {"dropout": 0.5, "weight_decay": 1.0, "backbone": "sasrec:medium"},
    {"dropout": 0.3, "learning_rate": 3e-4},
)
"""The recipes of the baseline SASRec, whose item embeddings are initialised at random, as in its
publication."""


def recipes_of(
    dataset: PreparedDataset,
    arm: Arm,
    config: TrainingConfig,
    number: int,
    space: Sequence[Recipe] | None = None,
) -> list[Recipe]:
    """The first `number` recipes that suit the data and the configuration.

    Recipes do not change settings that were set explicitly in the configuration. If the items have
    no texts, or the model does not read them, recipes that need texts are left out.

    Args:
        dataset: the dataset.
        arm: the arm.
        config: the resolved configuration.
        number: the largest number of recipes to return.
        space: the recipes to choose from; by default those of the arm's tasks.
    """
    fixed = config.model_fields_set | dict(arm.settings).keys()
    suitable: list[Recipe] = []
    for recipe in space or SPACES[tuple(task for task in TASKS if task in arm.tasks)]:
        changes = {key: value for key, value in recipe.items() if key not in fixed}
        if "learning_rate" in fixed and "learning_rate" in recipe and "weight_decay" in changes:
            # The decay in a step is the product of the two.
            rate = dict(arm.settings).get("learning_rate", config.learning_rate)
            changes["weight_decay"] *= recipe["learning_rate"] / rate
        if config.item_texts == "none" or not any(dataset.catalog.texts):
            if changes.get("item_init") == "text" or "item_text_queries" in changes:
                continue
            if changes.get("item_init") == "factors":
                del changes["item_init"]  # without texts, the fixed recipe uses factors as well
        if changes not in suitable:
            suitable.append(changes)
    return suitable[:number]


def recipes_to_try(asked: int | None, budget: Budget, seeds: int = 3) -> int:
    """The number of recipes to try: `asked`, or by default that of the preset.

    With few seeds the default is smaller, so that the trials do not cost more than the models that
    use the chosen recipe.

    Raises:
        InputError: `asked` is negative, or larger than the number of recipes.
    """
    most = min(map(len, SPACES.values()))
    if asked is not None and not 0 <= asked <= most:
        raise InputError(f"--tune {asked}: choose a number from 1 to {most}, or none")
    return min(_BY_BUDGET[budget], 3 * seeds) if asked is None else asked


def with_recipe(config: TrainingConfig, recipe: Recipe) -> TrainingConfig:
    """The configuration with a recipe's settings."""
    return config.model_copy(update=dict(recipe))
