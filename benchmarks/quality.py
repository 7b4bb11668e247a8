"""Arms and baselines under one protocol, with the figures that others report.

    python benchmarks/quality.py run DATASET --out DIR [--seeds 3] [--encoder E [--tune-encoder]]
    python benchmarks/quality.py table DIR [DIR ...]

`run` trains the arms that the dataset has room for and every baseline, each tuned on validation,
scores them on test (full catalog; recommendation: last event, seen items filtered where few
repeat; the arms also with seen items left in), and writes DIR/quality.json and DIR/quality.md. What
is finished is not made again. The recipe of each arm is chosen on validation, as in a study
(--tune). `table` prints the tables again, also those of a study's folder; of several folders, their
queries pooled by kind. --publish NAME puts the tables on docs/benchmarks/quality.md.
"""

import argparse
import dataclasses
import json
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pages import Table, render_table
from publish import add_publish_option, describe_run, publish_run
from quality_tables import group_table, pool_groups, read_groups, seen_kept

from twofold import artifact
from twofold.baselines.selection import documents_baseline, every_baseline, tuned_encoder
from twofold.cli.options import parse_tune
from twofold.retrieval.generative import load_model
from twofold.studies.folder import StudyFolder
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.baselines import run_baselines
from twofold.studies.trainings.recipes import RecipeChoice
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.tasks.evaluate import evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset, save_dataset
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.config import PRESETS, TrainingConfig, resolve_config, sentence_part
from twofold.training.tuning.recipes import recipes_to_try
from twofold.training.tuning.trials import Tuned

PROTOCOL = (
    "test requests, full catalog, no sampled negatives; recommendation by each user's last event, "
    "seen items filtered; 95 % intervals over requests and, from three seeds on, seeds; every "
    "baseline tuned on validation"
)


def run(source: str, out: Path, arguments: argparse.Namespace) -> None:
    """Train and score every arm and baseline into `out`."""
    dataset = load_dataset(source)
    if not artifact.is_complete(out / "dataset"):
        save_dataset(dataset, out / "dataset")
    settings = tuple(arguments.set or ())
    config = resolve_config(arguments.budget, None, settings, text_encoder=arguments.encoder)
    recipes = recipes_to_try(parse_tune(arguments.tune), arguments.budget)
    baselines = every_baseline(
        dataset, out / "baselines", config, threads=arguments.threads, tune=recipes
    )
    if arguments.tune_encoder:
        config = with_tuned_encoder(dataset, config, out)
    if arguments.baselines:
        # The arms' encoder comes first: the bi-encoder that is tuned for it is not made again.
        own = [documents_baseline(dataset, config)] if "search" in dataset.tasks else []
        run_baselines(dataset, StudyFolder(out), chain(own, baselines))
    train_arms(dataset, out, config, recipes, arguments)


def with_tuned_encoder(
    dataset: PreparedDataset, config: TrainingConfig, out: Path
) -> TrainingConfig:
    """The settings with the sentence encoder tuned on the training queries."""
    tuned = tuned_encoder(dataset, config, out / "baselines" / "bi-encoder")
    before = sentence_part(config)
    assert before is not None, "--tune-encoder needs --encoder with a sentence encoder"
    encoder = config.text_encoder.replace(before, tuned.name)
    return config.model_copy(update={"text_encoder": encoder})


def train_arms(
    dataset: PreparedDataset,
    out: Path,
    config: TrainingConfig,
    recipes: int,
    arguments: argparse.Namespace,
) -> None:
    """Train and score the plain arms that are asked for and that the dataset has room for."""
    arms = [
        arm
        for arm in NAMED_ARMS.values()
        if set(arm.tasks) <= set(dataset.tasks)
        and (arguments.arms is None or arm.name in arguments.arms)
    ]
    training, folder = ArmTraining(config, threads=arguments.threads), StudyFolder(out)
    if recipes:
        choice = RecipeChoice(dataset, arms, folder, training, recipes)
        tuned: dict[str, Tuned] = {}
        for arm in sorted(arms, key=lambda arm: len(arm.tasks)):  # joint needs the plain arms'
            tuned[arm.name] = choice.choose(arm.name, tuned)
        training = dataclasses.replace(training, tuned=tuned)
    for seed in range(arguments.seeds):
        SeedTrainings(dataset, training, SeedOutputs(arms, folder, seed)).run_all()
        keep_seen_items(dataset, arms, folder, seed)


