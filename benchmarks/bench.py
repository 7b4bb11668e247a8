"""A short form of benchmarks of growth and speed, within ten minutes on two cores (`make bench`).

    python benchmarks/bench.py --out DIR [--only data_growth train ...]

Runs the scripts of `PARTS` one after the other with small arguments, says how far it is and how
much time is left, and prints one table: ratios and speeds, the peak of memory of a process, and the
share of the machine's measured peak. Each script writes its JSON into a folder of its own below
DIR; DIR/bench.json holds all of them and the table.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Part:
    """A script in its short form.

    Attributes:
        arguments: those of its command line, without --out.
        seconds: what it takes on two cores that do nothing else.
        rows: its rows of the table, from the JSON that it wrote.
    """

    arguments: Sequence[str]
    seconds: float
    rows: Callable[[Any], Iterator[Row]]


def _row(case: str, value: float, what: str, peak: float, share: float | None = None) -> Row:
    """A row: a value and what it is, the peak of memory in MB, the share of the peak."""
    return {"case": case, "value": value, "what": what, "peak MB": peak, "share of peak": share}


def _data_growth(found: Any) -> Iterator[Row]:
    for row, grown in zip(found["rows"], found["growth"], strict=True):
        for stage in ("prepare", "train"):
            yield _row(
                f"{stage}, {row['interactions']:,} interactions, {row[stage]['processor']:.1f} s",
                grown[stage]["processor"],
                "time over the smallest's, 1 is linear",
                row[stage]["peak"] * 2**30 / 1e6,
            )


def _catalog_growth(found: Any) -> Iterator[Row]:
    for row in (*found["ways"], *found["by itself"]):
        yield _row(
            f"step, {row['items']:,} items, loss {row['loss']}, {row['step, ms']:.0f} ms",
            row["times the first row's step"][0],
            "time over the first's of these",
            row["peak memory, MB"],
            row["share of the peak"],
        )


def _train(found: Any) -> Iterator[Row]:
    for row in found["steps"]:
        yield _row(
            f"step, {row['dataset']}, {row['arm']}, {row['now, ms']:.0f} ms",
            row["targets a second"],
            "targets a second",
            row["peak memory now, MB"],
            row["share of the peak"],
        )


def _distributed(found: Any) -> Iterator[Row]:
    for row in found["steps"]:
        yield _row(
            f"step, two processes, {row['batch tokens']:,} tokens, "
            f"{row['two processes, ms']:.0f} ms",
            row["times as fast"][0],
            "times as fast as one process",
            row["peak memory of each of two, MB"],
        )
    seconds = found["kill"]["seconds from the kill to the next step"]
    yield _row("a process is killed", seconds, "seconds to the next step", 0.0)


def _decode(found: Any) -> Iterator[Row]:
    for row in found["decoder"]:
        yield _row(
            f"request, {row['beams']:,} beams, {row['same softmax, ms']:.0f} ms",
            row["same softmax, times"],
            "times as fast as generate",
            row["same softmax, MiB"] * 2**20 / 1e6,
            row["share of the peak"],
        )


PARTS: dict[str, Part] = {
    "train": Part(
        ["simulate:catalog:films=3000", "--arms", "recommendation", "joint", "--rounds", "3"],
        25,
        _train,
    ),
    "catalog_growth": Part(
        ["--sizes", "10000", "1000000", "--most", "10000", "--rounds", "1"], 35, _catalog_growth
    ),
    "data_growth": Part(
        ["--sizes", "200000", "1000000", "--steps", "3"]
        + [f"--set={name}" for name in ("item_init=random", "hybrid=none", "text_encoder=none")],
        35,
        _data_growth,
    ),
    "distributed": Part(
        ["simulate:catalog", "--arm", "recommendation", "--short"], 45, _distributed
    ),
    "decode": Part(
        ["--only", "decoder", "--tokens", "16", "--rounds", "1", "--beams", "10", "100", "1000"],
        120,
        _decode,
    ),
}


def run_parts(names: Sequence[str], out: Path) -> dict[str, Any]:
    """Run the parts one after the other; what each wrote, and its seconds. One that fails is named
    and left out.

    Args:
        names: which of `PARTS`.
        out: a folder; each part writes into one of its name below.
    """
    found: dict[str, Any] = {}
    start = time.monotonic()
    for number, name in enumerate(names):
        passed = time.monotonic() - start
        left = time_left(names, number, passed)
        print(f"{number + 1} of {len(names)}: {name}, {left:.0f} s left of all", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), *PARTS[name].arguments]
        code = subprocess.run([*command, "--out", str(out / name)], check=False).returncode
        if code:
            print(f"{name}.py ended with exit code {code}; its message is above", file=sys.stderr)
            continue
        written = json.loads((out / name / f"{name}.json").read_text(encoding="utf-8"))
        found[name] = {"found": written, "seconds": time.monotonic() - start - passed}
    return found


def time_left(names: Sequence[str], done: int, passed: float) -> float:
    """The seconds left after the first `done` parts, at the pace of this machine so far."""
    expected = [PARTS[name].seconds for name in names]
    pace = passed / sum(expected[:done]) if done else 1.0
    return pace * sum(expected[done:])


def table(found: Mapping[str, Any]) -> list[Row]:
    """The rows of all parts that ran."""
    return [
        {"part": name, **row}
        for name, each in found.items()
        for row in PARTS[name].rows(each["found"])
    ]


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table as text."""
    yield f"{'part':15} {'case':58} {'value':>9} {'what':38} {'peak MB':>8} {'of peak':>7}"
    for row in rows:
        share = "" if row["share of peak"] is None else f"{row['share of peak']:.1%}"
        peak = f"{row['peak MB']:.0f}" if row["peak MB"] else ""
        value = f"{row['value']:,.2f}"
        yield f"{row['part']:15} {row['case']:58} {value:>9} {row['what']:38} {peak:>8} {share:>7}"


def main() -> None:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    before = time.monotonic()
    found = run_parts(arguments.only, arguments.out)
    rows = table(found)
    print("\n".join(lines(rows)))
    seconds = time.monotonic() - before
    load = os.getloadavg()[0]
    print(f"{seconds:.0f} s in all, load {load:.1f}; {arguments.out / 'bench.json'}")
    result = {"parts": found, "table": rows, "seconds": seconds, "load": load}
    (arguments.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if len(found) < len(arguments.only):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
