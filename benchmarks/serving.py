"""The server under load, over loopback.

    python benchmarks/serving.py MODEL DATASET --out DIR [--seconds 10] [--overload 60]
        [--only latency throughput overload engines] [--bi-encoder NAME-OR-FOLDER]

Requests are the dataset's test requests, half queries and half histories. The server runs in a
process of its own on one core, the clients on the other.

- latency: one client; the same requests in process, in turn; what HTTP adds.
- throughput: 32 clients, batches of at most 8 requests against batches of 1.
- overload: five times as many requests a second as the server can answer; how many are answered,
  how fast the others are refused, memory, and the latency two seconds later.
- engines: BM25 and, with --bi-encoder, a bi-encoder with faiss as the engine of the same
  application; queries alone, one client and 32.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from http_load import Connection, Seen, as_json, closed_loop, open_loop
from publish import add_publish_option, publish_records, rows_of

from twofold.records import Request
from twofold.retrieval.generative import load_model
from twofold.tasks.storage import load_dataset

K, MOST = 10, 1000
"""Items of an answer, and the longest history."""
CLIENTS = 32
PORT = 8765
SERVER_CORE, CLIENT_CORE = 0, (os.cpu_count() or 1) - 1
OTHERS = Path(__file__).parent / "other_engines.py"
Body = tuple[str, bytes]


def asked(dataset_folder: str, count: int) -> list[Request]:
    """Queries and histories in turn."""
    dataset = load_dataset(dataset_folder)
    parts = [dataset.task(task).requests("test").requests for task in dataset.tasks]
    rng = np.random.default_rng(0)
    drawn = [[part[n] for n in rng.integers(0, len(part), count // len(parts))] for part in parts]
    return [request for turn in zip(*drawn, strict=True) for request in turn]


def bodies(requests: Sequence[Request]) -> list[Body]:
    """As the API reads them."""
    made = []
    for request in requests:
        body: dict[str, Any] = {"k": K, "history": list(request.history)[-MOST:]}
        if request.query is not None:
            body["query"] = request.query
        made.append(("/retrieve", as_json(body)))
    return made


@contextlib.contextmanager
def server(*command: str, port: int = PORT) -> Iterator[int]:
    """A server on the first core, ready; its process id."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    line = ["taskset", "-c", str(SERVER_CORE), *command, "--port", str(port)]
    process = subprocess.Popen(line, env=environment)
    try:
        wait_ready(port, process)
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def wait_ready(port: int, process: "subprocess.Popen[bytes]", seconds: float = 900) -> float:
    """Seconds until /ready answers."""
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return time.perf_counter() - start
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                raise SystemExit("the server ended before it was ready") from None
        time.sleep(0.02)
    raise SystemExit("the server did not become ready")


def twofold(model: str, *options: str) -> list[str]:
    """The command that serves a model."""
    program = str(Path(sys.executable).parent / "twofold")
    return [program, "serve", model, "--threads", "1", *options]


def memory(process: int) -> float:
    """Resident MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("VmRSS")).split()[1]) / 1024


def latency(model: str, requests: Sequence[Request], seconds: float) -> dict[str, float]:
    """What HTTP adds to one request at a time: each is asked of the server and, in turn, answered
    in this process on the server's core, so that a busy machine slows both alike."""
    torch.set_num_threads(1)
    retriever = load_model(model)
    alone, served = Seen(), Seen()

    async def measure() -> None:
        connection, until = Connection(PORT), time.perf_counter() + 2 * seconds
        for number, (request, body) in enumerate(zip(requests, bodies(requests), strict=True)):
            os.sched_setaffinity(0, {SERVER_CORE})
            start = time.perf_counter()
            retriever.retrieve([request], K)
            between = time.perf_counter()
            os.sched_setaffinity(0, {CLIENT_CORE})
            start_served = time.perf_counter()
            status, _ = await connection.post(*body)
            end = time.perf_counter()
            if number >= 20:
                alone.note(200, between - start)
                served.note(status, end - start_served)
            if end > until:
                break
        connection.close()

    with server(*twofold(model)):
        asyncio.run(measure())
    pairs = zip(alone.seconds, served.seconds, strict=True)
    return {
        "requests": len(served.status),
        "in process p50, ms": alone.quantile(0.5),
        "in process p99, ms": alone.quantile(0.99),
        "served p50, ms": served.quantile(0.5),
        "served p99, ms": served.quantile(0.99),
        "HTTP adds at p50, ms": served.quantile(0.5) - alone.quantile(0.5),
        "HTTP adds to a request, median, ms": 1e3 * float(np.median([s - a for a, s in pairs])),
        "not answered": len(served.status) - served.count(200),
    }


