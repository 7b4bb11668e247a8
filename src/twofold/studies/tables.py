"""A study's numbers as tables for a paper: Markdown, LaTeX or CSV; and two studies side by side.

Invariant: reads `study.json` alone, and for a comparison `per_request.parquet`.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from twofold import artifact
from twofold.evaluation.significance import difference
from twofold.records import Floats, InputError

FORMAT = 3
"""Of study.json."""

Result = Mapping[str, Any]
Format = Literal["markdown", "latex", "csv"]

PROTOCOL = (
    "data",
    "split",
    "cutoff",
    "seen",
    "ties",
    "candidates",
    "catalog",
    "primary",
    "sesoi_share",
)
"""Keys of the stamp that two studies must share to stand side by side."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number with its 95 % interval, if it has one."""

    value: float
    interval: Sequence[float] | None = None
    signed: bool = False

    def __str__(self) -> str:
        text = _number(self.value, self.signed)
        if self.interval is None:
            return text
        low, high = (_number(bound, self.signed) for bound in self.interval)
        return f"{text} [{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows of a name and cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell | str]]]


def load_result(folder: Path) -> Result:
    """The result of a finished study.

    Raises:
        InputError: there is none in `folder`, or it has changed.
    """
    artifact.load(folder, "study")
    found: Result = artifact.read_json(folder / "study.json")
    if found["format"] != FORMAT:
        raise InputError(
            f"{folder}: study.json has format {found['format']}, and this version reads {FORMAT}; "
            f"repeat the study's command with --resume to write it anew"
        )
    return found


def study_tables(result: Result) -> list[Table]:
    """The verdicts, every arm and baseline, the effects, and what they rest on."""
    tasks = list(result["verdicts"])
    tables = [_verdicts(result), *(_arms(result, task) for task in tasks), _effects(result)]
    tables += [_slices(result, task) for task in tasks]
    if result["attribution"]:
        tables.append(_attribution(result))
    if result["caps"]:
        tables += [_caps(result, task) for task in tasks]
    if result["semantic_ids"]:
        tables.append(_semantic_ids(result))
    return tables


def render(tables: Sequence[Table], form: Format) -> str:
    """The tables as text."""
    return {"markdown": _markdown, "latex": _latex, "csv": _csv}[form](tables)


def compare(first: Path, second: Path) -> list[Table]:
    """Two studies of the same data and protocol side by side.

    Raises:
        InputError: a study is missing, or their protocol stamps differ; it names the keys.
    """
    one, two = load_result(first), load_result(second)
    differing = [key for key in PROTOCOL if one["stamp"].get(key) != two["stamp"].get(key)]
    if differing:
        named = "; ".join(
            f"{key} is {one['stamp'].get(key)!r} and {two['stamp'].get(key)!r}" for key in differing
        )
        raise InputError(f"{first} and {second} cannot be compared: {named}")
    return [_sides(one, two, first, second), *_both(one, two, first, second)]


def _verdicts(result: Result) -> Table:
    rows: list[tuple[str, Sequence[Cell | str]]] = []
    for task, found in result["verdicts"].items():
        plain, control = (found["contrasts"][name] for name in ("plain", "control"))
        word = found["verdict"] + (" (provisional)" if found["provisional"] else "")
        rows.append((task, [word, _effect(plain), _effect(control), Cell(found["sesoi"])]))
    primary = result["stamp"]["primary"]
    columns = ["verdict", "joint − plain", "joint − step-matched", "smallest effect of interest"]
    return Table(f"Verdicts, {primary}", columns, rows)


def _arms(result: Result, task: str) -> Table:
    measures = list(result["effects"][task])
    rows = [
        (name, [_mean(found[task][measure]) for measure in measures])
        for group in (result["arms"], result["baselines"])
        for name, found in group.items()
        if task in found
    ]
    return Table(f"Arms and baselines, {task}", measures, rows)


def _effects(result: Result) -> Table:
    rows = [
        (f"{task} {measure}", [_effect(found["plain"]), _effect(found["control"])])
        for task, measures in result["effects"].items()
        for measure, found in measures.items()
    ]
    return Table("Joint minus plain and control", ["− plain", "− step-matched"], rows)


def _slices(result: Result, task: str) -> Table:
    rows: list[tuple[str, Sequence[Cell | str]]] = [
        (
            f"{found['slicing']}: {found['slice']}",
            [
                str(found["requests"]),
                Cell(found["plain"]),
                Cell(found["joint"]),
                _effect(found["minus_plain"]),
                _effect(found["minus_control"]),
            ],
        )
        for found in result["slices"][task]
    ]
    columns = ["requests", "plain", "joint", "− plain", "− step-matched"]
    return Table(f"Slices, {task}, {result['stamp']['primary']}", columns, rows)


def _attribution(result: Result) -> Table:
    parts = {
        "gain": "joint − noise",
        "popularity": "popularity (H1)",
        "content": "content (H2)",
        "interaction": "interaction",
        "noise_minus_plain": "noise − plain",
    }
    tasks = list(result["attribution"])
    rows: list[tuple[str, Sequence[Cell | str]]] = [
        (name, [_effect(result["attribution"][task][part]) for task in tasks])
        for part, name in parts.items()
    ]
    return Table("What the help rests on", tasks, rows)


