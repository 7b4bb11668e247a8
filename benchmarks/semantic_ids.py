"""The two tables of "Semantic IDs for Joint Generative Search and Recommendation" (2508.10478).

    python benchmarks/semantic_ids.py run DATASET --out DIR [--seeds 1] [--sentence MODEL]
        [--only NAME ...] [--unfiltered] [--set KEY=VALUE ...] [--threads 1]
    python benchmarks/semantic_ids.py table DIR

Trains a joint model for each way to make identifiers: one table compares what item vectors are
learned from (with RQ-KMeans), the other the quantizers (with multi-task vectors), and both have
atomic identifiers as well. Judged on test requests over the full catalog, ranked by item, never by
code; --unfiltered keeps seen items, as TIGER does. A model that exists is not trained again.
`table` prints the tables, and which of the paper's orders hold. Without --sentence vectors come
from TF-IDF and factorisations. --publish NAME puts the tables on docs/benchmarks/semantic-ids.md.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pages import Cell, Column, Table, render_table
from publish import add_publish_option, describe_run, publish_run

from twofold import artifact
from twofold.encoders.vectors import Vectors
from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.significance import difference, mean
from twofold.identifiers.assign import (
    schemes,
    semantic_identifiers,
)
from twofold.identifiers.embeddings import id_embeddings
from twofold.identifiers.identifiers import (
    ItemIdentifiers,
    SemanticScheme,
    Strategy,
    atomic_identifiers,
)
from twofold.identifiers.quantizers import QUANTIZERS
from twofold.records import TASKS, Floats, Task
from twofold.retrieval.generative import load_model
from twofold.tasks.evaluate import evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig, resolve_config, scheme_of
from twofold.training.train import train

SETTINGS = {
    "levels": 2,
    "codebook_size": 256,
    "batch_tokens": 2048,
    "max_history": 50,
    "item_text_queries": 3,
    "epochs": 4,
    "hybrid": "none",
}
"""The codes have the paper's shape. An identifier of C codes makes sequences C times as long, and
batches have so many more tokens. Generative scores are compared, so none has a hybrid part."""

ORDERS: list[tuple[Task, str, str]] = [
    ("search", "search", "recommendation"),
    ("search", "search", "multi-task"),
    ("search", "search", "text"),
    ("search", "multi-task", "recommendation"),
    ("recommendation", "recommendation", "search"),
    ("recommendation", "recommendation", "multi-task"),
    ("recommendation", "recommendation", "text"),
    ("recommendation", "multi-task", "search"),
    ("search", "multi-task", "separate"),
    ("recommendation", "multi-task", "separate"),
    ("search", "multi-task", "rq-vae"),
    ("recommendation", "multi-task", "rq-vae"),
    ("search", "multi-task", "residual-lfq"),
    ("recommendation", "multi-task", "residual-lfq"),
    ("search", "multi-task", "dictionary"),
    ("recommendation", "multi-task", "dictionary"),
]
"""(task, first, second): in the paper's tables Recall@30 of the first is above the second's."""


def rows(dataset: PreparedDataset, shape: SemanticScheme) -> dict[str, SemanticScheme]:
    """The schemes of both tables by name: all with RQ-KMeans, and the others with the best one."""
    by_name = schemes(dataset, shape)
    best = by_name.get("multi-task", list(by_name.values())[-1])
    return by_name | {name: replace(best, quantizer=name) for name in QUANTIZERS[1:]}


def run(dataset: PreparedDataset, arguments: argparse.Namespace) -> None:
    """Train and evaluate a joint model for every scheme."""
    config = resolve_config("standard", None, tuple(arguments.set or ()), base=SETTINGS)
    require_same(dataset, arguments, config)
    place = arguments.out / "encoders"

    @cache
    def vectors_of(strategy: Strategy) -> Vectors:
        kept = arguments.out / f"{strategy}.npy"
        if not kept.is_file():
            learned = id_embeddings(dataset, strategy, sentence=arguments.sentence, folder=place)
            np.save(kept, learned)
        vectors: Vectors = np.load(kept)
        return vectors

    ways: dict[str, Callable[[], ItemIdentifiers]] = {
        "atomic": partial(atomic_identifiers, len(dataset.catalog))
    }
    for name, scheme in rows(dataset, scheme_of(config)).items():
        ways[name] = partial(semantic_identifiers, dataset, scheme, vectors_of)
    if unknown := sorted(set(arguments.only or ()) - set(ways)):
        raise SystemExit(f"--only {unknown[0]}: there is {', '.join(ways)}")
    for seed in range(arguments.seeds):
        for name, make in ways.items():
            if arguments.only is None or name in arguments.only:
                one(dataset, make, arguments.out / name / f"seed-{seed}", config, seed)
                print(row_of(arguments.out, name), flush=True)


def require_same(
    dataset: PreparedDataset, arguments: argparse.Namespace, config: TrainingConfig
) -> None:
    """Record the data and settings of a folder's rows; refuse to mix them with others."""
    wanted = {
        "data": dataset.digest,
        "seen": dataset.protocol.seen,
        "sentence": arguments.sentence,
        "training": config.model_dump(),
    }
    kept = arguments.out / "settings.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not kept.is_file():
        artifact.write_json(kept, wanted)
    elif artifact.read_json(kept) != wanted:
        raise SystemExit(f"{kept}: made with other data or settings; give another --out")


