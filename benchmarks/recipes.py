"""How much worse on test is the recipe that validation chose than the best of all recipes tried?

    python benchmarks/recipes.py DATASET --out DIR [--arm recommendation] [--budget quick]

Tunes an arm as `twofold train` does, by successive halving on validation. Then trains every recipe
of the tuning to its end with a seed of its own, scores all of them on test as deployed and by the
generative scores alone, and prints a row for each, and what the choice lost against the best row
(*regret*). On a dataset that no recipe was made on, that is what the choice costs a user. What is
finished in DIR is not made again. --publish NAME puts the table on docs/benchmarks/recipes.md.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from pages import render_table
from publish import add_publish_option, describe_run, publish_run, table_of

from twofold.cli.options import parse_tune
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.evaluate import evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.config import PRESETS, SELECTION, TrainingConfig, resolve_config
from twofold.training.train import train
from twofold.training.tuning.recipes import Recipe, recipes_of, recipes_to_try, with_recipe
from twofold.training.tuning.trials import choose_recipe

PROTOCOL = (
    "test requests, full catalog, no sampled negatives; recommendation by each user's last event, "
    "seen items filtered where few repeat; the choice by validation requests alone"
)


def score_recipes(
    dataset: PreparedDataset, arm: Arm, out: Path, config: TrainingConfig, number: int, seed: int
) -> list[dict[str, object]]:
    """A row for each recipe: its settings, validation, test scores, and whether it was chosen."""
    recipes = recipes_of(dataset, arm, config, number)
    tuned = choose_recipe(dataset, arm, out / "tuning", config, recipes, device="cpu")
    rows: list[dict[str, object]] = []
    for position, recipe in enumerate(recipes):
        model = train(
            dataset,
            arm,
            out=out / f"recipe-{position}",
            config=with_recipe(config, recipe),
            seed=seed,
            device="cpu",
            resume=True,
        ).model
        generative = GenerativeRetriever(model.generative, arm.name)
        rows.append(
            {
                "recipe": name_of(recipe),
                "chosen": "yes" if dict(recipe) == dict(tuned.record["chosen"]) else "",
                "steps": model.stamp.best_step,
                "validation": model.stamp.best_value,
                "test, generative": score_on_test(generative, dataset, arm),
                "test, as deployed": score_on_test(
                    load_model(out / f"recipe-{position}", name=arm.name), dataset, arm
                ),
            }
        )
        logging.getLogger("twofold").info("%s", rows[-1])
    return rows


def score_on_test(retriever: GenerativeRetriever, dataset: PreparedDataset, arm: Arm) -> float:
    """The mean nDCG@10 of the arm's tasks on test."""
    means = evaluate(retriever, dataset, arm.tasks, measures=[SELECTION]).means()
    return sum(means[task][str(SELECTION)] for task in arm.tasks) / len(arm.tasks)


def name_of(recipe: Recipe) -> str:
    """The settings that a recipe changes."""
    return ", ".join(f"{key}={value}" for key, value in recipe.items()) or "fixed recipe"


def regret(rows: list[dict[str, object]], column: str) -> float:
    """The share of the best row's value by which the chosen row is below it."""
    values: Mapping[str, float] = {str(row["recipe"]): float(str(row[column])) for row in rows}
    best = max(values.values())
    chosen = next(values[str(row["recipe"])] for row in rows if row["chosen"])
    return 1 - chosen / best


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", choices=list(NAMED_ARMS), default="recommendation")
    parser.add_argument("--budget", choices=list(PRESETS), default="quick")
    parser.add_argument("--tune", metavar="N", help="recipes to try; by default as `twofold train`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    add_publish_option(parser)
    return parser.parse_args()


def main() -> None:
    """Tune, train every recipe, and print the table."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    logging.basicConfig(format="%(message)s")  # the progress, on standard error
    logging.getLogger("twofold").setLevel(logging.INFO)
    dataset, config = load_dataset(arguments.dataset), resolve_config(arguments.budget)
    number = recipes_to_try(parse_tune(arguments.tune), arguments.budget)
    arm = NAMED_ARMS[arguments.arm]
    rows = score_recipes(dataset, arm, arguments.out, config, number, arguments.seed)
    table = table_of(rows)
    print("\n".join(render_table(table)))
    for column in ("test, generative", "test, as deployed"):
        print(f"regret of the chosen recipe, {column}: {regret(rows, column):.1%}")
    if arguments.publish:
        title = f"{Path(arguments.dataset).name}, {arm.name}"
        seeds = f"{arguments.seed}, tuning with a seed of its own"
        run = describe_run(arguments.publish, title, [table], seeds=seeds, protocol=PROTOCOL)
        publish_run("recipes", run)


if __name__ == "__main__":
    main()
