"""Items that no training saw, added to a trained model: are they retrieved, what do others lose?

    python benchmarks/new_items.py DATASET --out DIR [--share .05] [--hide .05]
        [--encoder E [--tune-encoder EPOCHS]] [--set KEY=VALUE ...] [--threads 1] [--device cuda]

Draws a share of the items and takes them out of everything: the catalog, all events, all
judgements, and the queries that wanted nothing else. Trains a joint model on the rest, adds the
items by title and text as `twofold items add` does, and asks every query that wants one of them.
Beside it: as many trained items, each with as many queries as its counterpart; BM25 over the items'
texts; and what the added items cost requests that want trained items: those of test and, by
`--hide`, training queries whose answer training was not told, for a known query may have more.
"""

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from publish import add_publish_option, publish_records

from twofold import artifact
from twofold.additions.fields import new_items_table
from twofold.additions.placement import ItemPlacer, with_items
from twofold.baselines.bm25 import BM25
from twofold.baselines.selection import tuned_encoder
from twofold.data.dataset import Catalog
from twofold.encoders.tuning import TuningConfig
from twofold.evaluation.measures import PRIMARY, score
from twofold.evaluation.significance import Estimate, difference, mean
from twofold.records import SPLITS, TASKS, Floats, Request, Retriever, Split
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests
from twofold.tasks.storage import load_dataset
from twofold.training.config import TrainingConfig, resolve_config, sentence_part
from twofold.training.train import train

KEY = ["query_id", "item_id"]
SETTINGS = {
    "epochs": 3,
    "item_text_queries": 3,
    "max_history": 100,
    "max_validation_requests": 500,
}


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
    rest = dataset.with_tables(
        interactions=kept(dataset.interactions), queries=queries, qrels=qrels
    )
    return dataclasses.replace(rest, catalog=Catalog.of(kept(dataset.catalog.items)))


def hidden(dataset: PreparedDataset, share: float, seed: int) -> pl.DataFrame:
    """Judgements of training queries, a share of all of them; no query loses its only one."""
    asked = dataset.queries.filter(pl.col("split") == "train")["query_id"]
    rows = dataset.qrels.filter(pl.col("query_id").is_in(asked.implode()))
    rows = rows.sort("query_id", "item_id").sample(fraction=1, shuffle=True, seed=seed)
    spare = rows.filter(pl.int_range(pl.len()).over("query_id") > 0)
    return spare.head(round(share * len(rows)))


def trained(dataset: PreparedDataset, out: Path, arguments: argparse.Namespace) -> Path:
    """The folder of a joint model; made once."""
    folder = out / "model"
    if artifact.is_complete(folder):
        return folder
    given = tuple(arguments.set or ())
    encoder = arguments.encoder
    config = resolve_config("standard", None, given, base=SETTINGS, text_encoder=encoder)
    if arguments.tune_encoder:
        config = _tuned(dataset, config, out, arguments)
    place, threads = arguments.device, arguments.threads
    train(dataset, "joint", out=folder, config=config, device=place, resume=True, threads=threads)
    return folder


def _tuned(
    dataset: PreparedDataset, config: TrainingConfig, out: Path, arguments: argparse.Namespace
) -> TrainingConfig:
    tuning = TuningConfig(epochs=arguments.tune_encoder)
    place = arguments.device
    tuned = tuned_encoder(dataset, config, out / "encoder", tuning=tuning, device=place)
    before = sentence_part(config)
    assert before is not None, "--tune-encoder needs --encoder with a sentence encoder"
    return config.model_copy(
        update={"text_encoder": config.text_encoder.replace(before, tuned.name)}
    )


