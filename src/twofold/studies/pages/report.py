"""Writes `report.html` from the content of `study.json`; every page is self-contained.

Invariant: every number on a page is in the result. This module does not need torch; jinja2 and
matplotlib are loaded when a page is written.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twofold.records import Task, other_task
from twofold.studies import analyses, plots
from twofold.studies.analyses.analysis import Analysis
from twofold.studies.arms import control_name
from twofold.studies.cells import interval, number
from twofold.studies.pages.sentences import (
    advice_on,
    condition,
    headline,
    light_tasks,
    verdict_sentence,
    what_to_do,
)
from twofold.studies.planning.questions import SUFFIXES
from twofold.studies.result import Answer, StudyResult
from twofold.studies.values import Difference, Measures

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure


def write_report(result: StudyResult, path: Path) -> None:
    """Write the page of a study: the verdicts, then a chapter for each analysis."""
    page = environment().get_template("report.html")
    path.write_text(
        page.render(
            study=result,
            tasks=result.tasks,
            answers=result.questions,
            what_to_do=what_to_do(result),
            headline=headline,
            sentence=verdict_sentence,
            light_tasks=light_tasks,
            advice=advice_on,
            arms_of=partial(_judged, result),
            trained=partial(_trained, result),
            baselines={task: _ahead_and_level(result, task) for task in result.tasks},
            verdict_figure=_plot(partial(verdict_figure, result)),
            chapters=[chapter(analysis, result) for analysis in analyses.ANALYSES],
        ),
        encoding="utf-8",
    )


def _judged(result: StudyResult, answer: Answer, task: Task) -> dict[str, Measures]:
    """The means of the arms that the verdict on a task compares, by their roles."""
    arms = {"joint": "joint", "plain": task, "control": control_name(task)}
    return {role: result.arms[f"{arm}{answer.suffix}"][task] for role, arm in arms.items()}


def _trained(result: StudyResult, arm: str) -> Any:
    """The training of an arm's models; the evaluations of an arm share its models."""
    training = result.of("training")
    plain = arm.removesuffix(SUFFIXES["with"]).removesuffix(SUFFIXES["without"])
    return training.get(arm) or training[plain]


def chapter(analysis: Analysis[Any], study: StudyResult) -> str:
    """The HTML of one analysis; empty if the study did not compute it."""
    result = study.of(analysis.name)
    if result is None or not analysis.chapter:
        return ""
    figures = {name: _plot(partial(draw, result, study)) for name, draw in analysis.figures.items()}
    template = environment().from_string(analysis.chapter)
    return template.render(result=result, study=study, tasks=study.tasks, figures=figures)


def _plot(draw: "Callable[[], Figure]") -> str:
    """A figure as SVG in a box that scrolls sideways on a narrow screen."""
    return f'<div class="plot">{plots.svg(draw)}</div>'


def environment() -> "jinja2.Environment":
    """The Jinja environment of all pages: the folder of templates, and filters for numbers."""
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
        "breakable": _breakable,
        "setting": _setting,
        "count": lambda value: f"{value:,}",
        "percent": lambda share: f"{round(100 * share)} %",
    }
    return made


def _breakable(name: str) -> str:
    """A name with possible line breaks before `@` and `_`, and in the longest word of an arm."""
    import markupsafe

    broken = re.sub("([@_])", r"<wbr>\1", str(markupsafe.escape(name)))
    return markupsafe.Markup(broken.replace("recommendation", "recommen&shy;dation"))


def _setting(value: object) -> str:
    """The value of a setting or of a key of the stamp, without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_setting(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return "yes" if value else "none" if value is None else "no"
    return str(value)


def _effect(effect: Difference) -> str:
    """A difference, with a dagger if it is significant in its table, and its interval."""
    import markupsafe

    mark = "†" if getattr(effect, "stands_out", False) else ""
    value, bounds = number(effect.difference, signed=True), interval(effect.interval, signed=True)
    return markupsafe.Markup('{}{} <span class="soft">{}</span>').format(value, mark, bounds)


_MOST_TICKS = 5
"""Intervals between the ticks of a panel; the numbers of more of them would overlap."""


def verdict_figure(result: StudyResult) -> "Figure":
    """Joint minus plain and minus control in the primary measure, with the SESOI; one row
    for each question."""
    tasks, colour = result.tasks, plots.COLOURS["joint"]
    asked = [(answer, task) for answer in result.questions for task in tasks]
    rows = len(result.questions)
    figure, axes = plots.panels(rows, len(tasks), 1.4 * rows + 0.4)
    for axis, (answer, task) in zip(axes, asked, strict=True):
        verdict = answer.verdicts[task]
        axis.axvspan(-verdict.sesoi, verdict.sesoi, color=plots.INK, alpha=0.18, lw=0)
        axis.axvline(0, color=plots.INK, lw=1)
        contrasts = verdict.contrasts["control"], verdict.contrasts["plain"]
        for row, contrast in enumerate(contrasts):
            axis.plot(contrast.interval, [row, row], color=colour, lw=2)
            axis.plot(contrast.interval_90, [row, row], color=colour, lw=5)
            axis.plot(contrast.difference, row, "o", color=colour, ms=9)
        labels = ["joint − step-matched", "joint − plain"] if task == tasks[0] else ["", ""]
        axis.set_yticks([0, 1], labels)
        axis.set_ylim(-0.6, 1.6)
        axis.locator_params(axis="x", nbins=_MOST_TICKS)
        plots.title(axis, f"{task}, {condition(answer)}")
    for axis in axes[-len(tasks) :]:
        axis.set_xlabel(f"difference in {result.stamp.primary}")
    return figure


def _ahead_and_level(result: StudyResult, task: Task) -> tuple[list[str], list[str]]:
    """The baselines that beat the joint arm, and those that cannot be distinguished from it."""
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
