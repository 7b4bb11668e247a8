"""A server is reloaded, given broken folders, and killed; its clients must not notice.

    python benchmarks/faults.py --out DIR [--reloads 100] [--corrupt 20] [--kills 3]
        [--items 100000] [--only reloads kills]

Real server processes over loopback, models with random weights.

- reloads: two models with different answers take turns under load; every fifth folder is corrupt (a
  flipped byte, or a missing file). An answer must be entirely that of the version it names; the
  answer to a batch of searches and histories is of one version.
- kills: items are added and removed under load until the server is killed; the next server must be
  ready in time, hold every acknowledged change, and never return an item after its removal was
  acknowledged. No batch may be answered partly before a change and partly after it.

The exit code is 1 where any of this does not hold.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from http_load import Connection, as_json
from made_model import made_catalog, make_model
from publish import add_publish_option, publish_records, rows_of

from serving import memory, wait_ready

PORT = 8767
CLIENTS = 8
REQUESTS = 40
BATCH = 8
READY_SECONDS = 5.0
Outcome = dict[str, float]


@contextlib.contextmanager
def served(model: Path, state: Path) -> "Iterator[tuple[subprocess.Popen[bytes], float]]":
    """A server, and the seconds from its start until it was ready."""
    program = str(Path(sys.executable).parent / "twofold")
    command = [program, "serve", str(model), "--state", str(state), "--port", str(PORT)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--threads", "1"])
    try:
        wait_ready(PORT, process)
        yield process, time.perf_counter() - started
    finally:
        process.kill()
        process.wait(30)


async def ask(connection: Connection, path: str, body: Any) -> tuple[int, Any]:
    """Status and answer."""
    status, content = await connection.post(path, as_json(body))
    return status, json.loads(content)


def bodies(count: int) -> list[Any]:
    """Queries of words that the catalog has, and histories, by turns."""
    titles = made_catalog(count)
    return [
        {"query": titles.title(f"item-{n}"), "k": 20}
        if n % 2
        else {"history": [f"item-{n}", f"item-{n + 1}"], "k": 20}
        for n in range(count)
    ]


def requests_of(count: int) -> list[Any]:
    """Single requests, and now and then a batch of them, which the model answers in several."""
    alone = bodies(count)
    batches = [{"requests": alone[n : n + BATCH]} for n in range(0, count, BATCH)]
    return [*alone, *batches]


def is_mixed(answer: Any) -> bool:
    """Whether the answers to a batch are of several versions."""
    versions = {(one["model_version"], one["catalog_version"]) for one in answer["answers"]}
    return len(versions) > 1


Check = Callable[[Any, float, int, Any], None]
"""Sees a request, when it was sent, and the answer's status and content."""


@contextlib.asynccontextmanager
async def load(requests: Sequence[Any], check: Check) -> AsyncIterator[Counter[str]]:
    """Clients that ask without a pause until the block ends; statuses, and `broken`."""
    seen: Counter[str] = Counter()
    stop = False

    async def client(number: int) -> None:
        connection, turn = Connection(PORT), number
        while not stop:
            turn += 1
            body, sent = requests[turn % len(requests)], time.perf_counter()
            path = "/retrieve/batch" if "requests" in body else "/retrieve"
            try:
                status, answer = await ask(connection, path, body)
            except OSError:
                seen["broken"] += not stop
                await asyncio.sleep(0.05)
                continue
            seen[str(status)] += 1
            check(body, sent, status, answer)
        connection.close()

    clients = [asyncio.ensure_future(client(n)) for n in range(CLIENTS)]
    try:
        yield seen
    finally:
        stop = True
        await asyncio.gather(*clients)


# Reloads


@dataclass
class Versions:
    """What each version answers, and whether every answer is one of them."""

    known: dict[str, dict[str, list[tuple[str, float]]]] = field(default_factory=dict)
    mixed: int = 0
    batches: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    async def learn(self, requests: Sequence[Any]) -> None:
        """The answers of the version that is served now."""
        connection = Connection(PORT)
        for body in requests:
            status, answer = await ask(connection, "/retrieve", body)
            assert status == 200, answer
            self.known.setdefault(answer["model_version"], {})[_key(body)] = _ranked(answer)
        connection.close()

    def apart(self) -> float:
        """The share of places at which the two versions' answers differ."""
        one, other = self.known.values()
        pairs = [pair for body in one for pair in zip(one[body], other[body], strict=True)]
        return sum(mine[0] != theirs[0] for mine, theirs in pairs) / len(pairs)

    def check(self, body: Any, sent: float, status: int, answer: Any) -> None:
        if status != 200:
            return
        if "requests" in body:
            self.batches += 1
            self.mixed += is_mixed(answer)
            for each, one in zip(body["requests"], answer["answers"], strict=True):
                self.check(each, sent, status, one)
            return
        version = answer["model_version"]
        self.seen[version] += 1
        self.mixed += not _alike(self.known[version][_key(body)], _ranked(answer))


