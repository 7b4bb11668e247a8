"""Items that no training saw, added to a trained model: are they found, and what do others lose?

    python benchmarks/new_items.py DATASET --out DIR [--share .05] [--encoder E [--tune-encoder]]
        [--set KEY=VALUE ...] [--threads 1]

Draws a share of the items and takes them out of everything: the catalog, all events, all
judgements, and the queries that wanted nothing else. Trains a joint model on the rest, adds the
items by title and text as `twofold items add` does, and asks every query that wants one of them.
Beside it: as many trained items, each with as many queries as its counterpart; BM25 over the items'
texts; and what the added items cost test requests that want trained items.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import torch

from twofold import artifact
from twofold.baselines.selection import sentence_part, tuned_encoder
from twofold.data.dataset import Catalog
from twofold.tasks.prepare import load_dataset
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.train import train

SETTINGS = ["epochs=3", "item_text=3", "max_history=100", "validation_requests=500"]


def drawn(dataset: PreparedDataset, share: float, seed: int) -> list[str]:
    """A share of the items that some query wants."""
    wanted = sorted(dataset.qrels["item_id"].unique().to_list())
    count = round(share * len(dataset.catalog))
    return list(np.random.default_rng(seed).permutation(wanted)[:count])


def without(dataset: PreparedDataset, items: list[str]) -> PreparedDataset:
    """The dataset as if the items had never been."""
    gone = pl.Series(items)

    def kept(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(~pl.col("item_id").is_in(gone.implode()))

    qrels = kept(dataset.qrels)
    queries = dataset.queries.filter(pl.col("query_id").is_in(qrels["query_id"].unique().implode()))
    return dataclasses.replace(
        dataset,
        catalog=Catalog.of(kept(dataset.catalog.items)),
        interactions=kept(dataset.interactions),
        queries=queries,
        qrels=qrels,
    )


def trained(dataset: PreparedDataset, out: Path, arguments: argparse.Namespace) -> Path:
    """The folder of a joint model; made once."""
    folder = out / "model"
    if artifact.is_complete(folder):
        return folder
    settings = [*SETTINGS, *(arguments.set or [])]
    config = resolve_config("standard", None, tuple(settings), encoder=arguments.encoder)
    if arguments.tune_encoder:
        config = _tuned(dataset, config, out)
    train(dataset, "joint", out=folder, config=config, resume=True, threads=arguments.threads)
    return folder


def _tuned(dataset: PreparedDataset, config: TrainingConfig, out: Path) -> TrainingConfig:
    tuned = tuned_encoder(dataset, config, out / "encoder")
    before = sentence_part(config)
    assert before is not None, "--tune-encoder needs --encoder with a sentence encoder"
    return config.model_copy(update={"encoder": config.encoder.replace(before, tuned.name)})


def main() -> None:
    """Train, add, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", help="tfidf, or a sentence-transformers name or folder")
    parser.add_argument("--tune-encoder", action="store_true")
    parser.add_argument("--set", action="append", help="KEY=VALUE")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    whole = load_dataset(arguments.dataset)
    new = drawn(whole, arguments.share, arguments.seed)
    rest = without(whole, new)
    print(json.dumps({"items": len(whole.catalog), "new": len(new)}))
    trained(rest, arguments.out, arguments)


if __name__ == "__main__":
    main()
