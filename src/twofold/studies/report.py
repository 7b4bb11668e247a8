"""`study.json` to `report.html`: one self-contained page.

Invariant: no number stands in the page that the study's result lacks; needs no torch.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twofold.evaluation.significance import MIN_SEEDS

Result = Mapping[str, Any]

_OTHER = {"search": "recommendation", "recommendation": "search"}
_SAY = {
    "helps": "helps",
    "hurts": "hurts",
    "no material difference": "makes no material difference to",
}
_INK = "#808890"
"""Readable on the light and on the dark page."""
_COLOURS = {
    "search": "#3b82c4",
    "recommendation": "#d97a2b",
    "joint": "#2f9e6e",
    "search-step-matched": "#8fb8dd",
    "recommendation-step-matched": "#e8b98c",
}


def write_report(result: Result, path: Path) -> None:
    """Write the page for a study's result."""
    page = _template("report.html").render(
        result=result,
        tasks=list(result["verdicts"]),
        sentences={task: verdict_sentence(result, task) for task in result["verdicts"]},
        advice={task: _advice(result, task) for task in result["verdicts"]},
        measures=list(next(iter(result["effects"].values()))),
        other=_OTHER,
        by_models=result["stamp"]["seeds"] < MIN_SEEDS,
        effects_plot=_svg(_plot_effects, result),
        curves_plot=_svg(_plot_curves, result),
        overlap_plot=_svg(_plot_overlap, result),
    )
    path.write_text(page, encoding="utf-8")


def write_simulation_report(result: Result, path: Path) -> None:
    """Write the page for the result of a sweep over a simulated world."""
    page = _template("simulation.html").render(
        result=result, other=_OTHER[result["helped"]], sweep_plot=_svg(_plot_sweep, result)
    )
    path.write_text(page, encoding="utf-8")


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("twofold.studies"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "signed": _signed, "interval": _interval}
    return environment.get_template(name)


def verdict_sentence(result: Result, task: str) -> str:
    """The verdict on one task as a sentence."""
    verdict = result["verdicts"][task]
    joined = _OTHER[task]
    if verdict["verdict"] == "not enough data":
        return f"Whether {joined} helps {task} cannot be told from these data: {verdict['reason']}."
    provisional = "Provisionally: " if verdict["provisional"] else ""
    sentence = f"learning {joined} beside it {_SAY[verdict['verdict']]} {task}."
    return provisional + (sentence if provisional else sentence[0].upper() + sentence[1:])


def _advice(result: Result, task: str) -> str:
    """What to do about it."""
    verdict = result["verdicts"][task]
    kind, needed = verdict["verdict"], verdict["needed"]
    if kind == "helps":
        return "One joint model serves this task better than a model of its own."
    if kind == "hurts":
        return "Keep a model of its own for this task, or weigh the sources otherwise."
    if kind == "no material difference":
        return "One joint model can replace the task's own without a loss that matters."
    if verdict["reason"].startswith("undertrained"):
        return "Run again with a larger budget: --budget standard, or --set updates=N."
    ways = []
    if needed and needed["requests"]:
        ways.append(f"{needed['requests']:,} test requests")
    if needed and needed["seeds"]:
        ways.append(f"{needed['seeds']:,} seeds")
    if not ways and "between" in verdict["reason"]:
        return (
            "It beats one of them and loses to the other: which of the two would you run otherwise?"
        )
    if not ways:
        return "To decide it would take more test requests and more seeds than now."
    return f"If the difference stays as it is, {' or '.join(ways)} would decide."