def _key(body: Any) -> str:
    return json.dumps(body, sort_keys=True)


def _ranked(answer: Any) -> list[tuple[str, float]]:
    return [(item["item_id"], item["score"]) for item in answer["items"]]


def _alike(expected: list[tuple[str, float]], results: list[tuple[str, float]]) -> bool:
    """Equal up to the last bits of scores, which depend on the batch."""
    scores = dict(expected)
    return len(expected) == len(results) and all(
        abs(scores.get(item, score) - score) < 1e-3 and abs(place - score) < 1e-3
        for (item, score), (_, place) in zip(results, expected, strict=True)
    ) and len(scores.keys() & dict(results).keys()) >= len(expected) - 1  # fmt: skip


def corrupted(folder: Path, out: Path, rng: random.Random) -> Path:
    """A copy with a flipped bit in one of its files, or without one of them."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder, out)
    path = rng.choice(sorted(path for path in out.rglob("*") if path.is_file()))
    if rng.random() < 0.3:
        path.unlink()
        return out
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return out


async def reloads(out: Path, count: int, corrupt: int) -> Outcome:
    """Versions take turns under load."""
    models = [out / f"model-{seed}" for seed in (1, 2)]
    requests, versions, rng = bodies(REQUESTS), Versions(), random.Random(0)
    refused = wrongly = 0
    with served(models[0], out / "state-reloads") as (process, _):
        admin = Connection(PORT)

        async def reload(folder: Path) -> int:
            return (await ask(admin, "/admin/reload", {"folder": str(folder)}))[0]

        for model in models:
            assert await reload(model) == 200
            await versions.learn(requests)
        async with load(requests_of(REQUESTS), versions.check) as seen:
            started = time.perf_counter()
            before = memory(process.pid)
            for number in range(count):
                if number % (count // corrupt) == 0:
                    status = await reload(corrupted(models[0], out / "corrupt", rng))
                    refused += status == 422
                    wrongly += status != 422
                else:
                    wrongly += await reload(models[number % 2]) != 200
                await asyncio.sleep(0.05)
            seconds, after = time.perf_counter() - started, memory(process.pid)
        admin.close()
    return {
        "reloads": count,
        "of corrupt folders, refused": refused,
        "wrong outcome of a reload": wrongly,
        "requests": seen.total(),
        "of batches, answered": versions.batches,
        "failed requests": seen.total() - seen["200"],
        "answers of mixed versions": versions.mixed,
        "answers of the rarer version": min(versions.seen[version] for version in versions.known),
        "places at which the versions differ": versions.apart(),
        "seconds": seconds,
        "memory before, MiB": before,
        "memory after, MiB": after,
    }


# Kills


@dataclass
class Ledger:
    """What was acknowledged: whether an item is there, and when it was said to be gone."""

    there: dict[str, bool] = field(default_factory=dict)
    gone_at: dict[str, float] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """Named by a change without an acknowledgement: it may have been made or not."""
    recent: list[str] = field(default_factory=list)
    returned_after_removal: int = 0
    changes: int = 0
    mixed: int = 0

    def check(self, body: Any, sent: float, status: int, answer: Any) -> None:
        if status != 200:
            return
        if "requests" in body:
            self.mixed += is_mixed(answer)
            for one in answer["answers"]:
                self.check({}, sent, status, one)
            return
        results = [item["item_id"] for item in answer["items"]]
        self.returned_after_removal += sum(sent > self.gone_at.get(i, sent) for i in results)
        self.recent = results

    async def change(self, connection: Connection, path: str, body: Any, ids: list[str]) -> None:
        """Ask for a change, and note it once it is acknowledged."""
        comes = path == "/admin/items"
        self.asked.update(ids)
        for item in ids if comes else ():
            self.gone_at.pop(item, None)  # it may be back before we hear of it
        status, answer = await ask(connection, path, body)
        assert status == 200, answer
        now = time.perf_counter()
        self.asked.difference_update(ids)
        self.there |= dict.fromkeys(ids, comes)
        if not comes:
            self.gone_at |= dict.fromkeys(ids, now)
        self.changes += 1

    async def lost(self) -> int:
        """Acknowledged changes that the server does not know of."""
        connection, lost = Connection(PORT), 0
        for item, there in self.there.items():
            if item in self.asked:
                continue
            body = {"query": "word1", "candidates": [item]}
            status, _ = await ask(connection, "/score", body)
            lost += status != (200 if there else 422)
        connection.close()
        return lost


async def changing(ledger: Ledger, rng: random.Random, round_: int) -> None:
    """Add items, remove items that were just returned, and add some of these again."""
    connection, number = Connection(PORT), 0
    with contextlib.suppress(OSError):
        while True:
            number += 1
            if number % 3 == 0:
                ids = [f"new-{round_}-{number}-{n}" for n in range(3)]
                title = f"word{rng.randrange(9)} word{rng.randrange(50)}"
                items = [{"item_id": i, "title": title, "genre": "War"} for i in ids]
                await ledger.change(connection, "/admin/items", {"items": items}, ids)
            elif number % 10 == 0 and ledger.gone_at:
                ids = [rng.choice(list(ledger.gone_at))]
                items = [{"item_id": i} for i in ids]
                await ledger.change(connection, "/admin/items", {"items": items}, ids)
            elif ledger.recent:
                ids = ledger.recent[:2]
                body = {"item_ids": ids}
                await ledger.change(connection, "/admin/items/remove", body, ids)
            await asyncio.sleep(0.01)


async def kills(out: Path, model: Path, rounds: int, seconds: float) -> Outcome:
    """A server that is killed while it is asked and changed, again and again."""
    state, requests, rng = out / "state-kills", requests_of(REQUESTS), random.Random(0)
    shutil.rmtree(state, ignore_errors=True)
    ledger, ready, lost, failed = Ledger(), [], 0, 0
    for round_ in range(rounds + 1):
        with served(model, state) as (process, until_ready):
            ready.append(until_ready)
            lost += await ledger.lost()
            ledger.asked.clear()
            if round_ == rounds:
                break
            async with load(requests, ledger.check) as seen:
                before = ledger.changes
                changes = asyncio.ensure_future(changing(ledger, rng, round_))
                while ledger.changes < before + 3:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(seconds * (0.5 + rng.random()))
                failed += seen.total() - seen["200"]
                process.kill()
                await changes
    return {
        "kills": rounds,
        "ready after a kill, seconds at most": max(ready[1:]),
        "ready without any change, seconds": ready[0],
        "acknowledged changes": ledger.changes,
        "acknowledged changes lost": lost,
        "returned after their removal was acknowledged": ledger.returned_after_removal,
        "failed requests before a kill": failed,
        "batches of mixed catalogs": ledger.mixed,
    }


def held(results: dict[str, Outcome]) -> bool:
    """Whether nothing of a fault was seen."""
    never = (
        "wrong outcome of a reload",
        "failed requests",
        "answers of mixed versions",
        "acknowledged changes lost",
        "returned after their removal was acknowledged",
        "failed requests before a kill",
        "batches of mixed catalogs",
    )
    everything = {name: value for part in results.values() for name, value in part.items()}
    slow = everything.get("ready after a kill, seconds at most", 0) > READY_SECONDS
    return not slow and not any(everything.get(name) for name in never)


def _model(folder: Path, items: int, seed: int) -> Path:
    if not folder.exists():
        make_model(folder, items, seed=seed)
    return folder


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--corrupt", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--items", type=int, default=100_000, help="of the server that is killed")
    parser.add_argument("--seconds", type=float, default=8, help="until a kill, about")
    parser.add_argument("--only", nargs="*", help="names of the parts")
    add_publish_option(parser)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    wanted = arguments.only or ["reloads", "kills"]
    results: dict[str, Outcome] = {}
    parts: dict[str, Callable[[], Awaitable[Outcome]]] = {}
    if "reloads" in wanted:
        for seed in (1, 2):
            _model(out / f"model-{seed}", 5000, seed)
        parts["reloads"] = lambda: reloads(out, arguments.reloads, arguments.corrupt)
    if "kills" in wanted:
        large = _model(out / f"model-of-{arguments.items}", arguments.items, 1)
        parts["kills"] = lambda: kills(out, large, arguments.kills, arguments.seconds)
    for name, part in parts.items():
        results[name] = asyncio.run(part())  # type: ignore[arg-type]
        print(name, json.dumps(results[name], indent=2), flush=True)
        publish_records(
            arguments.publish and f"{arguments.publish}-{name}",
            *("serving", f"{name.capitalize()} under load", rows_of(results[name])),
            seeds="one run",
            protocol="see the docstring of the script",
        )
        (out / f"{name}.json").write_text(json.dumps(results[name], indent=2), encoding="utf-8")
    sys.exit(not held(results))


if __name__ == "__main__":
    main()
