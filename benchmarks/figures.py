"""Draw the figures of docs/results from the published JSON of docs/benchmarks.

    python benchmarks/figures.py

Writes docs/results/figures/NAME.svg. A figure holds numbers of the JSON files and none else; it
has a background of its own, light or dark as the reader's system asks for, so that it can be read
on any page.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from pages import FOLDER, Cell, Page, Run, Table, load_pages

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FIGURES = FOLDER.parent / "results" / "figures"

Pages = Mapping[str, Page]

INK, PAPER, GRID = "#24292f", "#fefefe", "#d8dce1"
OURS, BASELINE, PUBLISHED = "#1f6fb2", "#c2671c", "#6d6f76"
DARK = {
    INK: "#dfe3e8",
    PAPER: "#16191d",
    GRID: "#353b42",
    OURS: "#64aee8",
    BASELINE: "#eb9a55",
    PUBLISHED: "#a3a8b0",
}
"""What takes the place of each colour on a dark page."""

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "twofold",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
}


def draw_quality(pages: Pages) -> Figure:
    """The best of ours, of the baselines and of published figures, a line a dataset and task."""
    tables = [table for run in pages["quality"].runs for table in run.tables if table.scoreboard]
    figure, axes = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    for kind, colour, mark, label in (
        ("published", PUBLISHED, "D", "best published"),
        ("baseline", BASELINE, "s", "best baseline, tuned"),
        ("ours", OURS, "o", "ours"),
    ):
        best = [_best_value(table, kind) for table in tables]
        places = [place for place, value in enumerate(best) if value is not None]
        values = [value for value in best if value is not None]
        axes.plot(values, places, mark, color=colour, label=label, markersize=7)
    _name_rows(axes, [_scored_name(table) for table in tables])
    axes.set_xlabel("share of the relevant items found")
    axes.set_xlim(0, 0.75)
    axes.legend(loc="lower right", reverse=True)
    return figure


def _best_value(table: Table, kind: str) -> float | None:
    assert table.scoreboard is not None
    key = next(c.key for c in table.columns if c.title == table.scoreboard.measure)
    values = [row[key] for row in table.rows if row.get("kind") == kind and key in row]
    return max((float(v) for v in values if isinstance(v, int | float)), default=None)


def _scored_name(table: Table) -> str:
    assert table.scoreboard is not None
    cell = table.scoreboard
    asked = "recommendation" if cell.task == "recommendation" else cell.requests
    return f"{cell.dataset}, {asked}\n{cell.measure}"


def draw_decoding(pages: Pages) -> Figure:
    """Time of a batch of requests against its hypotheses, for `generate` and for ours."""
    run = find_run(pages["decode"], "generate-cpu")
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.4), sharey=True, layout="constrained")
    for axes, title, table in zip(panels, ("T5", "decoder"), run.tables[:2], strict=True):
        for tokens, line in ((101, "--"), (16, "-")):
            rows = [row for row in table.rows if row["tokens"] == tokens]
            beams = [_hypotheses(str(row["shape"])) for row in rows]
            for key, colour, name in (("generate", BASELINE, "generate"), ("ours", OURS, "ours")):
                times = [_number(row[key]) for row in rows]
                label = f"{name}, {tokens} tokens"
                axes.plot(beams, times, f"o{line}", color=colour, label=label, markersize=4)
        axes.set(title=title, xscale="log", yscale="log", xlabel="hypotheses (requests x beams)")
        axes.set_xticks([10, 50, 80, 400], ["10", "50", "80", "400"])
        axes.set_xticks([], minor=True)
        axes.grid(axis="y")
    panels[0].set_ylabel("processor time, ms")
    panels[0].set_yticks([100, 1000, 10000], ["100", "1,000", "10,000"])
    panels[0].legend(fontsize=8)
    return figure


def _hypotheses(shape: str) -> int:
    batch, beams = shape.split(" x ")
    return int(batch) * int(beams)


def draw_new_items(pages: Pages) -> Figure:
    """Recall of new items, of trained ones and of BM25, a line a draw."""
    table = find_run(pages["new-items"], "five-draws").tables[0]
    figure, axes = plt.subplots(figsize=(7.6, 2.6), layout="constrained")
    for key, colour, mark, label in (
        ("trained", PUBLISHED, "D", "trained items, as often wanted"),
        ("bm25", BASELINE, "s", "new items by BM25 over their texts"),
        ("new", OURS, "o", "new items"),
    ):
        values = [_number(row[key]) for row in table.rows]
        axes.plot(values, range(len(values)), mark, color=colour, label=label, markersize=7)
    _name_rows(axes, [f"draw {row['seed']}" for row in table.rows])
    axes.set_xlabel("Recall@30 of the queries that want them")
    axes.set_xlim(0, 1)
    figure.legend(loc="outside upper center", ncols=3, reverse=True, fontsize=9)
    return figure


def draw_identifiers(pages: Pages) -> Figure:
    """Recall@30 by way of making identifiers, with 95 % intervals, for both tasks and datasets."""
    runs = [find_run(pages["semantic-ids"], name) for name in ("ml-small-joint", "ml-1m-joint")]
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 4.4), sharey=True, layout="constrained")
    for axes, task in zip(panels, ("search", "recommendation"), strict=True):
        for run, colour, shift in zip(runs, (BASELINE, OURS), (-0.14, 0.14), strict=True):
            rows = run.tables[0].rows
            values = [_interval(row[task]) for row in rows]
            means = [mean for mean, _, _ in values]
            errors = [[m - low for m, low, _ in values], [high - m for m, _, high in values]]
            places = [place + shift for place in range(len(rows))]
            axes.errorbar(
                means, places, xerr=errors, fmt="o", color=colour, label=run.name, markersize=4
            )
        axes.set(title=task, xlabel="Recall@30")
        axes.set_xlim(0, None)
    _name_rows(panels[0], [str(row["identifiers"]) for row in runs[0].tables[0].rows])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def draw_calibration(pages: Pages) -> Figure:
    """Coverage of 95 % intervals in each simulated setting, and given agreeing seeds."""
    rows = find_run(pages["calibration"], "made-scores").tables[0].rows
    whole = [row for row in rows if row["check"] == "covered by 95 %"]
    given = {row["setting"]: row for row in rows if "given" in str(row["check"])}
    figure, axes = plt.subplots(figsize=(7.6, 6.4), layout="constrained")
    axes.axvspan(0.93, 0.97, color=GRID, alpha=0.6, lw=0)
    axes.axvline(0.95, color=INK, linewidth=1)
    for place, row in enumerate(whole):
        parts = [(row, OURS, "all studies")]
        if row["setting"] in given:
            parts.append((given[row["setting"]], BASELINE, "seed means that agree by chance"))
        for shift, (part, colour, label) in enumerate(parts):
            mean, low, high = _interval(part["share"])
            height = place + 0.35 * shift
            axes.plot([low, high], [height, height], color=colour)
            known = label if place == 0 else None
            axes.plot([mean], [height], "o", color=colour, markersize=4, label=known)
    axes.set(xlabel="coverage", xlim=(0.5, 1.0))
    axes.legend(loc="lower left", fontsize=8)
    _name_rows(axes, [str(row["setting"]) for row in whole])
    return figure


SIZES = {10**n: f"{10**n:,}" for n in range(3, 6)} | {
    10**n: f"{10 ** (n - 6):,} million" for n in range(6, 9)
}


def draw_growth(pages: Pages) -> Figure:
    """Time and memory against the number of interactions, and against the size of the catalog."""
    data = find_run(pages["data-growth"], "simulated-log").tables[0].rows
    steps = find_run(pages["catalog-growth"], "growth").tables[0].rows
    figure, panels = plt.subplots(2, 2, figsize=(7.6, 5.4), sharex="col", layout="constrained")
    for keys, line, colour, label in (
        (("prepare, processor s", "prepare, GiB"), "s-", BASELINE, "prepare"),
        (("first step, processor s", "train, GiB"), "o-", OURS, "train, until its first step"),
    ):
        for axes, key in zip(panels[:, 0], keys, strict=True):
            _curve(axes, data, ("interactions", key), line, colour, label)
    for loss, colour, mark, label in (
        ("full", PUBLISHED, "D", "all scores in memory"),
        ("chunked", BASELINE, "s", "the same loss in chunks"),
        ("as chosen by train", OURS, "o", "as train chooses"),
    ):
        rows = sorted((row for row in steps if row["loss"] == loss), key=_items)
        for axes, key in zip(panels[:, 1], ("step, ms", "peak memory, MB"), strict=True):
            _curve(axes, rows, ("items", key), f"{mark}-", colour, label)
    for axes, unit in zip(panels[0], ("processor time, s", "a training step, ms"), strict=True):
        axes.set(xscale="log", yscale="log", ylabel=unit)
        axes.margins(x=0.1, y=0.3)
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.legend(fontsize=8, loc="upper left")
    for axes in panels[1]:
        axes.set(ylim=(0, None), ylabel="peak memory, GiB")
    for axes in panels.flat:
        axes.grid(axis="y")
    for axes, of, sizes in zip(
        panels[1], ("interactions", "items"), ((6, 7, 8), (3, 4, 5, 6)), strict=True
    ):
        axes.set_xlabel(of)
        axes.set_xticks([10**n for n in sizes], [SIZES[10**n] for n in sizes])
        axes.set_xticks([], minor=True)
    return figure


def _items(row: Mapping[str, Cell]) -> float:
    return _number(row["items"])


def _curve(
    axes: Axes,
    rows: Sequence[Mapping[str, Cell]],
    keys: tuple[str, str],
    line: str,
    colour: str,
    label: str,
) -> None:
    """A line through the rows that have a figure; megabytes are shown as GiB."""
    own = [row for row in rows if keys[1] in row]
    scale = 1024 if keys[1].endswith("MB") else 1
    sizes, values = ([_number(row[key]) for row in own] for key in keys)
    shown = [value / scale for value in values]
    axes.plot(sizes, shown, line, color=colour, label=label, markersize=4)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _number(cell: Cell) -> float:
    assert isinstance(cell, int | float)
    return float(cell)


def _interval(cell: Cell) -> tuple[float, float, float]:
    assert isinstance(cell, list)
    value, low, high = cell
    return value, low, high


def find_run(page: Page, name: str) -> Run:
    """The run of a page by its name."""
    return next(run for run in page.runs if run.name == name)


DRAWN: dict[str, Callable[[Pages], Figure]] = {
    "quality": draw_quality,
    "decoding": draw_decoding,
    "new-items": draw_new_items,
    "identifiers": draw_identifiers,
    "calibration": draw_calibration,
    "growth": draw_growth,
}


def render_svg(draw: Callable[[Pages], Figure], pages: Pages) -> str:
    """A figure as SVG with both sets of colours, the same bytes every time."""
    with mpl.rc_context(STYLE):
        figure = draw(pages)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    svg = re.sub(r"[ \t]+$", "", svg[svg.index("<svg") :], flags=re.MULTILINE)
    head, body = svg.split(">", 1)
    return f"{head}>\n<style>\n{''.join(_dark_rules())}</style>{body}"


def _dark_rules() -> Iterator[str]:
    yield "@media (prefers-color-scheme: dark) {\n"
    for light, dark in DARK.items():
        yield f'[style*="fill: {light}"] {{ fill: {dark} !important }}\n'
        yield f'[style*="stroke: {light}"] {{ stroke: {dark} !important }}\n'
    yield "}\n"


def render_figures(folder: Path = FIGURES) -> dict[Path, str]:
    """Every figure by its path."""
    pages = load_pages()
    return {folder / f"{name}.svg": render_svg(draw, pages) for name, draw in DRAWN.items()}


def main() -> None:
    """Write the figures."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for path, svg in render_figures().items():
        path.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
