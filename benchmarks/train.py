"""The time of a training step and its share of the peak, alone or against an earlier version.

    git worktree add BASE COMMIT
    python benchmarks/train.py DATASET... [--base BASE] [--rounds 12] [--threads 1] [--out DIR]
        [--publish NAME]

DATASET is a folder of tables, or `simulate:NAME`. Each version prepares it by itself and trains a
decoder of size `small` from the same seed, so that both have the same batches: the targets of every
round must be equal. Each version runs in a process of its own, and the two take turns, some steps a
round; without --base this version is measured alone. Times are processor times, as other work on
the machine must not decide. The share of the peak is that of the matrix products of blocks and loss
(attention left out) at the rate of a large bfloat16 product. Writes DIR/train.json.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from publish import add_publish_option, publish_records
from turns import Worker

HERE = Path(__file__).parents[1]
ARMS = ("recommendation", "search", "joint")
STEPS = 10
"""The steps of a round."""
SETTINGS = {
    "backbone": "decoder:small",
    "batch_tokens": 1024,
    "max_batch_size": 128,
    "long_histories": "windows",
    "dropout": 0.1,
    "max_steps": 12_000,
    "item_init": "text",
}


class Stopped(Exception):  # noqa: N818
    """Raised in the place of the training loop, once its job is known."""


def job_of(
    folder: str, arm: str, precision: str, more: Sequence[str] = ()
) -> tuple[Any, Any, Any, Any]:
    """The loop, backbone, vocabulary and job of a training, of whatever version is imported.

    Args:
        folder: a prepared dataset.
        arm: what is trained.
        precision: `float32` or `bfloat16`.
        more: further settings, KEY=VALUE.
    """
    config = importlib.import_module("twofold.training.config")
    training = importlib.import_module("twofold.training.train")
    load = importlib.import_module("twofold.tasks.storage").load_dataset
    written = [f"{name}={value}" for name, value in {**SETTINGS, "precision": precision}.items()]
    resolved = config.resolve_config("standard", None, (*written, *more))
    found: list[Any] = []

    def keep(*arguments: Any) -> None:
        found.extend(arguments[:3])
        raise Stopped

    with (
        tempfile.TemporaryDirectory() as out,
        mock.patch.object(training.loop, "run", keep),
        suppress(Stopped),
    ):
        training.train(load(folder), arm, out=Path(out) / "model", config=resolved, device="cpu")
    return (training.loop, *found)


def stepper(
    folder: str, arm: str, precision: str, more: Sequence[str] = ()
) -> tuple[Callable[[int], None], Any]:
    """A function that takes steps, and the progress that it changes; arguments as of `job_of`."""
    loop, backbone, vocabulary, job = job_of(folder, arm, precision, more)
    optimizer, progress = loop.optimizer_of(backbone, job.config), loop.Progress()

    def take(steps: int) -> None:
        with loop._deterministic(torch.device("cpu")):
            for _ in range(steps):
                loop._step(backbone, vocabulary, job, optimizer, progress)

    return take, progress


def products_of(folder: str, arm: str, precision: str, steps: int) -> dict[str, float]:
    """Means over the first steps: operations of the matrix products, examples and targets."""
    _, backbone, vocabulary, job = job_of(folder, arm, precision)
    blocks = sum(p.numel() for name, p in backbone.named_parameters() if ".layers." in name)
    rows = backbone.output_embeddings()
    found = {"operations": 0.0, "examples": 0.0, "targets": 0.0}
    for step in range(steps):
        planned = job.mixture.batch(step)
        batch = vocabulary.collate(job.sources[planned.source].take(planned.rows))
        products = len(batch.token_indices) * blocks + len(batch.context_rows) * rows.numel()
        found["operations"] += 6 * products / steps
        found["examples"] += len(batch.tokens) / steps
        found["targets"] += len(batch.targets) / steps
    return found


def work(arguments: argparse.Namespace) -> None:
    """Answer on standard output what each round took; a line with a number asks for steps."""
    torch.set_num_threads(arguments.threads)
    take, progress = stepper(
        arguments.datasets[0], arguments.arm, arguments.precision, arguments.set
    )
    print("ready", flush=True)
    for line in sys.stdin:
        before, seen = time.process_time(), sum(progress.targets_seen.values())
        take(int(line))
        seconds = (time.process_time() - before) / int(line)
        answer = {
            "seconds": seconds,
            "targets": sum(progress.targets_seen.values()) - seen,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(answer), flush=True)


def version(source: Path, folder: Path, arm: str, arguments: argparse.Namespace) -> Worker:
    """One version, in a process of its own."""
    script = [__file__, str(folder), "--arm", arm, "--work"]
    script += ["--threads", str(arguments.threads), "--precision", arguments.precision]
    return Worker(script, f"{source} on {folder}", arguments.threads, environment(source))


def environment(source: Path) -> dict[str, str]:
    """The environment in which `twofold` is that of a checkout."""
    return {**os.environ, "PYTHONPATH": str(source / "src")}


def prepare(source: Path, dataset: str, out: Path) -> Path:
    """The dataset as a version prepares it."""
    command = "from twofold.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, "prepare", dataset, "--out", str(out)],
        env=environment(source),
        check=True,
        capture_output=True,
    )
    return out


def peaks() -> dict[str, float]:
    """GFLOP/s of matrix products: large ones, and those of the loss over 3,416 codes."""
    found = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for shape, (rows, inner, columns) in (
            ("1024 x 1024 x 1024", (1024, 1024, 1024)),
            ("1024 x 128 x 3416", (1024, 128, 3416)),
        ):
            left = torch.randn(rows, inner).to(kind)
            right = torch.randn(inner, columns).to(kind)
            times = []
            for _ in range(30):
                start = time.process_time()
                left @ right
                times.append(time.process_time() - start)
            found[f"{name}, {shape}"] = 2 * rows * inner * columns / min(times) / 1e9
    return found


def compare(
    name: str, folders: dict[Path, Path], arm: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """A record of one case: every version in turn, the one that is measured last.

    Args:
        name: of the dataset.
        folders: the dataset as each checkout prepared it.
        arm: what is trained.
        arguments: of the command line.
    """
    workers = [version(source, folder, arm, arguments) for source, folder in folders.items()]
    for worker in workers:
        worker.take(STEPS)
    rounds = [[worker.take(STEPS) for worker in workers] for _ in range(arguments.rounds)]
    for worker in workers:
        worker.end()
    if any(each[0]["targets"] != each[-1]["targets"] for each in rounds):
        raise SystemExit(f"{name}, {arm}: the versions have other batches")
    ratios = sorted(each[0]["seconds"] / each[-1]["seconds"] for each in rounds)
    then, now = (statistics.median(r[side]["seconds"] for r in rounds) for side in (0, -1))
    mean = products_of(str(folders[HERE]), arm, arguments.precision, STEPS * arguments.rounds)
    both = len(folders) > 1
    return {
        "dataset": name,
        "arm": arm,
        **({"before, ms": then * 1e3} if both else {}),
        "now, ms": now * 1e3,
        **({"times as fast": [statistics.median(ratios), ratios[0], ratios[-1]]} if both else {}),
        "examples a second": mean["examples"] / now,
        "targets a second": mean["targets"] / now,
        "products, GFLOP/s": mean["operations"] / now / 1e9,
        **({"peak memory before, MB": rounds[-1][0]["peak"]} if both else {}),
        "peak memory now, MB": rounds[-1][-1]["peak"],
    }


def prepared(arguments: argparse.Namespace, kept: Path) -> Iterator[tuple[str, dict[Path, Path]]]:
    """The name of every dataset, and the folder that each checkout prepared."""
    sources = [arguments.base.absolute(), HERE] if arguments.base else [HERE]
    for number, dataset in enumerate(arguments.datasets):
        places = [kept / f"{number}-{side}" for side in range(len(sources))]
        yield (
            Path(dataset).name,
            {
                source: prepare(source, dataset, place)
                for source, place in zip(sources, places, strict=True)
            },
        )


def arms_of(folder: Path, wanted: Sequence[str]) -> list[str]:
    """The arms that a prepared dataset has the tables for."""
    load = importlib.import_module("twofold.tasks.storage").load_dataset
    has_queries = load(folder).qrels.height > 0
    return [arm for arm in wanted if has_queries or arm == "recommendation"]


def main() -> None:
    """Compare both versions, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--base", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    add_publish_option(parser)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments)
        return
    torch.set_num_threads(arguments.threads)
    rates, records = peaks(), []
    print(json.dumps(rates))
    peak = rates[f"{arguments.precision}, 1024 x 1024 x 1024"]
    with tempfile.TemporaryDirectory() as kept:
        for name, folders in prepared(arguments, Path(kept)):
            for arm in arms_of(folders[HERE], arguments.arms):
                record = compare(name, folders, arm, arguments)
                record["share of the peak"] = record["products, GFLOP/s"] / peak
                records.append(record)
                print(json.dumps(record), flush=True)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = {"peaks, GFLOP/s": rates, "steps": records}
        (arguments.out / "train.json").write_text(json.dumps(found, indent=2) + "\n")
    publish_records(
        arguments.publish,
        "train",
        "A step of training, before and now" if arguments.base else "A step of training",
        records,
        seeds="one; the same batches on both sides",
        protocol=f"decoder of size small, {arguments.precision}, 1,024 tokens a batch; "
        f"{arguments.threads} threads, processor time, {arguments.rounds} rounds of {STEPS} steps "
        "in turn",
    )


if __name__ == "__main__":
    main()
