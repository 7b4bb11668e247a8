"""Arms and baselines under one protocol, beside the literature's numbers.

    python benchmarks/quality.py run DATASET --out DIR [--seeds 3] [--encoder E [--tune-encoder]]
    python benchmarks/quality.py table DIR [DIR ...]

`run` trains the arms that the dataset has room for and every baseline, each tuned on validation,
scores them on test (full catalog; recommendation: last event, seen items filtered where few
repeat), and writes DIR/quality.json and DIR/quality.md. What is finished is not made again. The
settings of a known dataset are those of RECIPES, found on validation (see the log); --set changes
them. `table` prints it again, also of a study's folder; of several, their queries pooled by kind.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from twofold import artifact
from twofold.baselines.selection import (
    documents_baseline,
    every_baseline,
    tuned_encoder,
)
from twofold.evaluation.measures import PRIMARY, Measure
from twofold.evaluation.significance import difference, mean
from twofold.records import Floats
from twofold.studies.study import run_arms, run_baselines
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset, save_dataset
from twofold.training.config import TrainingConfig, resolve_config, sentence_part
from twofold.training.train import PLAIN_ARMS

MEASURES = (PRIMARY, Measure("Recall", 10), Measure("nDCG", 10))

RECIPES: dict[str, list[str]] = {
    "ml-1m-joint": [
        "backbone=decoder:medium",
        "epochs=3",
        "patience=1",
        "item_text_queries=3",
        'source_weights={"search": 0.25, "recommendation": 0.75}',
        "max_validation_requests=1000",
    ],
    "beauty": [
        "epochs=10",
        "max_history=50",
        "item_init=histories",
        "dropout=0.3",
        "weight_decay=1.5",
        "batch_tokens=2048",
        "max_batch_size=256",
        "learning_rate=1.4e-3",
        "patience=1",
        "max_validation_requests=4000",
    ],
    "ml-small-joint": ["epochs=8", "item_text_queries=3", "max_validation_requests=600"],
}
"""What differs from the preset `standard`: passes over the data, and the weights of the tasks."""

LITERATURE = {
    "ml-1m-joint": [
        ("SASRec, BCE", 0.2500, 0.1341, "Klenitskiy and Vasilev 2023; seen filtered"),
        ("SASRec, cross-entropy", 0.3152, 0.1821, "Klenitskiy and Vasilev 2023; seen filtered"),
        ("HSTU-large", 0.3294, 0.1893, "Zhai et al. 2024; filter not stated"),
        ("HSTU in RecTools", 0.3642, 0.2164, "RecTools' benchmark; filter not stated"),
    ],
    "beauty": [
        ("TIGER", 0.0648, 0.0384, "Rajput et al. 2023; filter not stated"),
        ("SASRec, sampled softmax", 0.0921, 0.0531, "transformer_benchmark; seen filtered"),
    ],
}
"""Recall@10 and nDCG@10 in recommendation, leave-last-out, full catalog."""


@dataclass(frozen=True, slots=True)
class Group:
    """The test requests of one task or kind of query, and what every system scored on them.

    Attributes:
        scores: by system, then measure, (seeds, requests).
    """

    name: str
    requests: int
    scores: Mapping[str, Mapping[str, Floats]]


def run(source: str, out: Path, arguments: argparse.Namespace) -> None:
    """Train and score everything into `out`."""
    dataset = load_dataset(source)
    if not artifact.is_complete(out / "dataset"):
        save_dataset(dataset, out / "dataset")
    settings = [*RECIPES.get(Path(source).name, []), *(arguments.set or [])]
    config = resolve_config("standard", None, tuple(settings), text_encoder=arguments.encoder)
    beside = every_baseline(dataset, out / "baselines", config, threads=arguments.threads)
    if arguments.tune_encoder:
        tuned = tuned_encoder(dataset, config, out / "baselines" / "bi-encoder")
        before = sentence_part(config)
        assert before is not None, "--tune-encoder needs --encoder with a sentence encoder"
        config = config.model_copy(
            update={"text_encoder": config.text_encoder.replace(before, tuned.name)}
        )
    if arguments.baselines:
        # What stands there already is not made again: the arms' encoder comes first.
        own = [documents_baseline(dataset, config)] if "search" in dataset.tasks else []
        run_baselines(dataset, out, chain(own, beside))
    train_arms(dataset, out, config, arguments)


def train_arms(
    dataset: PreparedDataset, out: Path, config: TrainingConfig, arguments: argparse.Namespace
) -> None:
    """The plain arms that are asked for and that the dataset has room for."""
    arms = [
        arm
        for arm in PLAIN_ARMS.values()
        if set(arm.tasks) <= set(dataset.tasks)
        and (arguments.arms is None or arm.name in arguments.arms)
    ]
    for seed in range(arguments.seeds):
        run_arms(dataset, arms, out, config, seed, "auto", arguments.threads)


def groups(folder: Path) -> Iterator[Group]:
    """Recommendation, and search by kind of query."""
    dataset = load_dataset(str(folder / "dataset"))
    kinds = dataset.queries.select(request_id="query_id", kind=pl.col("kind").fill_null("query"))
    frames = {name: [_frame(place, kinds) for place in places] for name, places in _systems(folder)}
    names = sorted({kind for found in frames.values() for kind in found[0]["kind"].unique()})
    for name in names:
        scores = {
            system: {
                str(m): np.stack([_values(frame, name, m) for frame in found]) for m in MEASURES
            }
            for system, found in frames.items()
            if name in found[0]["kind"].unique()
        }
        yield Group(name, next(iter(scores.values()))[str(PRIMARY)].shape[1], scores)


def _systems(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    places = folder / "evaluations"
    for arm in PLAIN_ARMS:
        if found := sorted(p.parent for p in (places / arm).glob(f"seed-*/{artifact.MANIFEST}")):
            yield arm, found
    for place in sorted((places / "baselines").glob("*/*")):
        stamp = artifact.read_json(place / artifact.MANIFEST)["config"]["stamp"]
        yield stamp["retriever"], [place]


def _frame(place: Path, kinds: pl.DataFrame) -> pl.DataFrame:
    rows = pl.read_parquet(place / "per_request.parquet")
    joined = rows.join(kinds, on="request_id", how="left", maintain_order="left")
    is_search = pl.col("task") == "search"
    return joined.with_columns(pl.when(is_search).then("kind").otherwise("task").alias("kind"))


def _values(frame: pl.DataFrame, kind: str, measure: Measure) -> Floats:
    chosen = (pl.col("kind") == kind) & (pl.col("measure") == str(measure))
    return frame.filter(chosen)["value"].to_numpy()


def pool(parts: Sequence[Group]) -> Group:
    """The requests of several datasets as one group; systems and seeds that all have."""
    systems = [name for name in parts[0].scores if all(name in part.scores for part in parts)]
    scores = {}
    for name in systems:
        seeds = min(len(part.scores[name][str(PRIMARY)]) for part in parts)
        scores[name] = {
            str(m): np.hstack([part.scores[name][str(m)][:seeds] for part in parts])
            for m in MEASURES
        }
    return Group(f"{parts[0].name}, pooled", sum(part.requests for part in parts), scores)


def rows(group: Group) -> Iterator[dict[str, Any]]:
    """One row a system: means, the interval of the primary measure, joint minus it."""
    units = np.arange(group.requests)
    generative = "joint" if "joint" in group.scores else group.name
    for system, scores in group.scores.items():
        primary = scores[str(PRIMARY)]
        own = group.scores[generative][str(PRIMARY)]
        paired = difference(own, primary, units, fixed=system not in PLAIN_ARMS)
        yield {
            "group": group.name,
            "requests": group.requests,
            "system": system,
            "reference": generative,
            "seeds": len(primary),
            **{measure: float(values.mean()) for measure, values in scores.items()},
            "interval": list(mean(primary, units).interval()),
            "difference": paired.value,
            "difference_interval": list(paired.interval()),
        }


def markdown(found: Sequence[Mapping[str, Any]], dataset: str) -> str:
    """The rows as tables, one a group."""
    lines: list[str] = []
    for group in dict.fromkeys(row["group"] for row in found):
        own = [row for row in found if row["group"] == group]
        head = " | ".join(str(m) for m in MEASURES)
        lines += ["", f"**{group}**, {own[0]['requests']} test requests", ""]
        lines += [
            f"| | seeds | {head} | 95 % of {PRIMARY} | {own[0]['reference']} − it |",
            "|---" * 7 + "|",
        ]
        for row in sorted(own, key=lambda row: -row[str(PRIMARY)]):
            means = " | ".join(f"{row[str(m)]:.4f}" for m in MEASURES)
            low, high = row["interval"]
            below, above = row["difference_interval"]
            against = f"{row['difference']:+.4f} [{below:+.4f}, {above:+.4f}]"
            lines.append(
                f"| {row['system']} | {row['seeds']} | {means} | [{low:.4f}, {high:.4f}] | "
                f"{'' if row['system'] == row['reference'] else against} |"
            )
        if group == "recommendation":
            for name, recall, ndcg, source in LITERATURE.get(dataset, []):
                lines.append(f"| *{name}* | | | {recall:.4f} | {ndcg:.4f} | *{source}* | |")
    return "\n".join(lines).strip() + "\n"


def table(folders: Sequence[Path]) -> None:
    """Print what stands in the folders; write it into the one, where there is one."""
    parts = [{group.name: group for group in groups(folder)} for folder in folders]
    if len(parts) == 1:
        found = [row for group in parts[0].values() for row in rows(group)]
    else:
        shared = [name for name in parts[0] if all(name in part for part in parts)]
        pooled = [pool([part[name] for part in parts]) for name in shared]
        found = [row for group in pooled for row in rows(group)]
    text = markdown(found, _name(folders[0]))
    print(text)
    if len(parts) == 1:
        (folders[0] / "quality.md").write_text(text, encoding="utf-8")
        stamps = {path.parent.name: _stamp(path) for path in _model_manifests(folders[0])}
        whole = {"rows": found, "arms": stamps, "versions": artifact.versions()}
        (folders[0] / "quality.json").write_text(json.dumps(whole, indent=2), encoding="utf-8")


def _name(folder: Path) -> str:
    return Path(load_dataset(str(folder / "dataset")).source).name


def _model_manifests(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob(f"models/*/seed-0/{artifact.MANIFEST}"))]


def _stamp(model: Path) -> dict[str, Any]:
    config: dict[str, Any] = artifact.read_json(model / artifact.MANIFEST)["config"]
    return {"stamp": config["stamp"], "training": config["training"]}


def main() -> None:
    """Run, or print what was run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run", help="train and score")
    runs.add_argument("dataset")
    runs.add_argument("--out", type=Path, required=True)
    runs.add_argument("--seeds", type=int, default=3)
    runs.add_argument("--arms", nargs="*", choices=list(PLAIN_ARMS), help="all by default")
    runs.add_argument("--no-baselines", dest="baselines", action="store_false")
    runs.add_argument("--encoder", help="tfidf, or a sentence-transformers name or folder")
    runs.add_argument(
        "--tune-encoder", action="store_true", help="arms start from the tuned bi-encoder"
    )
    runs.add_argument("--set", action="append", help="KEY=VALUE")
    runs.add_argument("--threads", type=int)
    tables = verbs.add_parser("table", help="print what was run")
    tables.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.verb == "table":
        table(arguments.folders)
        return
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run(arguments.dataset, arguments.out, arguments)
    table([arguments.out])


if __name__ == "__main__":
    main()
