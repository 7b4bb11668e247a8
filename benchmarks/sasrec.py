"""Our SASRec and recommendation arm compared with RecTools' SASRec: quality, time to it, speed.

    python benchmarks/sasrec.py DATASET --peer peers/bin/python --out DIR [--epochs 10] [--seeds 3]
    python benchmarks/sasrec.py DATASET --peer peers/bin/python --out DIR --time [--epochs 30]
    python benchmarks/sasrec.py DATASET --peer peers/bin/python --out DIR --speed [--rounds 5]

Both sides have the same split, length, width, depth, dropout and softmax loss, and read the last
items of each history once an epoch; batches are each side's own. Each run is a process of its own,
one after the other, ours and theirs in turn, so that a busy machine is busy for both. Our
evaluation measures the ten items that each side returned.

--time: wall-clock time of training (validation excluded) until validation nDCG@10 of all users
first reaches .95 of the better side's last value. Our side is the recommendation arm with its
preset. What is finished is not run again. --publish NAME puts the table on docs/benchmarks.

--speed: supervised targets a second of processor time. Both sides train at once and take steps in
turn, each with its own batches; DATASET is a prepared folder. Our side is the decoder of size
`small`, in both precisions; theirs computes in float32. With --recbole PYTHON, of an environment
with RecBole, its SASRec is a third side (peers/recbole_sasrec.py). Writes DIR/sasrec.json.
"""

import argparse
import csv
import dataclasses
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import Column, Table, render_table
from publish import add_publish_option, describe_run, publish_records, publish_run
from rectools_peer import (
    PeerRun,
    peer_in_turns,
    read_answers,
    recbole_in_turns,
    run_peer,
    without_queries,
    write_split,
)
from turns import Worker

from twofold.baselines.sasrec import sasrec
from twofold.evaluation.measures import Measure, means, score
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.train import train

MEASURES = (Measure("Recall", 10), Measure("nDCG", 10))
SIDES = ("RecTools", "ours")
TRAIN = Path(__file__).with_name("train.py")
CLOSE = 0.95
"""The share of the better side's last value that both are timed to."""

Point = dict[str, float]


class CurveHandler(logging.Handler):
    """Keeps the seconds and the validation of each line that training logs."""

    def __init__(self) -> None:
        super().__init__()
        self.curve: list[Point] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Add a point, where the line has one."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        points = [each for each in arguments if isinstance(each, dict) and "value" in each]
        seconds = [each for each in arguments if isinstance(each, float)]
        if points and seconds:
            self.curve.append({"seconds": seconds[0], "value": points[0]["value"]})


def start_ours(out: Path, seed: int, arguments: argparse.Namespace) -> None:
    """One run of ours, in a process of its own."""
    if (out / "curve.json").is_file():
        return
    command = [sys.executable, __file__, arguments.dataset, "--out", str(out)]
    command += ["--single", str(seed), "--epochs", str(arguments.epochs)]
    command += ["--length", str(arguments.length), "--dropout", str(arguments.dropout)]
    command += ["--threads", str(arguments.threads), *(["--time"] if arguments.time else [])]
    command += [part for setting in arguments.set or [] for part in ("--set", setting)]
    subprocess.run(command, check=True)


def start_theirs(out: Path, seed: int, arguments: argparse.Namespace) -> None:
    """One run of the peer."""
    run_peer(out.parent / "data", out, peer_of(seed, arguments))


def peer_of(seed: int, arguments: argparse.Namespace) -> PeerRun:
    """What the peer is asked for."""
    return PeerRun(
        python=arguments.peer,
        model="sasrec",
        items=10,
        epochs=arguments.epochs,
        length=arguments.length,
        dropout=arguments.dropout,
        seed=seed,
        threads=arguments.threads,
    )


