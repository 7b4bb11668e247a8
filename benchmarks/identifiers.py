"""Time and memory of making semantic IDs for a large catalog.

    python benchmarks/identifiers.py --out DIR [--items 1000000] [--width 64] [--threads 1]
        [--quantizer rq-kmeans ...]

Vectors are random, the worst case for k-means, and codes have the default shape. Then the trie
over the identifiers: its time, and its bytes for each item with the counts that filters and
removals need. Each quantizer runs in a process of its own, so that the peak memory is its own; the
memory of Python, the libraries and the vectors before it is printed in brackets. Writes
DIR/identifiers.json.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from publish import add_publish_option, publish_records
from threadpoolctl import threadpool_limits

from twofold.encoders.vectors import Vectors, unit
from twofold.identifiers.identifiers import Identifiers
from twofold.identifiers.quantizers import QUANTIZERS
from twofold.identifiers.semantic import semantic_codes
from twofold.identifiers.trie import build_trie

_GIB = 2**30


def peak() -> float:
    """The largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB


def measured(name: str, items: int, width: int, threads: int) -> dict[str, Any]:
    """Seconds, memory, and how the codes are distributed, for one quantizer."""
    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        vectors = random_vectors(items, width)
        before = peak()
        start = time.perf_counter()
        made = semantic_codes(vectors, name)  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        after = peak()
        start = time.perf_counter()
        identifiers = Identifiers("semantic", made.codes, made.codebook_sizes)
        checked = time.perf_counter()
        trie = build_trie(identifiers)
        built = time.perf_counter()
        bytes_per_item = (trie.nbytes + sum(array.nbytes for array in trie.counts())) / items
        return {
            "quantizer": name,
            "codebook_sizes": made.codebook_sizes,
            "seconds": seconds,
            "vectors_gib": before,
            "peak_gib": after,
            "collisions": made.report.collisions,
            "largest_group": made.report.largest_group,
            "perplexity": [level.perplexity for level in made.report.levels],
            "identifiers_seconds": checked - start,
            "trie_seconds": built - checked,
            "trie_bytes_per_item": bytes_per_item,
        }


def random_vectors(items: int, width: int) -> Vectors:
    """Unit vectors in random directions, (items, width)."""
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((items, width), dtype=np.float32))


def main() -> None:
    """Measure each quantizer and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--items", type=int, default=1_000_000, help="items of the catalog")
    parser.add_argument("--width", type=int, default=64, help="width of an item's vector")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--quantizer", nargs="+", choices=QUANTIZERS, default=["rq-kmeans"])
    add_publish_option(parser)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    fresh = multiprocessing.get_context("spawn")
    print(f"{arguments.items:,} items of width {arguments.width}, {arguments.threads} thread(s)")
    print(
        "quantizer     sizes               seconds  peak GiB  (vectors)  collisions  largest  "
        "trie s  bytes/item"
    )
    rows = []
    for name in arguments.quantizer:
        with fresh.Pool(1) as pool:
            job = (name, arguments.items, arguments.width, arguments.threads)
            row = pool.apply(measured, job)
        rows.append(row)
        sizes = " x ".join(str(size) for size in row["codebook_sizes"])
        print(
            f"{name:12}  {sizes:18}  {row['seconds']:7.1f}  {row['peak_gib']:8.2f}  "
            f"({row['vectors_gib']:.2f})     {row['collisions']:10,}  {row['largest_group']:7}  "
            f"{row['trie_seconds']:6.2f}  {row['trie_bytes_per_item']:5.1f}"
        )
    publish_records(
        arguments.publish,
        *("identifiers", f"{arguments.items:,} items", rows),
        seeds="random vectors, one",
        protocol=f"random vectors of width {arguments.width}, {arguments.threads} threads",
    )
    result = {"items": arguments.items, "width": arguments.width, "threads": arguments.threads}
    path = arguments.out / "identifiers.json"
    path.write_text(json.dumps(result | {"rows": rows}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
