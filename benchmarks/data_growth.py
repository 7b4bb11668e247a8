"""How time and memory grow with the data: `prepare`, and `train` up to its first steps.

    python benchmarks/data_growth.py --out DIR [--sizes 1000000 3000000] [--steps 5] [--threads 1]
        [--set KEY=VALUE ...] [--keep]

For each size N a folder of four Parquet tables is written, piece by piece: N interactions of N / 50
users, and N / 10 queries of theirs with two relevant items each, over 100,000 items. `twofold
prepare` and `twofold train` then run as processes of their own. A table shows their time, processor
time and peak memory (mapped files that were read count as well), when the first step of the
training began, counted from the start of its command in seconds and in seconds of processors, and
ratios to the smallest size, divided by the ratio of the sizes: 1 is linear. The data are removed
afterwards, unless they are to be kept.
Writes DIR/data_growth.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ITEMS, GROUPS, EVENTS_OF_USER = 100_000, 100, 50
PIECE = 2_000_000
"""The rows of a table that are made at once."""
_GIB = 2**30
_START, _SPAN = 1_600_000_000, 100_000_000
"""Seconds since 1970 of the first event, and how long the log is."""

FIRST_STEP = """
import os, sys, time
from twofold.cli import main
from twofold.training import loop
step, started, told = loop._step, float(os.environ["STARTED"]), []
def timed(*arguments, **named):
    if not told:
        told.append(time.time() - started)
        spent = time.process_time()
        print(f"first step after {told[0]:.3f} s, {spent:.3f} s", file=sys.stderr, flush=True)
    return step(*arguments, **named)
loop._step = timed
main()
"""
"""`twofold` that says when its first step begins."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process took: seconds, seconds of processors, and GiB at its peak."""

    seconds: float
    processor: float
    peak: float
    said: str = ""