def throughput(model: str, requests: Sequence[Request], seconds: float) -> dict[str, float]:
    """Answers a second with and without batches, of two servers in turn."""
    body, rounds, results = bodies(requests), 5, {}
    ports = {1: PORT, 8: PORT + 1}
    seen = {batch: Seen() for batch in ports}
    with contextlib.ExitStack() as stack:
        for batch, port in ports.items():
            stack.enter_context(server(*twofold(model, "--max-batch-size", str(batch)), port=port))
        for turn in range(rounds + 1):
            for batch, port in ports.items():
                new = asyncio.run(closed_loop(port, body, CLIENTS, 2 * seconds / rounds))
                if turn:  # the first one warms up
                    seen[batch].merge(new)
    for batch, all_of in seen.items():
        results[f"batch {batch}, a second"] = all_of.count(200) / (2 * seconds)
        results[f"batch {batch}, p99, ms"] = all_of.quantile(0.99)
    results["times"] = results["batch 8, a second"] / results["batch 1, a second"]
    return results


def overload(model: str, requests: Sequence[Request], seconds: float) -> dict[str, float]:
    """Five times capacity."""
    body = bodies(requests)
    with server(*twofold(model)) as process:
        asyncio.run(closed_loop(PORT, body, CLIENTS, 3))
        before = asyncio.run(closed_loop(PORT, body, 1, 3))
        capacity = asyncio.run(closed_loop(PORT, body, CLIENTS, 10)).count(200) / 10
        started = memory(process)
        seen = asyncio.run(open_loop(PORT, body, 5 * capacity, seconds))
        ended = memory(process)
        time.sleep(2)
        after = asyncio.run(closed_loop(PORT, body, 1, 3))
    return {
        "capacity, a second": capacity,
        "asked, a second": len(seen.status) / seconds,
        "served, a second": seen.count(200) / seconds,
        "served of capacity": seen.count(200) / seconds / capacity,
        "refused": seen.count(429),
        "broken connections": seen.broken,
        "other": len(seen.status) - seen.count(200) - seen.count(429),
        "refused p50, ms": seen.quantile(0.5, 429),
        "refused p99, ms": seen.quantile(0.99, 429),
        "served p50, ms": seen.quantile(0.5),
        "served p99, ms": seen.quantile(0.99),
        "memory before, MiB": started,
        "memory after, MiB": ended,
        "one client p50 before, ms": before.quantile(0.5),
        "one client p50 2 s after, ms": after.quantile(0.5),
    }


def engines(
    model: str, requests: Sequence[Request], arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Queries alone, answered by other engines of the same application."""
    queries = bodies([request for request in requests if request.query is not None])
    others = {"twofold": twofold(model)}
    script = [sys.executable, str(OTHERS), arguments.dataset]
    others["BM25 (bm25s)"] = [*script, "bm25"]
    if arguments.bi_encoder:
        kept = [
            "--encoder",
            arguments.bi_encoder,
            "--vectors",
            str(arguments.out / "bi-encoder.npy"),
        ]
        others["bi-encoder (faiss)"] = [*script, "bi-encoder", *kept]
    results, seconds = {}, arguments.seconds
    for name, command in others.items():
        with server(*command):
            asyncio.run(closed_loop(PORT, queries, CLIENTS, 2))
            alone = asyncio.run(closed_loop(PORT, queries, 1, seconds))
            many = asyncio.run(closed_loop(PORT, queries, CLIENTS, seconds))
        results[name] = {
            "one client p50, ms": alone.quantile(0.5),
            "one client p99, ms": alone.quantile(0.99),
            f"{CLIENTS} clients p50, ms": many.quantile(0.5),
            f"{CLIENTS} clients p99, ms": many.quantile(0.99),
            f"{CLIENTS} clients, a second": many.count(200) / seconds,
        }
    return results


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--overload", type=float, default=60)
    parser.add_argument("--bi-encoder", help="a sentence-transformers name or folder")
    parser.add_argument("--only", nargs="*", help="names of the parts")
    add_publish_option(parser)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    requests = asked(arguments.dataset, 2000)
    model, seconds = arguments.model, arguments.seconds
    parts: dict[str, Callable[[], Any]] = {
        "latency": lambda: latency(model, requests, seconds),
        "throughput": lambda: throughput(model, requests, seconds),
        "overload": lambda: overload(model, requests, arguments.overload),
        "engines": lambda: engines(model, requests, arguments),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        if arguments.only and name not in arguments.only:
            continue
        results = part()
        print(name, json.dumps(results, indent=2), flush=True)
        publish_records(
            arguments.publish and f"{arguments.publish}-{name}",
            *("serving", f"{name.capitalize()}, {Path(model).name}", rows_of(results)),
            seeds="one run",
            protocol="server on one core with one thread, clients on the other; see the script",
        )
        (arguments.out / f"{name}.json").write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
