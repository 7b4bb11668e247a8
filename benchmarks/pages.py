"""Published results: JSON files that benchmarks write, and the pages made from them.

    python benchmarks/pages.py            write every page of docs/benchmarks/
    python benchmarks/pages.py --check    exit with 1 where a page differs from its JSON

docs/benchmarks/data/NAME.json holds what one benchmark published: runs, each with its command,
seeds, protocol, commit, date and machine, and the tables it printed. docs/benchmarks/NAME.md and
the scoreboard are made from these files and from nothing else. `publish.py` adds to them.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"

Cell = int | float | str | list[float] | None
"""A number, a text, `[low, high]`, or `[value, low, high]`."""

MADE = "<!-- Made by benchmarks/pages.py from {source}; edit that file, not this one. -->"


class Record(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Record):
    """A column of a table.

    Attributes:
        key: what the rows call it.
        title: its head on the page.
        format: a format of Python for numbers, such as `.4f`.
        target: the key of another column; a value that reaches it is printed in bold.
    """

    key: str
    title: str
    format: str = ","
    target: str | None = None


class Scored(Record):
    """The cell of the scoreboard that a table fills."""

    dataset: str
    task: Literal["search", "recommendation"]
    requests: str
    measure: str


class Table(Record):
    """One table; a row of kind `published` quotes a figure from elsewhere and is set in italics."""

    title: str = ""
    columns: list[Column]
    rows: list[dict[str, Cell]]
    scoreboard: Scored | None = None


class Run(Record):
    """What one command found, and what a reader needs to repeat it."""

    name: str
    title: str
    conclusion: str = ""
    command: str
    seeds: str
    protocol: str
    commit: str
    date: str
    machine: str
    tables: list[Table]
    notes: list[str] = []


class Page(Record):
    """One benchmark: the question it answers and its published runs, in the order of the page."""

    title: str
    question: str
    script: str
    runs: list[Run]


def load_page(path: Path) -> Page:
    """The published runs of one benchmark.

    Raises:
        pydantic.ValidationError: the file has other keys or types than a page.
    """
    return Page.model_validate_json(path.read_text(encoding="utf-8"))


def load_pages(folder: Path = FOLDER) -> dict[str, Page]:
    """Every page by its name, in alphabetical order."""
    return {path.stem: load_page(path) for path in sorted((folder / "data").glob("*.json"))}


def render_cell(cell: Cell, format_: str = ",") -> str:
    """A cell as the page prints it: no zero before the point, an interval in square brackets."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, list):
        numbers = [render_cell(number, format_) for number in cell]
        return f"{' '.join(numbers[:-2])} [{', '.join(numbers[-2:])}]".strip()
    text = format(cell, format_)
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    return sign + (digits[1:] if digits.startswith("0.") else digits)


def render_table(table: Table) -> Iterator[str]:
    """The lines of a table."""
    if table.title:
        yield from (f"**{table.title}**", "")
    yield f"| {' | '.join(column.title for column in table.columns)} |"
    yield "|---" * len(table.columns) + "|"
    for row in table.rows:
        cells = [_styled(column, row) for column in table.columns]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _styled(column: Column, row: Mapping[str, Cell]) -> str:
    value = row.get(column.key)
    text = render_cell(value, column.format)
    goal = row.get(column.target) if column.target else None
    if isinstance(value, int | float) and isinstance(goal, int | float) and value >= goal:
        return f"**{text}**"
    return f"*{text}*" if text and str(row.get("kind")).startswith("published") else text


def render_run(run: Run) -> Iterator[str]:
    """The lines of a run: conclusion, tables, how to repeat it, notes."""
    yield from (f"## {run.title}", "")
    if run.conclusion:
        yield from (run.conclusion, "")
    for table in run.tables:
        yield from render_table(table)
    yield from ("```", wrap_command(run.command), "```", "")
    yield f"- Seeds: {run.seeds}"
    yield f"- Protocol: {run.protocol}"
    yield f"- Commit: {run.commit} · {run.date} · {run.machine}"
    yield from (f"- {note}" for note in run.notes)
    yield ""


def wrap_command(command: str) -> str:
    """A command in lines of about 100 characters, broken before options."""
    return "\n".join(map(_wrap_line, command.splitlines()))


def _wrap_line(line: str) -> str:
    first, *options = re.split(r" (?=--)", line)
    lines = [first]
    for option in options:
        if len(lines[-1]) + len(option) < _WIDTH:
            lines[-1] += f" {option}"
        else:
            lines.append(f"  {option}")
    return " \\\n".join(lines)