def _number(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + _number(abs(value))


def _interval(pair: tuple[float, float]) -> str:
    return f"[{_signed(pair[0])}, {_signed(pair[1])}]"


def _svg(draw: Callable[[Result], Figure], result: Result) -> str:
    """A figure as inline SVG, with the page's own background, the same bytes every time."""
    style: dict[Any, Any] = {
        "svg.hashsalt": "twofold",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        figure = draw(result)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _plot_effects(result: Result) -> Figure:
    """Joint minus plain and minus control in the primary measure, against the SESOI."""
    tasks = list(result["verdicts"])
    figure, axes = plt.subplots(
        len(tasks), 1, figsize=(7.2, 1.5 * len(tasks) + 0.4), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        verdict = result["verdicts"][task]
        axis.axvspan(-verdict["sesoi"], verdict["sesoi"], color=_INK, alpha=0.18, lw=0)
        axis.axvline(0, color=_INK, lw=1)
        for row, name in enumerate(("control", "plain")):
            contrast = verdict["contrasts"][name]
            axis.plot(contrast["interval"], [row, row], color=_COLOURS["joint"], lw=2)
            axis.plot(contrast["interval_90"], [row, row], color=_COLOURS["joint"], lw=5)
            axis.plot(contrast["difference"], row, "o", color=_COLOURS["joint"], ms=9)
        axis.set_yticks([0, 1], ["joint − step-matched", "joint − plain"])
        axis.set_ylim(-0.6, 1.6)
        axis.set_title(f"{task}: {verdict['verdict']}", loc="left", fontsize=11, color=_INK)
    axes[-1, 0].set_xlabel(f"difference in {result['stamp']['primary']}")
    return figure


def _plot_curves(result: Result) -> Figure:
    """Validation measure against updates, every arm and seed; the best checkpoint is marked."""
    tasks = list(result["verdicts"])
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(7.2, 3.0), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes[0], tasks, strict=True):
        for arm, seeds in result["training"].items():
            for number, seed in enumerate(seeds):
                curve = [(e["update"], e[task]) for e in seed["curve"] if task in e]
                if not curve:
                    continue
                label = arm if number == 0 else None
                axis.plot(*zip(*curve, strict=True), color=_COLOURS[arm], lw=1.5, label=label)
                best = [point for point in curve if point[0] == seed["best_update"]]
                axis.plot(*zip(*best, strict=True), "o", color=_COLOURS[arm], ms=5)
        axis.set_title(task, loc="left", fontsize=11, color=_INK)
        axis.set_xlabel("updates")
        axis.set_ylim(bottom=0)
        _legend(axis)
    axes[0, 0].set_ylabel(f"validation {result['stamp']['selection']}")
    return figure


def _plot_overlap(result: Result) -> Figure:
    """How many items each task trains on."""
    overlap = result["data"]["overlap"]
    parts = [
        ("search only", "items_in_search_only", _COLOURS["search"]),
        ("both", "items_in_both", _COLOURS["joint"]),
        ("recommendation only", "items_in_recommendation_only", _COLOURS["recommendation"]),
        ("neither", "items_in_neither", _INK),
    ]
    figure, axis = plt.subplots(figsize=(7.2, 1.3), layout="constrained")
    left = 0
    for label, key, colour in parts:
        axis.barh(0, overlap[key], left=left, color=colour, label=f"{label} {overlap[key]:,}")
        left += overlap[key]
    axis.set_yticks([])
    axis.set_xlim(0, left)
    axis.set_xlabel("items with training targets")
    axis.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axis.spines["left"].set_visible(False)
    return figure


def _plot_sweep(result: Result) -> Figure:
    """Recall@30 of the helped task over the levels, and the mechanism beside it."""
    colours = {
        "plain": _COLOURS[result["helped"]],
        "control": _COLOURS[f"{result['helped']}-step-matched"],
        "joint": _COLOURS["joint"],
    }
    labels = {"plain": result["helped"], "control": "step-matched", "joint": "joint"}
    levels = [point["level"] for point in result["points"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
    for name, colour in colours.items():
        means = [point[name]["mean"] for point in result["points"]]
        below, above = zip(*(point[name]["interval"] for point in result["points"]), strict=True)
        left.plot(levels, means, "o-", color=colour, label=labels[name], ms=5)
        left.fill_between(levels, below, above, color=colour, alpha=0.2, lw=0)
        for seeds in zip(*(point["mechanism"][name] for point in result["points"]), strict=True):
            right.plot(levels, seeds, "o-", color=colour, lw=0.8, ms=3)
    if result["points"][0]["ceiling"] is not None:
        ceiling = [point["ceiling"] for point in result["points"]]
        left.plot(levels, ceiling, "--", color=_INK, label="ceiling")
    left.set_ylim(bottom=0)
    left.set_ylabel(f"{result['primary']} in {result['helped']}")
    right.set_ylabel(result["mechanism"])
    for axis in (left, right):
        axis.set_xlabel("KL (nats)" if result["parameter"] == "kl" else result["parameter"])
    _legend(left)
    return figure


def _legend(axis: Axes) -> None:
    axis.legend(frameon=False, fontsize=8)