def one(
    dataset: PreparedDataset,
    make: Callable[[], ItemIdentifiers],
    place: Path,
    config: TrainingConfig,
    seed: int,
) -> None:
    """Train and evaluate one model, unless that was done before."""
    arm = NAMED_ARMS["joint" if len(dataset.tasks) == len(TASKS) else dataset.tasks[0]]
    if artifact.is_complete(place / "test"):
        return
    if artifact.is_complete(place / "model"):
        retriever = load_model(place / "model")
    else:
        retriever = train(
            dataset,
            arm,
            out=place / "model",
            config=config,
            seed=seed,
            resume=True,
            histories=False,
            identifiers=make(),
        )
    evaluation = evaluate(retriever, dataset, dataset.tasks)
    save_evaluation(evaluation, place / "test", retriever.model.stamp.as_dict())


def scores(out: Path, name: str) -> dict[Task, Floats]:
    """Recall@30 of every test request, (seeds, requests), by task."""
    by_task: dict[Task, list[Floats]] = {}
    for place in sorted((out / name).glob(f"seed-*/test/{artifact.MANIFEST}")):
        rows = pl.read_parquet(place.parent / "per_request.parquet")
        rows = rows.filter(pl.col("measure") == str(PRIMARY))
        for task in TASKS:
            values = rows.filter(pl.col("task") == task)["value"].to_numpy()
            if len(values):
                by_task.setdefault(task, []).append(values)
    return {task: np.stack(values) for task, values in by_task.items()}


def row_of(out: Path, name: str) -> dict[str, Cell]:
    """One row of the table: Recall@30 with its interval for each task, and the codes."""
    row: dict[str, Cell] = {"identifiers": name, "codes": codes(out, name)}
    for task, values in scores(out, name).items():
        row[task] = [float(values.mean()), *mean(values, np.arange(values.shape[1])).interval()]
    return row


def codes(out: Path, name: str) -> str:
    """The sizes of the codebooks, and how many items share all codes before the last level."""
    manifest = artifact.read_json(out / name / "seed-0" / "model" / artifact.MANIFEST)
    shape: Mapping[str, Any] = manifest["config"]["model"]
    described: Mapping[str, Any] = manifest["config"]["stamp"]["identifiers"]
    sizes = " x ".join(map(str, shape["codebook_sizes"]))
    reports = [report for report in described.values() if isinstance(report, dict)]
    collisions = " and ".join(str(report["collisions"]) for report in reports) or "no"
    return f"{sizes}; {collisions} collisions before the last level"


def order_rows(out: Path) -> Iterator[dict[str, Cell]]:
    """Which of the paper's orders hold, with paired 95 % intervals."""
    for task, above, below in ORDERS:
        first, second = scores(out, above).get(task), scores(out, below).get(task)
        if first is None or second is None:
            continue
        gain = difference(first, second, np.arange(first.shape[1]))
        low, high = gain.interval()
        verdict = "holds" if low > 0 else "reversed" if high < 0 else "no clear difference"
        yield {
            "task": task,
            "order": f"{above} > {below}",
            "difference": [gain.value, low, high],
            "verdict": verdict,
        }


def tables_of(out: Path) -> list[Table]:
    """What every way to make identifiers finds, and which of the paper's orders hold."""
    names = sorted(path.parts[-3] for path in out.glob("*/seed-0/test"))
    if not names:
        raise SystemExit(f"{out}: nothing was run there; see semantic_ids.py run --help")
    tasks = [Column(key=t, title=f"{t}, {PRIMARY}", format=".4f") for t in scores(out, names[0])]
    columns = [Column(key="identifiers", title="identifiers"), *tasks]
    order = [Column(key=key, title=key) for key in ("task", "order")]
    order += [Column(key="difference", title="difference", format="+.4f")]
    order += [Column(key="verdict", title="")]
    return [
        Table(
            columns=[*columns, Column(key="codes", title="codes")],
            rows=[row_of(out, name) for name in names],
        ),
        Table(title="The paper's orders", columns=order, rows=list(order_rows(out))),
    ]


def show_tables(out: Path, publish: str | None) -> None:
    """Print, write and, where asked, publish what was run."""
    tables = tables_of(out)
    text = "\n".join(line for table in tables for line in render_table(table))
    print(text)
    (out / "semantic_ids.md").write_text(text, encoding="utf-8")
    rows = [table.model_dump() for table in tables]
    (out / "semantic_ids.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    if publish:
        seeds = str(len(list(out.glob("atomic/seed-*/test"))) or "1")
        protocol = "a joint model for each row, test requests, full catalog, ranked by item"
        run = describe_run(publish, out.name, tables, seeds=seeds, protocol=protocol)
        publish_run("semantic-ids", run)


def main() -> None:
    """Train and evaluate, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run", help="train and evaluate")
    runs.add_argument("dataset")
    runs.add_argument("--out", type=Path, required=True)
    runs.add_argument("--seeds", type=int, default=1, help="trainings of each row")
    runs.add_argument("--sentence", help="a sentence-transformers name or folder")
    runs.add_argument("--only", nargs="*", help="rows of the tables to run; all by default")
    runs.add_argument("--set", action="append", help="a training setting as KEY=VALUE")
    runs.add_argument("--threads", type=int, help="CPU threads")
    runs.add_argument("--unfiltered", action="store_true", help="seen items may come back")
    tables = verbs.add_parser("table", help="print the tables")
    tables.add_argument("out", type=Path)
    for verb in (runs, tables):
        add_publish_option(verb)
    arguments = parser.parse_args()
    if arguments.verb == "run":
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        dataset = load_dataset(arguments.dataset)
        if arguments.unfiltered:
            protocol = replace(dataset.protocol, seen="keep")
            dataset = replace(dataset, protocol=protocol)
        run(dataset, arguments)
    show_tables(arguments.out, arguments.publish)


if __name__ == "__main__":
    main()
