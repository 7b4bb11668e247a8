"""Tests the promises of constrained decoding on many random requests.

    python benchmarks/constrained.py [--requests 100000] [--batched 1000] [--out DIR] [--threads 1]

`valid`: random requests with filters and exclusions, over random catalogs and fresh models of both
backbones. It counts invalid identifiers, items retrieved twice, items that were excluded or
filtered out, and rankings that are too short although more items were allowed. `invariant`: the
same requests alone, in batches of eight, and in a batch with a request many times longer. It counts
the rankings that change, and those that change by more than rounding, and measures the largest
difference between the scores of items that changed places. A batch has requests of one task, so
the groups have too; that each group was one batch is checked.
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from publish import add_publish_option, publish_records

from twofold.data.dataset import Catalog
from twofold.identifiers.identifiers import Identifiers, shared
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.model.fresh import fresh_backbone
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.records import TASKS, Ranking, Request, Where
from twofold.retrieval.generative import GenerativeRetriever

WORDS = ["slow", "space", "opera", "heist", "dance", "winter", "river", "robot", "blue", "old"]
BACKBONES = ("decoder:tiny", "t5:tiny")
KINDS = ("red", "blue", "green")
K = 10
ROUNDING = {"float32": 1e-5, "bfloat16": 1e-2}
"""Items whose scores are closer than this may change places."""


def random_model(
    backbone: str, items: int, sizes: tuple[int, ...], seed: int, precision: str = "float32"
) -> GenerativeModel:
    """A fresh model over a random catalog; a decoder's weights are enlarged, so that the
    probabilities of codes differ."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(int(np.prod(sizes)))[:items]
    codes = np.stack(np.unravel_index(chosen, sizes), axis=1)
    spaces = shared(Identifiers("semantic", codes, sizes))
    tokenizer = train_tokenizer([" ".join(WORDS)] * 3, 300)
    vocabulary = fresh_vocabulary(tokenizer, spaces, max_history=60, max_query_tokens=16)
    fresh = fresh_backbone(backbone, vocabulary, 0.0, seed).eval()
    with torch.no_grad():
        for name, weights in fresh.named_parameters():
            if backbone.startswith("decoder") and weights.ndim > 1 and "norm" not in name:
                weights.mul_(3)
    fresh.pack(precision, spaces.codebooks)  # as in a loaded model
    names = [f"item-{n}" for n in range(items)]
    kinds = [KINDS[n % len(KINDS)] for n in range(items)]
    catalog = Catalog.of(pl.DataFrame({"item_id": names, "title": names, "kind": kinds}))
    return GenerativeModel(
        catalog=catalog,
        vocabulary=vocabulary,
        backbone=fresh,
        tasks=TASKS,
        seen="exclude",
        precision=precision,
        tries=tries_of(spaces),
    )


def random_requests(
    count: int, names: Sequence[str], rng: np.random.Generator, narrowing: bool = True
) -> list[Request]:
    """Queries, histories, and both; some filter, some exclude nearly the whole catalog."""
    requests = []
    for number in range(count):
        kind = number % 3
        query = " ".join(rng.choice(WORDS, rng.integers(1, 6))) if kind else None
        history = tuple(rng.choice(names, rng.integers(0 if kind else 1, 20)))
        share = rng.choice([0.0, 0.02, 0.5, 1.0]) if narrowing else 0.0
        few = rng.integers(0, 2 * K)  # so many items are left of a catalog that is nearly excluded
        out = rng.permutation(len(names))[: int(share * len(names)) - (few if share == 1 else 0)]
        request = Request(
            str(number),
            query=query,
            history=history if kind != 1 else (),
            exclude=frozenset(names[n] for n in out),
            where=_filter(rng) if narrowing else (),
        )
        requests.append(request)
    return requests


def _filter(rng: np.random.Generator) -> Where:
    """No filter, or one on one or two kinds of items."""
    kinds = rng.permutation(KINDS)[: rng.integers(0, 3)].tolist()
    return (("kind", frozenset(kinds)),) if kinds else ()