def write_source(folder: Path, size: int) -> None:
    """The four tables of a simulated log of `size` interactions.

    Args:
        folder: a folder that does not exist yet.
        size: the number of interactions; it bounds no memory.
    """
    folder.mkdir(parents=True)
    words = [f"word{number}" for number in range(2_000)]
    _items(words).write_parquet(folder / "items.parquet")
    users = max(1, size // EVENTS_OF_USER)
    chosen = partial(_events, size=size, users=users)
    _stream(folder / "interactions.parquet", size, chosen)
    queries = size // 10
    asked = partial(_queries, size=queries, users=users, words=words)
    _stream(folder / "queries.parquet", queries, asked)
    _stream(folder / "qrels.parquet", queries, _answers)


def _items(words: Sequence[str]) -> pl.DataFrame:
    """Items, whose titles are two words of their group and one of their own."""
    number = np.arange(ITEMS)
    group = number % GROUPS
    names = np.array(words)
    parts = [names[group * 2], names[group * 2 + 1], names[200 + number // GROUPS]]
    return pl.DataFrame(
        {
            "item_id": _ids("item-", number),
            "title": [" ".join(own) for own in zip(*parts, strict=True)],
        }
    )


def _events(start: int, stop: int, size: int, users: int) -> pl.DataFrame:
    """Events in the order of time; most items of a user are of one group."""
    rng = np.random.default_rng([1, start])
    user = rng.integers(users, size=stop - start)
    items = _popular(rng, user % GROUPS, 0.7)
    times = _times(start, stop, size)
    return pl.DataFrame(
        {"user_id": _ids("user-", user), "item_id": _ids("item-", items), "timestamp": times}
    )


def _queries(start: int, stop: int, size: int, users: int, words: Sequence[str]) -> pl.DataFrame:
    """Queries of two or three words, half of them of the title of their answer alone."""
    wanted = _wanted(start, stop)
    rng = np.random.default_rng([2, start])
    names = np.array(words)
    drawn = names[rng.integers(len(names), size=len(wanted))]
    more = np.where(rng.random(len(wanted)) < 0.5, drawn, "")
    own, group = names[200 + wanted // GROUPS], names[wanted % GROUPS * 2]
    text = pl.concat_str([pl.Series(own), pl.Series(group), pl.Series(more)], separator=" ")
    return pl.select(
        query_id=_ids("query-", np.arange(start, stop)),
        text=text.str.strip_chars(),
        user_id=_ids("user-", rng.integers(users, size=stop - start)),
        timestamp=pl.Series(_times(start, stop, size)),
    )


def _answers(start: int, stop: int) -> pl.DataFrame:
    """Two relevant items of each query, of one group."""
    wanted = _wanted(start, stop)
    items = np.stack([wanted, (wanted + GROUPS) % ITEMS], axis=1).reshape(-1)
    queries = np.repeat(np.arange(start, stop), 2)
    return pl.DataFrame({"query_id": _ids("query-", queries), "item_id": _ids("item-", items)})


def _wanted(start: int, stop: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng([3, start])
    return _popular(rng, rng.integers(GROUPS, size=stop - start), 1.0)


def _popular(
    rng: np.random.Generator, group: np.ndarray[Any, Any], share: float
) -> np.ndarray[Any, Any]:
    """An item for each group, or with probability 1 - `share` for another one; few are popular."""
    other = np.where(rng.random(len(group)) < share, group, rng.integers(GROUPS, size=len(group)))
    rank = np.floor((ITEMS // GROUPS) * rng.random(len(group)) ** 3).astype(np.int64)
    return rank * GROUPS + other


def _times(start: int, stop: int, size: int) -> np.ndarray[Any, Any]:
    return _START + np.arange(start, stop) * _SPAN // size


def _ids(prefix: str, number: np.ndarray[Any, Any]) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.lit(pl.Series(number)).cast(pl.String)).to_series()


def _stream(path: Path, size: int, piece: Callable[[int, int], pl.DataFrame]) -> None:
    """Write a table of `size` pieces' rows without holding it."""
    parts = path.with_suffix("")
    parts.mkdir()
    for number, start in enumerate(range(0, size, PIECE)):
        made = piece(start, min(start + PIECE, size))
        made.write_parquet(parts / f"{number:05}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(path)
    shutil.rmtree(parts)


def run(command: Sequence[str], threads: int) -> Spent:
    """Run a command as a process of its own and wait for its end."""
    names = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    start = time.time()
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"STARTED": str(start)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stderr is not None
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{said}")
    processor = usage.ru_utime + usage.ru_stime
    return Spent(time.time() - start, processor, usage.ru_maxrss * 1024 / _GIB, said)


def measured(folder: Path, size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `prepare` and `train` take on a log of `size` interactions."""
    threads = arguments.threads
    made = folder / "source"
    if not made.exists():
        write_source(made, size)
    quiet = [sys.executable, "-c", "import sys; sys.stdout = sys.stderr\n" + FIRST_STEP]
    prepared = run([*quiet, "prepare", str(made), "--out", str(folder / "prepared")], threads)
    settings = [f"max_steps={arguments.steps}", *arguments.set]
    train = [*quiet, "train", str(folder / "prepared"), "--out", str(folder / "model")]
    train += [part for setting in settings for part in ("--set", setting)]
    trained = run([*train, "--threads", str(threads)], threads)
    (first,) = [line for line in trained.said.splitlines() if line.startswith("first step after")]
    return {
        "interactions": size,
        "prepare": _figures(prepared),
        "first_step_seconds": float(first.split()[3]),
        "first_step_processor": float(first.split()[5]),
        "train": _figures(trained),
    }


def _figures(spent: Spent) -> dict[str, float]:
    return {name: value for name, value in asdict(spent).items() if name != "said"}


def growth(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each figure over that of the first row, divided by the ratio of the sizes."""
    first, grown = rows[0], []
    for row in rows:
        larger = row["interactions"] / first["interactions"]
        grown.append(
            {"interactions": row["interactions"]}
            | {
                stage: {name: row[stage][name] / first[stage][name] / larger for name in row[stage]}
                for stage in ("prepare", "train")
            }
            | {
                name: row[name] / first[name] / larger
                for name in ("first_step_seconds", "first_step_processor")
            }
        )
    return grown


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--steps", type=int, default=5, help="training steps")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--set", action="append", default=[], help="a setting of the training")
    parser.add_argument("--keep", action="store_true", help="keep the data and the models")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("interactions   prepare s   cpu s    GiB   first step s   cpu s   train s   cpu s    GiB")
    for size in arguments.sizes:
        folder = arguments.out / str(size)
        row = measured(folder, size, arguments)
        rows.append(row)
        prepare, train = row["prepare"], row["train"]
        print(
            f"{size:12,}  {prepare['seconds']:10.1f}  {prepare['processor']:6.1f} "
            f"{prepare['peak']:6.2f}  {row['first_step_seconds']:13.1f}  "
            f"{row['first_step_processor']:6.1f}  {train['seconds']:8.1f}  "
            f"{train['processor']:6.1f} {train['peak']:6.2f}",
            flush=True,
        )
        if not arguments.keep:
            shutil.rmtree(folder)
    grown = growth(rows)
    print("growth over the growth of the data (1 is linear):")
    for row in grown:
        print(
            f"{row['interactions']:12,}  {row['prepare']['seconds']:10.2f}  "
            f"{row['prepare']['processor']:6.2f} {row['prepare']['peak']:6.2f}  "
            f"{row['first_step_seconds']:13.2f}  {row['first_step_processor']:6.2f}  "
            f"{row['train']['seconds']:8.2f}  "
            f"{row['train']['processor']:6.2f} {row['train']['peak']:6.2f}"
        )
    result = {"rows": rows, "growth": grown, "threads": arguments.threads, "set": arguments.set}
    (arguments.out / "data_growth.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
