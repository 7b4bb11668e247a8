"""The pages that people read: `study.json` to `report.html`, each self-contained.

Invariant: every number on a page is in the result. Needs no torch; jinja2 and matplotlib are
loaded when a page is written.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twofold.records import Task, other_task
from twofold.studies import analyses, plots
from twofold.studies.analyses.analysis import Analysis
from twofold.studies.cells import interval, number
from twofold.studies.result import StudyResult
from twofold.studies.statistics.power import Needed
from twofold.studies.statistics.reasons import BETWEEN
from twofold.studies.values import Difference
from twofold.studies.verdict import TaskVerdict

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

_CONCLUSION = {
    "helps": "helps",
    "hurts": "hurts",
    "no material difference": "makes no material difference to",
}


def write_report(result: StudyResult, path: Path) -> None:
    """Write the page of a study: the verdicts, then a chapter for each analysis."""
    page = environment().get_template("report.html")
    path.write_text(
        page.render(
            study=result,
            tasks=result.tasks,
            sentences={
                task: verdict_sentence(task, verdict) for task, verdict in result.verdicts.items()
            },
            advice={task: _advice(verdict) for task, verdict in result.verdicts.items()},
            baselines={task: _ahead_and_level(result, task) for task in result.tasks},
            verdict_figure=plots.svg(partial(verdict_figure, result)),
            chapters=[chapter(analysis, result) for analysis in analyses.ANALYSES],
        ),
        encoding="utf-8",
    )


def chapter(analysis: Analysis[Any], study: StudyResult) -> str:
    """The HTML of one analysis; empty where the study did not ask for it."""
    result = study.of(analysis.name)
    if result is None or not analysis.chapter:
        return ""
    figures = {
        name: plots.svg(partial(draw, result, study)) for name, draw in analysis.figures.items()
    }
    template = environment().from_string(analysis.chapter)
    return template.render(result=result, study=study, tasks=study.tasks, figures=figures)


def environment() -> "jinja2.Environment":
    """What all pages share: the folder of templates, and numbers as filters."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("twofold.studies"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["other_task"] = other_task
    made.filters |= {
        "number": number,
        "signed": lambda value: number(value, signed=True),
        "interval": lambda bounds: interval(bounds, signed=True),
        "range": interval,
        "effect": _effect,
        "count": lambda value: f"{value:,}",
        "percent": lambda share: f"{round(100 * share)} %",
    }
    return made


def _effect(effect: Difference) -> str:
    """A difference and its interval, the interval in small print."""
    import markupsafe

    value, bounds = number(effect.difference, signed=True), interval(effect.interval, signed=True)
    return markupsafe.Markup('{} <span class="soft">{}</span>').format(value, bounds)


def verdict_figure(result: StudyResult) -> "Figure":
    """Joint minus plain and minus control in the primary measure, against the SESOI."""
    tasks, colour = result.tasks, plots.COLOURS["joint"]
    figure, axes = plots.panels(len(tasks), 1, 1.5 * len(tasks) + 0.4)
    for axis, task in zip(axes, tasks, strict=True):
        verdict = result.verdicts[task]
        axis.axvspan(-verdict.sesoi, verdict.sesoi, color=plots.INK, alpha=0.18, lw=0)
        axis.axvline(0, color=plots.INK, lw=1)
        contrasts = verdict.contrasts["control"], verdict.contrasts["plain"]
        for row, contrast in enumerate(contrasts):
            axis.plot(contrast.interval, [row, row], color=colour, lw=2)
            axis.plot(contrast.interval_90, [row, row], color=colour, lw=5)
            axis.plot(contrast.difference, row, "o", color=colour, ms=9)
        axis.set_yticks([0, 1], ["joint − step-matched", "joint − plain"])
        axis.set_ylim(-0.6, 1.6)
        plots.title(axis, f"{task}: {verdict.verdict}")
    axes[-1].set_xlabel(f"difference in {result.stamp.primary}")
    return figure


def verdict_sentence(task: Task, verdict: TaskVerdict) -> str:
    """The verdict on one task as a sentence."""
    added = other_task(task)
    if verdict.verdict == "not enough data":
        asked = f"whether {added} helps {task}"
        if verdict.question == "replace":
            asked = f"whether one joint model can take the place of {task}'s own"
        return f"These data do not show {asked} ({verdict.reason})."
    sentence = f"{_conclusion(task, verdict)}."
    if verdict.provisional:
        return f"Provisionally: {sentence}"
    return sentence[0].upper() + sentence[1:]


def _conclusion(task: Task, verdict: TaskVerdict) -> str:
    """What is concluded, as a sentence without its full stop."""
    measure, top = verdict.measure, verdict.top.measure if verdict.top else "nDCG@10"
    if verdict.verdict == "not worse" or verdict.effect == "not worse":
        only = f" in {measure}, but not in {top}" if verdict.effect else ""
        return f"one joint model can take the place of {task}'s own{only}: it is not worse"
    learning = f"training on {other_task(task)} as well"
    if verdict.verdict == "only deeper":
        return f"{learning} helps {task} only deeper, in {measure}; at the top, in {top}, it hurts"
    if verdict.verdict == "only at the top":
        return f"{learning} {verdict.effect} {task} only at the top, in {top}"
    return f"{learning} {_CONCLUSION[verdict.verdict]} {task}"


_ADVICE = {
    "helps": "One joint model serves this task better than a model of its own.",
    "hurts": "Keep a model of its own for this task, or change the weights of the sources.",
    "no material difference": "One joint model can replace the task's own without a loss that "
    "matters.",
    "not worse": "Serve both tasks with the joint model: what it may lose here does not matter.",
    "only deeper": "Use the joint model where many answers are shown, or what it finds is ranked "
    "again; keep a model of its own where the first ones count.",
}


def _advice(verdict: TaskVerdict) -> str:
    """What to do about a verdict."""
    if verdict.verdict in _ADVICE:
        return _ADVICE[verdict.verdict]
    if verdict.verdict == "only at the top":
        better = "better" if verdict.effect == "helps" else "worse"
        return f"Where the first answers count, the joint model is the {better} one."
    if verdict.reason.startswith("undertrained"):
        return "Run again without the cap, or with a larger one: --budget standard."
    if verdict.needed and (ways := _ways(verdict.needed)):
        return (
            f"In four of five studies, {' or '.join(ways)} would decide, unless the difference is "
            f"near the smallest that matters."
        )
    if verdict.reason == BETWEEN:
        return "It beats one of them and loses to the other: which would you run otherwise?"
    return "A decision would need many more test requests and seeds."


def _ways(needed: Needed) -> list[str]:
    """What would decide, in words."""
    ways = []
    if needed.requests:
        ways.append(f"{needed.requests:,} test requests")
    if needed.seeds:
        ways.append(f"{needed.seeds:,} seeds")
    if needed.together_seeds and needed.together_requests:
        ways.append(
            f"{needed.together_seeds:,} seeds with {needed.together_requests:,} test requests"
        )
    return ways


def _ahead_and_level(result: StudyResult, task: Task) -> tuple[list[str], list[str]]:
    """Baselines that beat the joint arm, and those that cannot be distinguished from it."""
    ahead, level = [], []
    for name, by_task in result.baselines.items():
        if task not in by_task:
            continue
        low, high = by_task[task].joint_minus_baseline.interval
        if high < 0:
            ahead.append(name)
        elif low <= 0:
            level.append(name)
    return ahead, level