_WIDTH = 98


def render_page(name: str, page: Page) -> str:
    """The page of one benchmark."""
    lines = [MADE.format(source=f"data/{name}.json"), f"# {page.title}", "", page.question, ""]
    lines += [
        f"Written by `{page.script}`; the numbers are in [data/{name}.json](data/{name}.json). "
        "Commands name the settings as they were called at the commit of the run "
        "([today's names](../project/log/index.md#names-of-settings-then-and-now)).",
        "",
    ]
    for run in page.runs:
        lines += render_run(run)
    return "\n".join(lines).rstrip() + "\n"


def render_index(pages: Mapping[str, Page]) -> str:
    """The list of pages."""
    lines = [MADE.format(source="data/*.json"), "# Benchmarks", ""]
    lines += [
        "[Scoreboard](scoreboard.md): ours, the best baseline and the best published figure.",
        "",
    ]
    lines += ["| page | question | script |", "|---|---|---|"]
    for name, page in pages.items():
        lines.append(f"| [{page.title}]({name}.md) | {page.question} | `{page.script}` |")
    return "\n".join(lines) + "\n"


def render_scoreboard(pages: Mapping[str, Page]) -> str:
    """The best of ours, of the baselines and of published figures, for each dataset and task."""
    runs = [(name, run) for name, page in pages.items() for run in page.runs if _scored(run)]
    lines = [MADE.format(source="data/*.json"), "# Scoreboard", ""]
    lines += [
        "The best of each kind, by dataset and kind of request; the date links to the run.",
        "",
    ]
    lines += [f"| {' | '.join(_SCOREBOARD)} |", "|---" * len(_SCOREBOARD) + "|"]
    for name, run in runs:
        lines += [_scoreboard_line(table, run, name) for table in _scored(run)]
    for name, run in runs:
        lines += [
            "",
            f"[{run.title}]({name}.md#{_anchor(run.title)}):",
            "",
            "```",
            wrap_command(run.command),
            "```",
        ]
    return "\n".join(lines) + "\n"


_SCOREBOARD = ("dataset", "requests", "measure", "ours", "best baseline", "best published", "date")


def _scored(run: Run) -> list[Table]:
    return [table for table in run.tables if table.scoreboard]


def _scoreboard_line(table: Table, run: Run, page: str) -> str:
    cell = table.scoreboard
    assert cell is not None
    column = next(column for column in table.columns if column.title == cell.measure)
    best = [_best(table, column, kind) for kind in ("ours", "baseline", "published")]
    date = f"[{run.date}]({page}.md#{_anchor(run.title)})"
    requests = [cell.dataset, f"{cell.task}, {cell.requests}", cell.measure]
    return f"| {' | '.join([*requests, *best, date])} |"


def _best(table: Table, column: Column, kind: str) -> str:
    scores = {
        str(row["system"]): value
        for row in table.rows
        if row.get("kind") == kind and isinstance(value := row.get(column.key), int | float)
    }
    if not scores:
        return ""
    system = max(scores, key=lambda name: scores[name])
    return f"{render_cell(scores[system], column.format)} ({system})"


def _anchor(title: str) -> str:
    """The anchor that GitHub and MyST give a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def render_all(folder: Path = FOLDER) -> dict[Path, str]:
    """Every page that the JSON files make, by its path."""
    pages = load_pages(folder)
    texts = {folder / f"{name}.md": render_page(name, page) for name, page in pages.items()}
    texts[folder / "index.md"] = render_index(pages)
    texts[folder / "scoreboard.md"] = render_scoreboard(pages)
    return texts


def write_pages(folder: Path = FOLDER) -> None:
    """Write every page."""
    for path, text in render_all(folder).items():
        path.write_text(text, encoding="utf-8")


def dump_page(page: Page) -> str:
    """The JSON of a page: one line a row, so that a change of a figure is a change of a line."""
    text = json.dumps(page.model_dump(exclude_defaults=True), indent=1, ensure_ascii=False)
    flat = re.compile(r"\{\n\s+([^{}]*?)\n\s+\}")
    return flat.sub(lambda row: "{" + re.sub(r"\n\s+", " ", row[1]) + "}", text) + "\n"


def main() -> None:
    """Write the pages, or compare them with their JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if not parser.parse_args().check:
        write_pages()
        return
    pages = render_all().items()
    stale = [path for path, text in pages if path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path}: differs from its JSON; run python benchmarks/pages.py")
    sys.exit(bool(stale))


if __name__ == "__main__":
    main()
