"""Personalised search: a query with its user's history against the query alone.

    python benchmarks/personal.py DATASET --out DIR [--seeds 3] [--set KEY=VALUE ...] [--threads 1]

DATASET has queries with a `user_id`, such as simulate:taste. Trains the joint arm, and asks every
test query that has a history three ways: as it is, without the history, and with the history of
another user, drawn once. Full catalog; paired 95 % intervals over requests and seeds.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from publish import add_publish_option, publish_records

from twofold import artifact
from twofold.evaluation.measures import PRIMARY, Measure, score
from twofold.evaluation.significance import difference, mean
from twofold.records import Floats, Request, Retriever
from twofold.retrieval.generative import load_model
from twofold.tasks.requests import JudgedRequests
from twofold.tasks.storage import load_dataset
from twofold.training.config import resolve_config
from twofold.training.train import train

MEASURES = (PRIMARY, Measure("Recall", 10), Measure("nDCG", 10))


def asked(judged: JudgedRequests) -> dict[str, list[Request]]:
    """The requests with a history, in three ways."""
    own = [request for request in judged.requests if request.history]
    others = np.random.default_rng(0).permutation(len(own))
    return {
        "query and history": own,
        "query alone": [dataclasses.replace(request, history=()) for request in own],
        "another user's history": [
            dataclasses.replace(request, history=own[other].history)
            for request, other in zip(own, others, strict=True)
        ],
    }


def scores(retriever: Retriever, requests: list[Request], judged: JudgedRequests) -> list[Floats]:
    """The values of all requests for each measure."""
    qrels = {request.request_id: judged.qrels[request.request_id] for request in requests}
    run = retriever.retrieve(requests, max(measure.k for measure in MEASURES))
    rows = score(run, qrels, MEASURES).sort("request_id")
    by_measure = rows.partition_by("measure", as_dict=True)
    return [by_measure[str(measure),]["value"].to_numpy() for measure in MEASURES]


def main() -> None:
    """Train, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", help="KEY=VALUE")
    parser.add_argument("--threads", type=int)
    add_publish_option(parser)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dataset = load_dataset(arguments.dataset)
    judged = dataset.task("search").requests("test")
    ways = asked(judged)
    config = resolve_config("standard", None, tuple(arguments.set or ()))
    results: dict[str, list[list[Floats]]] = {way: [] for way in ways}
    for seed in range(arguments.seeds):
        folder = arguments.out / f"seed-{seed}"
        if not artifact.is_complete(folder):
            train(dataset, "joint", out=folder, config=config, seed=seed, resume=True)
        retriever = load_model(folder)
        for way, requests in ways.items():
            results[way].append(scores(retriever, requests, judged))
    table = report(results, arguments.out)
    publish_records(
        arguments.publish,
        *("personal", "Queries with the history of their user"),
        [{"asked with": way} | measures for way, measures in table.items()],
        seeds=str(arguments.seeds),
        protocol="the joint arm, test queries of users, full catalog",
    )


def report(results: dict[str, list[list[Floats]]], out: Path) -> dict[str, Any]:
    """Print, write and return means, and what the history adds."""
    table: dict[str, Any] = {}
    for place, measure in enumerate(MEASURES):
        values = {way: np.stack([seed[place] for seed in seeds]) for way, seeds in results.items()}
        clusters = np.arange(next(iter(values.values())).shape[1])
        whole = values["query and history"]
        for way, those in values.items():
            apart = difference(whole, those, clusters)
            table.setdefault(way, {})[str(measure)] = {
                "mean": [those.mean(), *mean(those, clusters).interval()],
                "history adds": [apart.value, *apart.interval()],
            }
    print(f"{len(clusters)} requests")
    for way, measures in table.items():
        cells = [f"{name} {m['mean'][0]:.4f}" for name, m in measures.items()]
        value, low, high = measures[str(PRIMARY)]["history adds"]
        print(f"{way}: {', '.join(cells)}; history adds {value:+.4f} [{low:+.4f}, {high:+.4f}]")
    (out / "personal.json").write_text(json.dumps(table, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
