"""Publish what a benchmark found: its tables become a run on a page of docs/benchmarks.

A benchmark gives its parser `add_publish_option`, and hands over the records that it printed
(`publish_records`) or tables of its own (`describe_run`, `publish_run`). Command, commit, date and
machine are filled in; a run of the same name is replaced.
"""

import argparse
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pages import FOLDER, Cell, Column, Run, Table, dump_page, load_page, write_pages


def add_publish_option(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the option `--publish NAME`."""
    parser.add_argument(
        "--publish",
        metavar="NAME",
        help="write the tables to docs/benchmarks as the run of this name",
    )


def publish_run(name: str, run: Run, folder: Path = FOLDER) -> None:
    """Put a run on the page `name`, in the place of the run of the same name, and write the pages.

    Notes and conclusion of a replaced run are not kept: they were about its figures.
    """
    path = folder / "data" / f"{name}.json"
    page = load_page(path)
    runs = {old.name: old for old in page.runs} | {run.name: run}
    page = page.model_copy(update={"runs": list(runs.values())})
    path.write_text(dump_page(page), encoding="utf-8")
    write_pages(folder)


def publish_records(
    name: str | None,
    page: str,
    title: str,
    records: Sequence[Mapping[str, Any]],
    *,
    seeds: str,
    protocol: str,
) -> None:
    """Put the records that a benchmark printed on a page, a row each, where `name` is given."""
    if name:
        run = describe_run(name, title, [table_of(records)], seeds=seeds, protocol=protocol)
        publish_run(page, run)


def rows_of(measures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a measure; where the values are records themselves, a row a record."""
    return [
        {"": name, **value} if isinstance(value, Mapping) else {"": name, "measured": value}
        for name, value in measures.items()
    ]


def table_of(records: Sequence[Mapping[str, Any]]) -> Table:
    """A table with a column for each key; a number shows four digits.

    Records inside of a record become columns of their own: {"a": {"b": 1}} -> "a, b".
    """
    rows = [dict(_flat(record)) for record in records]
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = [Column(key=key, title=key.replace("_", " ")) for key in keys]
    return Table(columns=columns, rows=[{key: _short(v) for key, v in row.items()} for row in rows])


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}, ")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> Cell:
    """A cell: floats with four digits, a list of two or three as an interval, others as text."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if _is_interval(value):
        return [float(f"{number:.4g}") for number in value]
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is_interval(value: Any) -> bool:
    """Whether a cell is `[low, high]` or `[value, low, high]`."""
    if not isinstance(value, list) or len(value) not in (2, 3):
        return False
    if not all(isinstance(number, float) for number in value):
        return False
    *means, low, high = value
    return all(low <= mean <= high for mean in (*means, low))


def describe_run(name: str, title: str, tables: list[Table], *, seeds: str, protocol: str) -> Run:
    """A run of the command that this process was started with."""
    return Run(
        name=name,
        title=title,
        command=shlex.join(["python", *sys.argv]),
        seeds=seeds,
        protocol=protocol,
        commit=f"`{_commit()}`",
        date=datetime.now(tz=UTC).date().isoformat(),
        machine=f"{_processor()}, torch {version('torch')}",
        tables=tables,
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _processor() -> str:
    """The name of the CPU, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