def run_single(arguments: argparse.Namespace) -> None:
    """Train ours, and write what the peer writes."""
    dataset = without_queries(load_dataset(arguments.dataset))
    torch.set_num_threads(arguments.threads)
    handler = CurveHandler()
    logger = logging.getLogger("twofold.training.loop")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    folder, config = arguments.out / "model", our_config(arguments)
    if arguments.time:
        retriever = train(dataset, "recommendation", out=folder, config=config, resume=True)
    else:
        retriever = sasrec(dataset, folder, config, seed=arguments.single)
    rankings = retriever.retrieve(dataset.task("recommendation").requests("test").requests, 10)
    with (arguments.out / "test.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rank"])
        for user in rankings:
            writer.writerows([user, item, n + 1] for n, item in enumerate(rankings[user].item_ids))
    (arguments.out / "curve.json").write_text(json.dumps(handler.curve), encoding="utf-8")


def our_config(arguments: argparse.Namespace) -> TrainingConfig:
    """The settings of our side."""
    settings = {
        "epochs": arguments.epochs,
        "max_history": arguments.length,
        "dropout": arguments.dropout,
        "max_validation_requests": 1_000_000,
        "patience": 9,
    }
    if not arguments.time:  # the peer reads a history's last items; so do we, to compare epochs
        settings["long_histories"] = "truncate"
    return resolve_config("standard", None, tuple(arguments.set or ()), base=settings)


def measure(folder: Path, dataset: PreparedDataset) -> dict[str, float]:
    """Test measures of what one side answered."""
    judged = dataset.task("recommendation").requests("test")
    return means(score(read_answers(folder), judged.qrels, MEASURES))


def compare(arguments: argparse.Namespace) -> None:
    """Run both sides over the seeds, and print what they reach."""
    dataset = without_queries(load_dataset(arguments.dataset))
    write_split(dataset, arguments.out / "data")
    values: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for seed in range(1 if arguments.time else arguments.seeds):
        for side, start in zip(SIDES, (start_theirs, start_ours), strict=True):
            place = arguments.out / f"{side}-{'time-' * arguments.time}{seed}"
            start(place, seed, arguments)
            values[side].append(measure(place, dataset))
            print(side, seed, values[side][-1], flush=True)
    table = time_table(arguments.out) if arguments.time else quality_table(values)
    print("\n".join(render_table(table)))
    if arguments.publish:
        publish(table, arguments)


def quality_table(values: dict[str, list[dict[str, float]]]) -> Table:
    """Means over the seeds, and their ratio."""
    columns = [Column(key="side", title="")]
    columns += [Column(key=str(m), title=str(m), format=".4f") for m in MEASURES]
    sides = {
        s: {str(m): float(np.mean([v[str(m)] for v in values[s]])) for m in MEASURES} for s in SIDES
    }
    ratio = {str(m): sides["ours"][str(m)] / sides["RecTools"][str(m)] for m in MEASURES}
    rows = {"ours": sides["ours"], "RecTools": sides["RecTools"], "ours / RecTools": ratio}
    return Table(columns=columns, rows=[{"side": side, **row} for side, row in rows.items()])


def time_table(out: Path) -> Table:
    """Seconds until both sides' validation first reaches one value."""
    curves: dict[str, list[Point]] = {
        side: json.loads((out / f"{side}-time-0" / "curve.json").read_text(encoding="utf-8"))
        for side in SIDES
    }
    goal = CLOSE * max(curve[-1]["value"] for curve in curves.values())
    columns = [
        Column(key="side", title=""),
        Column(key="seconds", title=f"seconds to nDCG@10 {goal:.4f} of validation", format=",.0f"),
        Column(key="last", title="nDCG@10 at the end", format=".4f"),
        Column(key="end", title="seconds at the end", format=",.0f"),
    ]
    rows = []
    for side, curve in curves.items():
        reached = [point["seconds"] for point in curve if point["value"] >= goal]
        last = curve[-1]
        seconds = reached[0] if reached else "not reached"
        rows.append(
            {"side": side, "seconds": seconds, "last": last["value"], "end": last["seconds"]}
        )
    return Table(columns=columns, rows=rows)