def compare(
    whole: PreparedDataset,
    rest: PreparedDataset,
    new: list[str],
    untold: pl.DataFrame,
    before: GenerativeRetriever,
) -> dict[str, Any]:
    """Recall@30 of the new items, of their counterparts, of BM25, and of what was there before."""
    there = {f"{task}, test": rest.task(task).requests("test") for task in TASKS}
    there["search, train"] = rest.task("search").requests("train")
    if untold.height:
        there["search, train, answers untold"] = _judged(rest, untold, ["train"])
    losing = {name: _recalls(before, judged) for name, judged in there.items()}
    rows = whole.catalog.items.filter(pl.col("item_id").is_in(pl.Series(new).implode()))
    items = new_items_table(before.model.catalog, rows.to_dicts())
    model = with_items(before.model, items, ItemPlacer.of(before.model).place(before.model, items))
    after = GenerativeRetriever(model, "after")
    words = BM25(whole, "text")
    table: dict[str, Any] = {}
    for splits in (SPLITS, ("test",)):
        wanted = _asked(whole, new, splits)
        matched = _asked(whole, _counterparts(whole, new, splits), splits)
        ours, theirs = _recalls(after, wanted), _recalls(words, wanted)
        trained_items = _recalls(after, matched)
        table[" and ".join(splits)] = {
            "queries": len(ours),
            "new items": _estimate(mean(ours[None], np.arange(len(ours)))),
            "trained items": _estimate(mean(trained_items[None], np.arange(len(trained_items)))),
            "share": float(ours.mean() / trained_items.mean()),
            "BM25 (text)": float(theirs.mean()),
            "new items - BM25": _estimate(
                difference(ours[None], theirs[None], np.arange(len(ours)))
            ),
        }
    for name, judged in there.items():
        kept = _recalls(after, judged)
        table[f"trained items, {name}"] = {
            "queries": len(kept),
            "before": float(losing[name].mean()),
            "after": float(kept.mean()),
            "lost": float(1 - kept.mean() / losing[name].mean()),
        }
    return table


def _asked(dataset: PreparedDataset, items: list[str], splits: Sequence[Split]) -> JudgedRequests:
    """Every query of the splits that wants one of the items; only these count."""
    wanted = pl.col("item_id").is_in(pl.Series(items).implode())
    return _judged(dataset, dataset.qrels.filter(wanted), splits)


def _judged(
    dataset: PreparedDataset, judgements: pl.DataFrame, splits: Sequence[Split]
) -> JudgedRequests:
    """The queries of the splits that the judgements name; nothing else counts."""
    chosen = dataset.queries.filter(pl.col("split").is_in(list(splits)))
    texts = dict(chosen.select("query_id", "text").iter_rows())
    qrels: dict[str, dict[str, int]] = {}
    for query_id, item_id, relevance in judgements.iter_rows():
        if query_id in texts:
            qrels.setdefault(query_id, {})[item_id] = relevance
    return JudgedRequests(
        "search", splits[0], [Request(name, query=texts[name]) for name in qrels], qrels
    )


def _counterparts(
    dataset: PreparedDataset, new: list[str], splits: Sequence[Split], seed: int = 0
) -> list[str]:
    """For each new item a trained one that as many queries want, or nearly as many."""
    chosen = dataset.queries.filter(pl.col("split").is_in(list(splits)))["query_id"]
    counts = Counter(
        dataset.qrels.filter(pl.col("query_id").is_in(chosen.implode()))["item_id"].to_list()
    )
    names = sorted(set(counts) - set(new))
    free = [names[n] for n in np.random.default_rng(seed).permutation(len(names))]
    results = []
    for item in sorted((i for i in new if counts[i]), key=lambda i: -counts[i]):
        nearest = min(free, key=lambda other: abs(counts[other] - counts[item]))
        free.remove(nearest)
        results.append(nearest)
    return results


def _recalls(retriever: Retriever, judged: JudgedRequests) -> Floats:
    run = retriever.retrieve(judged.requests, PRIMARY.k)
    return score(run, judged.qrels, (PRIMARY,)).sort("request_id")["value"].to_numpy()


def _estimate(results: Estimate) -> list[float]:
    return [results.value, *results.interval()]


def main() -> None:
    """Train, add, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--hide", type=float, default=0.0, help="a share of training's answers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", help="tfidf, or a sentence-transformers name or folder")
    parser.add_argument("--tune-encoder", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--set", action="append", help="KEY=VALUE")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    add_publish_option(parser)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    whole = load_dataset(arguments.dataset)
    new = drawn(whole, arguments.share, arguments.seed)
    rest = without(whole, new)
    untold = hidden(rest, arguments.hide, arguments.seed)
    told = rest.with_tables(qrels=rest.qrels.join(untold, on=KEY, how="anti"))
    print(json.dumps({"items": len(whole.catalog), "new": len(new), "untold": len(untold)}))
    before = load_model(trained(told, arguments.out, arguments), arguments.device)
    results = compare(whole, told, new, untold, before)
    print(json.dumps(results, indent=2))
    publish_records(
        arguments.publish,
        *("new-items", f"{len(new)} new items of {arguments.dataset}"),
        [{"part": part} | row for part, row in results.items() if isinstance(row, dict)],
        seeds=str(arguments.seed),
        protocol="Recall@30 of the queries that want a new item, full catalog",
    )
    (arguments.out / "new_items.json").write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