def valid(requests: int) -> dict[str, Any]:
    """Counts over all requests; all but the first two should be 0."""
    counts = {"requests": 0, "answers": 0, "invalid": 0, "twice": 0, "not allowed": 0, "short": 0}
    cases = [(backbone, seed) for seed in range(10) for backbone in BACKBONES]
    for number, (backbone, seed) in enumerate(cases):
        rng = np.random.default_rng(seed)
        sizes = tuple(int(size) for size in rng.integers(4, 12, int(rng.integers(2, 5))))
        items = int(rng.integers(20, min(400, int(np.prod(sizes)))))
        model = random_model(backbone, items, sizes, seed)
        retriever, names = GenerativeRetriever(model, beams=K), model.catalog.item_ids
        drawn = random_requests(requests // len(cases), names, rng)
        run, known = retriever.retrieve(drawn, K), set(names)
        kinds = dict(zip(names, itertools.cycle(KINDS)))
        for request in drawn:
            wanted = request.where[0][1] if request.where else set(KINDS)
            allowed = {name for name in names if kinds[name] in wanted} - request.exclude
            ranked = run[request.request_id].item_ids
            counts["requests"] += 1
            counts["answers"] += len(ranked)
            counts["invalid"] += len(set(ranked) - known)
            counts["twice"] += len(ranked) - len(set(ranked))
            counts["not allowed"] += len(set(ranked) - allowed)
            counts["short"] += len(ranked) < min(K, len(allowed))
        print(f"{number + 1} of {len(cases)} catalogs: {counts}", flush=True)
    return counts


class Counting(GenerativeRetriever):
    """Records the number of requests of each batch."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__(model)
        self.batches: list[int] = []

    def _rank(self, task: Any, requests: Sequence[Request], *rest: Any) -> Any:
        self.batches.append(len(requests))
        return super()._rank(task, requests, *rest)


def eights(requests: int, names: Sequence[str], rng: np.random.Generator) -> list[list[Request]]:
    """Random requests in groups of eight, of which all have a query or none has."""
    groups: list[list[Request]] = []
    open_groups: dict[bool, list[Request]] = {True: [], False: []}
    for request in random_requests(3 * requests, names, rng, narrowing=False):
        group = open_groups[request.query is None]
        group.append(request)
        if len(group) == 8:
            groups.append(group)
            open_groups[request.query is None] = []
    return groups[: -(-requests // 8)]


def invariant(requests: int, backbone: str, precision: str) -> dict[str, Any]:
    """How many rankings depend on the other requests of the batch."""
    model = random_model(backbone, 2000, (16, 16, 16), 0, precision)
    retriever, names = Counting(model), model.catalog.item_ids
    rng = np.random.default_rng(1)
    groups = eights(requests, names, rng)
    drawn = list(itertools.chain(*groups))
    history = tuple(rng.choice(names, 60))
    alone = {r: ranking for one in drawn for r, ranking in _answers(retriever, [one], 1)}
    counts: dict[str, Any] = {"backbone": backbone, "precision": precision, "requests": len(drawn)}
    for name in ("in eights", "with an outlier"):
        gaps = []
        for group in groups:
            query = None if group[0].query is None else " ".join(WORDS * 5)
            outlier = Request("outlier", query=query, history=history)
            batches = [group] if name == "in eights" else [[request, outlier] for request in group]
            together = {r: a for b in batches for r, a in _answers(retriever, b, len(b))}
            gaps += [_gap(alone[r.request_id], together[r.request_id]) for r in group]
        changed = [gap for gap in gaps if gap is not None]
        counts |= {f"{name}: changed": len(changed), f"{name}: widest gap": max(changed, default=0)}
        counts[f"{name}: beyond rounding"] = sum(gap >= ROUNDING[precision] for gap in changed)
    print(counts, flush=True)
    return counts


def _answers(
    retriever: Counting, requests: Sequence[Request], together: int
) -> list[tuple[str, Ranking]]:
    """The rankings of one batch of `together` requests; it is an error if they were several."""
    retriever.batches.clear()
    run = retriever.retrieve(requests, K)
    if retriever.batches != [together]:
        raise SystemExit(f"batches of {retriever.batches} requests, not of {together}")
    return list(run.rankings.items())


def _gap(alone: Ranking, together: Ranking) -> float | None:
    """The largest difference between the scores of items that changed places; None if none did."""
    if alone.item_ids == together.item_ids:
        return None
    pairs = zip(alone.item_ids, together.item_ids, alone.scores, together.scores, strict=True)
    return max(abs(a - b) for first, second, a, b in pairs if first != second)


def main() -> None:
    """Run both parts, and print and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000, help="requests of `valid`")
    parser.add_argument("--batched", type=int, default=1000, help="requests of `invariant`")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    add_publish_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    results: dict[str, Any] = {"valid": valid(arguments.requests)}
    results["invariant"] = [
        invariant(arguments.batched, backbone, precision)
        for backbone in BACKBONES
        for precision in ("float32", "bfloat16")
    ]
    results["seconds"] = time.perf_counter() - start
    print(json.dumps(results, indent=2))
    publish_records(
        arguments.publish,
        *("constrained", "Counts, and rankings of the same requests in batches"),
        [results["valid"], *results["invariant"]],
        seeds="random catalogs and requests",
        protocol=f"{arguments.requests:,} requests; {arguments.batched:,} of them in batches",
    )
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        path = arguments.out / "constrained.json"
        path.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