def compare_speed(arguments: argparse.Namespace) -> None:
    """Supervised targets a second of both sides, which take turns."""
    dataset = without_queries(load_dataset(arguments.dataset))
    write_split(dataset, arguments.out / "data")
    workers = {
        "RecTools": peer_in_turns(arguments.out / "data", arguments.out, peer_of(0, arguments))
    }
    for precision in ("float32", "bfloat16"):
        script = [str(TRAIN), arguments.dataset, "--arm", "recommendation", "--work"]
        script += ["--precision", precision, "--threads", str(arguments.threads)]
        settings = (f"max_history={arguments.length}", f"dropout={arguments.dropout}")
        script += [f"--set={setting}" for setting in (*settings, *(arguments.set or ()))]
        workers[f"ours, {precision}"] = Worker(script, f"ours, {precision}", arguments.threads)
    if arguments.recbole:
        wanted = dataclasses.replace(peer_of(0, arguments), python=arguments.recbole)
        workers["RecBole"] = recbole_in_turns(arguments.out / "data", wanted)
    steps = {side: 20 if side.startswith("ours") else 2 for side in workers}
    for side, worker in workers.items():
        worker.take(steps[side])
    rounds = [
        {side: worker.take(steps[side]) for side, worker in workers.items()}
        for _ in range(arguments.rounds)
    ]
    for worker in workers.values():
        worker.end()
    records = speed_records(rounds, steps)
    for record in records:
        print(json.dumps(record), flush=True)
    (arguments.out / "sasrec.json").write_text(json.dumps(records, indent=1) + "\n")
    publish_records(
        arguments.publish,
        "sasrec",
        "Supervised targets a second",
        records,
        seeds="one",
        protocol=f"decoder of size small against RecTools' SASRec of width 128, 2 layers, 2 heads; "
        f"dropout {arguments.dropout}, the last {arguments.length} events (ours: windows of as "
        f"many), softmax loss over all items; {arguments.threads} threads, processor time, "
        f"{arguments.rounds} rounds in turn",
    )


def speed_records(
    rounds: Sequence[dict[str, dict[str, float]]], steps: dict[str, int]
) -> list[dict[str, Any]]:
    """A record of each side; ratios are over those of RecTools in the same round.

    Args:
        rounds: what each side answered: seconds of a step, targets of all steps, peak memory.
        steps: the steps of a round of each side.
    """
    rates = [
        {side: each["targets"] / (steps[side] * each["seconds"]) for side, each in taken.items()}
        for taken in rounds
    ]
    records = []
    for side in steps:
        ratios = sorted(rate[side] / rate["RecTools"] for rate in rates)
        records.append(
            {
                "side": side,
                "targets a step": rounds[-1][side]["targets"] / steps[side],
                "targets a second": statistics.median(rate[side] for rate in rates),
                "times RecTools'": [statistics.median(ratios), ratios[0], ratios[-1]],
                "peak memory, MB": rounds[-1][side]["peak"],
            }
        )
    return records


def publish(table: Table, arguments: argparse.Namespace) -> None:
    """Put the table on its page."""
    protocol = (
        f"both sides: width 128, 2 layers, 2 heads, dropout {arguments.dropout}, the last "
        f"{arguments.length} events, softmax loss; test, full catalog, seen items filtered"
    )
    seeds = "1" if arguments.time else f"{arguments.seeds} on each side"
    title = f"{'Time to quality' if arguments.time else 'Quality at the same size'}"
    run = describe_run(arguments.publish, title, [table], seeds=seeds, protocol=protocol)
    publish_run("sasrec", run)


def main() -> None:
    """Run both sides, or one of ours."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer", help="the python of an environment with RecTools")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--length", type=int, default=200, help="last events of a history")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--time", action="store_true", help="time to quality")
    parser.add_argument("--speed", action="store_true", help="supervised targets a second")
    parser.add_argument("--recbole", help="the python of an environment with RecBole, for --speed")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side with --speed")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of our side")
    parser.add_argument("--single", type=int, help=argparse.SUPPRESS)
    add_publish_option(parser)
    arguments = parser.parse_args()
    if arguments.single is not None:
        run_single(arguments)
    elif arguments.speed:
        compare_speed(arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
