"""Our SASRec and recommendation arm beside RecTools' SASRec: quality, and time to quality.

    python benchmarks/sasrec.py DATASET --peer peers/bin/python --out DIR [--epochs 10] [--seeds 3]
    python benchmarks/sasrec.py DATASET --peer peers/bin/python --out DIR --time [--epochs 30]

Both sides: same split, length, width, depth and dropout, passes over the last items of each
history, softmax loss; batches are each side's own. Each run is a process of its own, one after the
other, ours and theirs in turn, so that a busy machine is busy for both. Measures by our evaluation
on the ten items that each side returned.

--time: wall time of training (validation excluded) until validation nDCG@10 of all users first
reaches .95 of the better side's final value. Ours is the recommendation arm as its preset has it.
What is finished is not run again.
"""

import argparse
import csv
import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch

from twofold.baselines.sasrec import sasrec
from twofold.evaluation.measures import Measure, means, score
from twofold.records import Ranking, Run
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import resolve_config
from twofold.training.train import train

MEASURES = (Measure("Recall", 10), Measure("nDCG", 10))
SHAPE = {"width": 128, "layers": 2, "heads": 2}
"""Of the size `small`."""
PEER = Path(__file__).parent / "peers" / "rectools_transformer.py"
CLOSE = 0.95


def export(dataset: PreparedDataset, folder: Path) -> None:
    """The split as the peer reads it; the order of events is their time."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = dataset.interactions.select(
        "user_id", "item_id", "split", order=pl.int_range(pl.len()).over("user_id")
    )
    for split in ("train", "validation", "test"):
        rows = ordered.filter(pl.col("split") == split).drop("split")
        rows.write_csv(folder / f"{split}.csv")


def theirs(
    out: Path, seed: int, arguments: argparse.Namespace, model: str = "sasrec", items: int = 10
) -> None:
    """One run of the peer; it answers with so many items."""
    if (out / "curve.json").is_file():
        return
    options = {
        **SHAPE,
        "model": model,
        "items": items,
        "epochs": arguments.epochs,
        "length": arguments.length,
        "dropout": arguments.dropout,
        "seed": seed,
        "threads": arguments.threads,
    }
    command = [arguments.peer, str(PEER), "--data", str(out.parent / "data"), "--out", str(out)]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    subprocess.run(command, check=True)


def ours(out: Path, seed: int, arguments: argparse.Namespace) -> None:
    """One run of ours, in a process of its own."""
    if (out / "curve.json").is_file():
        return
    command = [sys.executable, __file__, arguments.dataset, "--out", str(out)]
    command += ["--single", str(seed), "--epochs", str(arguments.epochs)]
    command += ["--length", str(arguments.length), "--dropout", str(arguments.dropout)]
    command += ["--threads", str(arguments.threads), *(["--time"] if arguments.time else [])]
    subprocess.run(
        command + [part for given in arguments.set or [] for part in ("--set", given)], check=True
    )


def single(arguments: argparse.Namespace) -> None:
    """Train ours, and write what the peer writes."""
    dataset = interactions_alone(load_dataset(arguments.dataset))
    torch.set_num_threads(arguments.threads)
    curve: list[dict[str, float]] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert isinstance(record.args, tuple)
            _, seconds, point = record.args
            assert isinstance(seconds, float)
            assert isinstance(point, dict)
            curve.append({"seconds": seconds, "value": point["value"]})

    logger = logging.getLogger("twofold.training.loop")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Watch())
    given = [f"epochs={arguments.epochs}", f"min_validations={arguments.epochs}"]
    given += [f"max_history={arguments.length}", f"dropout={arguments.dropout}"]
    given += ["max_validation_requests=1000000", "patience=9"]
    if not arguments.time:  # the peer reads a history's last items; so do we, to compare passes
        given.append("long_histories=truncate")
    given += arguments.set or ()
    config = resolve_config("standard", None, tuple(given))
    folder = arguments.out / "model"
    if arguments.time:
        retriever = train(dataset, "recommendation", out=folder, config=config, resume=True)
    else:
        retriever = sasrec(dataset, folder, config, seed=arguments.single)
    found = retriever.retrieve(dataset.task("recommendation").requests("test").requests, 10)
    with (arguments.out / "test.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rank"])
        for user in found:
            writer.writerows([user, item, n + 1] for n, item in enumerate(found[user].item_ids))
    (arguments.out / "curve.json").write_text(json.dumps(curve), encoding="utf-8")


def interactions_alone(dataset: PreparedDataset) -> PreparedDataset:
    """Without queries, so that `epochs` counts passes over histories."""
    return dataclasses.replace(
        dataset, queries=dataset.queries.clear(), qrels=dataset.qrels.clear()
    )


def measured(folder: Path, dataset: PreparedDataset) -> dict[str, float]:
    """Test measures of what one side answered."""
    judged = dataset.task("recommendation").requests("test")
    return means(score(answered(folder), judged.qrels, MEASURES))


def answered(folder: Path) -> Run:
    """What one side answered to the test requests."""
    answers = pl.read_csv(folder / "test.csv", schema_overrides={"user_id": pl.String})
    answers = answers.with_columns(pl.col("item_id").cast(pl.String)).sort("user_id", "rank")
    rankings = {
        user: Ranking(tuple(items), tuple(-float(n) for n in range(len(items))))
        for user, items in answers.group_by("user_id").agg("item_id").iter_rows()
    }
    return Run(folder.name, rankings)


def compare(arguments: argparse.Namespace) -> None:
    """Quality of both sides over the seeds."""
    dataset = interactions_alone(load_dataset(arguments.dataset))
    export(dataset, arguments.out / "data")
    values: dict[str, list[dict[str, float]]] = {"RecTools": [], "ours": []}
    for seed in range(1 if arguments.time else arguments.seeds):
        for side, start in (("RecTools", theirs), ("ours", ours)):
            place = arguments.out / f"{side}-{'time-' * arguments.time}{seed}"
            start(place, seed, arguments)
            values[side].append(measured(place, dataset))
            print(side, seed, values[side][-1], flush=True)
    if arguments.time:
        report_time(arguments)
        return
    for measure in map(str, MEASURES):
        found = {side: [v[measure] for v in made] for side, made in values.items()}
        ratio = np.mean(found["ours"]) / np.mean(found["RecTools"])
        print(f"{measure}: ours / RecTools {ratio:.3f}; {found}")


def report_time(arguments: argparse.Namespace) -> None:
    """Seconds until both sides' validation first reaches one value."""
    curves = {
        side: json.loads((arguments.out / f"{side}-time-0" / "curve.json").read_text())
        for side in ("RecTools", "ours")
    }
    goal = CLOSE * max(curve[-1]["value"] for curve in curves.values())
    for side, curve in curves.items():
        reached = [point["seconds"] for point in curve if point["value"] >= goal]
        when = f"{reached[0]:.0f} s" if reached else "not reached"
        last = curve[-1]
        print(
            f"{side}: nDCG@10 {goal:.4f} of validation: {when}; "
            f"at the end {last['value']:.4f} after {last['seconds']:.0f} s"
        )


def main() -> None:
    """Run both sides, or one of ours."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer", help="the python of an environment with RecTools")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--set", action="append", help="KEY=VALUE, of our side")
    parser.add_argument("--single", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.single is not None:
        single(arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