def _caps(result: Result, task: str) -> Table:
    names = ("capped_minus_plain", "size_matched_minus_plain", "capped_minus_size_matched")
    rows: list[tuple[str, Sequence[Cell | str]]] = [
        (str(point["cap"]), [_effect(point["effects"][name]) for name in names])
        for point in result["caps"][task]["caps"]
        if point["effects"]
    ]
    columns = [name.replace("_minus_", " − ").replace("_", "-") for name in names]
    return Table(f"Caps on {result['caps'][task]['added']}, {task}", columns, rows)


def _semantic_ids(result: Result) -> Table:
    primary, tasks = result["stamp"]["primary"], list(result["verdicts"])
    rows: list[tuple[str, Sequence[Cell | str]]] = [
        (
            name,
            [
                cell
                for task in tasks
                for cell in (
                    _mean(result["arms"][name][task][primary]),
                    _effect(found["minus_joint"][task]),
                )
            ],
        )
        for name, found in result["semantic_ids"].items()
    ]
    columns = [column for task in tasks for column in (task, f"{task} − joint")]
    return Table(f"Semantic IDs, {primary}", columns, rows)


def _sides(one: Result, two: Result, first: Path, second: Path) -> Table:
    """The verdicts of both, and what else their stamps say differently."""
    rows: list[tuple[str, Sequence[Cell | str]]] = [
        (f"verdict on {task}", [side["verdicts"][task]["verdict"] for side in (one, two)])
        for task in one["verdicts"]
    ]
    for key in ("seeds", "budget", "threads", "device", "source_weights", "loss"):
        rows.append((key, [str(side["stamp"][key]) for side in (one, two)]))
    training = one["stamp"]["training"], two["stamp"]["training"]
    for key in training[0]:
        if training[0][key] != training[1].get(key):
            rows.append((key, [str(side.get(key)) for side in training]))
    return Table("Two studies", [str(first), str(second)], rows)


def _both(one: Result, two: Result, first: Path, second: Path) -> Iterator[Table]:
    """Every arm that both have, and the paired difference of its scores."""
    primary = one["stamp"]["primary"]
    scores = [pl.read_parquet(folder / "per_request.parquet") for folder in (first, second)]
    for task in one["verdicts"]:
        rows = []
        for arm in one["arms"]:
            if task not in one["arms"][arm] or task not in two["arms"].get(arm, {}):
                continue
            own, other = (_matrix(frame, arm, task, primary) for frame in scores)
            apart = difference(other, own, np.arange(own.shape[1]))
            cells = [_mean(side["arms"][arm][task][primary]) for side in (one, two)]
            rows.append((arm, [*cells, Cell(apart.value, apart.interval(), signed=True)]))
        columns = [str(first), str(second), "second − first"]
        yield Table(f"{task}, {primary}", columns, rows)


def _matrix(scores: pl.DataFrame, arm: str, task: str, measure: str) -> Floats:
    """Scores of one arm, (S, R), requests in the order of their ids."""
    chosen = scores.filter(arm=arm, task=task, measure=measure).sort("seed", "request_id")
    return chosen["value"].to_numpy().reshape(chosen["seed"].n_unique(), -1)


def _mean(found: Mapping[str, Any]) -> Cell:
    return Cell(found["mean"], found["interval"])


def _effect(found: Mapping[str, Any]) -> Cell:
    return Cell(found["difference"], found["interval"], signed=True)


def _number(value: float, signed: bool) -> str:
    text = f"{abs(value):.4f}"
    text = text[1:] if text.startswith("0.") else text
    sign = "−" if value < 0 else "+" if signed else ""
    return sign + text


def _markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"## {table.title}", "", "| | " + " | ".join(table.columns) + " |"]
        lines.append("|---|" + "---|" * len(table.columns))
        lines += [f"| {name} | " + " | ".join(map(str, cells)) + " |" for name, cells in table.rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _latex(tables: Sequence[Table]) -> str:
    """Tables for the package booktabs."""
    parts = []
    for table in tables:
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(table.title)}}}",
            r"\begin{tabular}{l" + "r" * len(table.columns) + "}",
            r"\toprule",
            " & ".join(["", *map(_escape, table.columns)]) + r" \\",
            r"\midrule",
            *(
                " & ".join(_escape(str(part)) for part in (name, *cells)) + r" \\"
                for name, cells in table.rows
            ),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(character, rf"\{character}" if character != "\\" else "/")
    return text.replace("−", "$-$").replace("±", r"$\pm$")


def _csv(tables: Sequence[Table]) -> str:
    """One row a number: table, row, column, value, low, high; full precision."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["table", "row", "column", "value", "low", "high"])
    for table in tables:
        for name, cells in table.rows:
            for column, cell in zip(table.columns, cells, strict=True):
                if isinstance(cell, str):
                    rows.writerow([table.title, name, column, cell, "", ""])
                else:
                    low, high = cell.interval or ("", "")
                    rows.writerow([table.title, name, column, cell.value, low, high])
    return text.getvalue()