def keep_seen_items(
    dataset: PreparedDataset, arms: Sequence[Arm], folder: StudyFolder, seed: int
) -> None:
    """Score recommendation once more with seen items left in, the protocol of some papers."""
    if "recommendation" not in dataset.tasks or dataset.protocol.seen == "keep":
        return
    protocol = dataclasses.replace(dataset.protocol, seen="keep")
    kept = dataclasses.replace(dataset, protocol=protocol)
    for arm in arms:
        place = seen_kept(folder).evaluation(arm.name, seed)
        if "recommendation" not in arm.tasks or artifact.is_complete(place):
            continue
        retriever = load_model(folder.model(arm.name, seed), name=arm.name)
        stamp = retriever.model.stamp.as_dict() | {"seen": "keep"}
        save_evaluation(evaluate(retriever, kept, ["recommendation"]), place, stamp)


def tables_of(folders: Sequence[Path]) -> list[Table]:
    """A table a group of requests; those of several folders pooled."""
    parts = [{group.name: group for group in read_groups(folder)} for folder in folders]
    dataset = dataset_name(folders[0])
    if len(parts) == 1:
        return [group_table(group, dataset) for group in parts[0].values()]
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    pooled = [pool_groups([part[name] for part in parts]) for name in shared]
    return [group_table(group, "").model_copy(update={"scoreboard": None}) for group in pooled]


def show_tables(folders: Sequence[Path], publish: str | None) -> None:
    """Print the tables, write them into the one folder, and publish them where asked."""
    tables = tables_of(folders)
    text = "\n".join(line for table in tables for line in render_table(table))
    print(text)
    if len(folders) == 1:
        (folders[0] / "quality.md").write_text(text, encoding="utf-8")
        write_json(folders[0], tables)
    if publish:
        names = " and ".join(map(dataset_name, folders))
        seeds = (
            f"{max(int(str(row.get('seeds', 1))) for t in tables for row in t.rows)} of the arms"
        )
        published = describe_run(publish, names, tables, seeds=seeds, protocol=PROTOCOL)
        publish_run("quality", published)


def write_json(folder: Path, tables: Sequence[Table]) -> None:
    """Write the tables with the stamps of the models and the versions that made them."""
    models = sorted(folder.glob(f"models/*/seed-0/{artifact.MANIFEST}"))
    whole = {
        "tables": [table.model_dump() for table in tables],
        "arms": {path.parents[1].name: read_stamp(path) for path in models},
        "versions": artifact.versions(),
    }
    (folder / "quality.json").write_text(json.dumps(whole, indent=2), encoding="utf-8")


def read_stamp(manifest: Path) -> dict[str, Any]:
    """What the figures of a trained model rest on."""
    config: dict[str, Any] = artifact.read_json(manifest)["config"]
    return {"stamp": config["stamp"], "training": config["training"]}


def dataset_name(folder: Path) -> str:
    """The name of the dataset that a folder was run on."""
    return Path(load_dataset(str(folder / "dataset")).source).name


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run", help="train and score")
    runs.add_argument("dataset")
    runs.add_argument("--out", type=Path, required=True)
    runs.add_argument("--seeds", type=int, default=3)
    runs.add_argument("--arms", nargs="*", choices=list(NAMED_ARMS), help="default: all")
    runs.add_argument("--no-baselines", dest="baselines", action="store_false")
    runs.add_argument("--tune", metavar="N", help="recipes to choose from; none for the fixed one")
    runs.add_argument("--budget", choices=list(PRESETS), default="standard")
    runs.add_argument("--encoder", help="tfidf, or a sentence-transformers name or folder")
    runs.add_argument("--tune-encoder", action="store_true", help="tune the encoder of the arms")
    runs.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a setting")
    runs.add_argument("--threads", type=int, help="CPU threads")
    tables = verbs.add_parser("table", help="print the tables of finished runs")
    tables.add_argument("folders", type=Path, nargs="+")
    for verb in (runs, tables):
        add_publish_option(verb)
    return parser.parse_args()


def main() -> None:
    """Run, or print what was run."""
    arguments = parse_arguments()
    if arguments.verb == "table":
        show_tables(arguments.folders, arguments.publish)
        return
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.basicConfig(format="%(message)s")  # the progress, on standard error
    logging.getLogger("twofold").setLevel(logging.INFO)
    run(arguments.dataset, arguments.out, arguments)
    show_tables([arguments.out], arguments.publish)


if __name__ == "__main__":
    main()
