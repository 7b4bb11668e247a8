"""The figures of the reports, as inline SVG.

Invariant: draws numbers of a study's result, and none else.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Result = Mapping[str, Any]

_INK = "#808890"
"""Readable on the light and on the dark page."""
_COLOURS = {
    "search": "#3b82c4",
    "recommendation": "#d97a2b",
    "joint": "#2f9e6e",
    "search-step-matched": "#8fb8dd",
    "recommendation-step-matched": "#e8b98c",
}
_NAMED = ("#3b82c4", "#d97a2b", "#2f9e6e", "#b0559e", "#c9a227", "#7f6bd0", "#808890")
"""For categories without a colour of their own; the last is for all others."""


def svg(draw: Callable[[Result], Figure], result: Result) -> str:
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


def effects(result: Result) -> Figure:
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


def curves(result: Result) -> Figure:
    """Validation measure against updates, every arm and seed; the best checkpoint is marked."""
    tasks = list(result["verdicts"])
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(7.2, 3.0), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes[0], tasks, strict=True):
        for arm in _COLOURS:
            seeds = result["training"][arm]
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


def overlap(result: Result) -> Figure:
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


def sweep(result: Result) -> Figure:
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
        left.plot(levels, means, "o-", color=colour, label=labels[name], ms=5)
        if result["seeds"] > 1:
            bounds = (point[name]["interval"] for point in result["points"])
            below, above = zip(*bounds, strict=True)
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


def attribution(result: Result) -> Figure:
    """What popularity and what content add to each task, with 95 % intervals."""
    tasks = list(result["attribution"])
    parts = ("gain", "popularity", "content", "interaction")
    figure, axes = plt.subplots(
        len(tasks), 1, figsize=(7.2, 1.7 * len(tasks) + 0.4), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        found = result["attribution"][task]
        axis.axvline(0, color=_INK, lw=1)
        for row, part in enumerate(reversed(parts)):
            axis.plot(found[part]["interval"], [row, row], color=_COLOURS[task], lw=3)
            axis.plot(found[part]["difference"], row, "o", color=_COLOURS[task], ms=8)
        names = ("joint − noise", "popularity (H1)", "content (H2)", "interaction")
        axis.set_yticks(range(len(parts)), list(reversed(names)))
        axis.set_ylim(-0.6, len(parts) - 0.4)
        axis.set_title(task, loc="left", fontsize=11, color=_INK)
    axes[-1, 0].set_xlabel(f"difference in {result['stamp']['primary']}")
    return figure


def caps(result: Result) -> Figure:
    """Joint minus plain against the cap, and the same with as many targets taken at random."""
    tasks = list(result["caps"])
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(7.2, 2.8), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes[0], tasks, strict=True):
        points = [point for point in result["caps"][task]["caps"] if point["effects"]]
        axis.axhline(0, color=_INK, lw=1)
        for shift, name, colour in (
            (-0.06, "capped", _COLOURS[task]),
            (0.06, "size_matched", _INK),
        ):
            for place, point in enumerate(points):
                effect = point["effects"][f"{name}_minus_plain"]
                label = name.replace("_", "-") if place == 0 else None
                axis.plot([place + shift] * 2, effect["interval"], color=colour, lw=2)
                axis.plot(place + shift, effect["difference"], "o", color=colour, label=label)
        full = result["verdicts"][task]["contrasts"]["plain"]
        axis.plot([len(points)] * 2, full["interval"], color=_COLOURS["joint"], lw=2)
        axis.plot(len(points), full["difference"], "o", color=_COLOURS["joint"], label="joint")
        axis.set_xticks(range(len(points) + 1), [*(str(p["cap"]) for p in points), "no cap"])
        axis.set_xlabel(f"targets an item, {result['caps'][task]['added']}")
        axis.set_title(task, loc="left", fontsize=11, color=_INK)
        _legend(axis)
    axes[0, 0].set_ylabel("difference to plain")
    return figure


def slices(result: Result) -> Figure:
    """Joint minus plain on every slice."""
    tasks = list(result["slices"])
    lines = {
        task: [
            (f"{found['slicing']}: {found['slice']}", found["minus_plain"])
            for found in result["slices"][task]
        ]
        for task in tasks
    }
    heights = [max(1, len(lines[task])) for task in tasks]
    figure, axes = plt.subplots(
        len(tasks),
        1,
        figsize=(7.2, 0.24 * sum(heights) + 1.2),
        layout="constrained",
        squeeze=False,
        height_ratios=heights,
    )
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        axis.axvline(0, color=_INK, lw=1)
        for row, (_, effect) in enumerate(reversed(lines[task])):
            axis.plot(effect["interval"], [row, row], color=_COLOURS[task], lw=2)
            axis.plot(effect["difference"], row, "o", color=_COLOURS[task], ms=5)
        axis.set_yticks(range(len(lines[task])), [name for name, _ in reversed(lines[task])])
        axis.tick_params(axis="y", labelsize=8)
        axis.set_title(task, loc="left", fontsize=11, color=_INK)
    axes[-1, 0].set_xlabel(f"joint − plain in {result['stamp']['primary']}")
    return figure


def bands(result: Result) -> Figure:
    """Head, torso and tail in training, test and what each arm retrieves."""
    tasks = list(result["popularity"])
    figure, axes = plt.subplots(
        len(tasks), 1, figsize=(7.2, 2.0 * len(tasks) + 0.5), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        shares = result["popularity"][task]["bands"][::-1]
        for row, found in enumerate(shares):
            left = 0.0
            for name, alpha in (("head", 1.0), ("torso", 0.6), ("tail", 0.25)):
                label = name if row == 0 else None
                axis.barh(
                    row, found[name], left=left, color=_COLOURS[task], alpha=alpha, label=label
                )
                left += found[name]
        axis.set_yticks(range(len(shares)), [found["of"] for found in shares])
        axis.tick_params(axis="y", labelsize=8)
        axis.set_xlim(0, 1)
        axis.set_title(task, loc="left", fontsize=11, color=_INK)
        axis.legend(frameon=False, ncols=3, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    axes[-1, 0].set_xlabel("share of targets, or of retrieved items")
    return figure


def cosines(result: Result) -> Figure:
    """How much closer pairs of each class lie than equally popular pairs at random."""
    cosines = result["representation"]["cosines"]
    names = ("both", "together only", "relevant only", "neither")
    found = {name: cosines[name] for name in names if cosines[name]}
    figure, axis = plt.subplots(figsize=(7.2, 2.6), layout="constrained")
    axis.axhline(0, color=_INK, lw=1)
    arms = ("search", "recommendation", "joint")
    for shift, arm in zip((-0.2, 0.0, 0.2), arms, strict=True):
        for place, classes in enumerate(found.values()):
            effect, label = classes[arm], arm if place == 0 else None
            axis.plot([place + shift] * 2, effect["interval"], color=_COLOURS[arm], lw=2)
            axis.plot(place + shift, effect["difference"], "o", color=_COLOURS[arm], label=label)
    axis.set_xticks(range(len(found)), list(found))
    axis.set_ylabel("cosine − matched pairs")
    _legend(axis)
    return figure


def projection(result: Result) -> Figure:
    """Item rows of the single-task arms and of joint in two dimensions."""
    found = result["representation"]["projection"]
    names = _by_size(found["labels"])
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.9), layout="constrained")
    for axis, (arm, points) in zip(axes, found["points"].items(), strict=True):
        for number, name in enumerate(names):
            own = [p for p, label in zip(points, found["labels"], strict=True) if label == name]
            colour = _NAMED[-1] if name == "other" else _NAMED[number % (len(_NAMED) - 1)]
            axis.scatter(*zip(*own, strict=True), s=4, color=colour, label=name, lw=0)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(arm, loc="left", fontsize=11, color=_INK)
    handles, labels = axes[0].get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=4,
            fontsize=8,
            frameon=False,
            markerscale=3,
        )
    return figure


def _by_size(labels: Sequence[str]) -> list[str]:
    """Names, the most frequent first; `other` at the end."""
    names = sorted(set(labels), key=lambda name: (-labels.count(name), name))
    return sorted(names, key=lambda name: name == "other")
