"""`study.json` to `report.html`: one self-contained page.

Invariant: no number stands in the page that the study's result lacks; needs no torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from twofold.evaluation.significance import MIN_SEEDS
from twofold.records import Task, other_task
from twofold.studies import plots

Result = Mapping[str, Any]

_SAY = {
    "helps": "helps",
    "hurts": "hurts",
    "no material difference": "makes no material difference to",
}


def write_report(result: Result, path: Path) -> None:
    """Write the page for a study's result."""
    tasks = list(result["verdicts"])
    figures = {
        "effects": plots.effects,
        "curves": plots.curves,
        "overlap": plots.overlap,
        "slices": plots.slices,
        "bands": plots.bands,
        "cosines": plots.cosines,
        "projection": plots.projection,
        **({"attribution": plots.attribution} if result["attribution"] else {}),
        **({"caps": plots.caps} if result["caps"] else {}),
    }
    page = _template("report.html").render(
        result=result,
        tasks=tasks,
        sentences={task: verdict_sentence(result, task) for task in tasks},
        findings={task: attribution_sentence(result, task) for task in tasks},
        advice={task: _advice(result, task) for task in tasks},
        measures=list(next(iter(result["effects"].values()))),
        other=other_task,
        by_models=result["stamp"]["seeds"] < MIN_SEEDS,
        plots={name: plots.svg(draw, result) for name, draw in figures.items()},
    )
    path.write_text(page, encoding="utf-8")


def write_simulation_report(result: Result, folder: Path) -> None:
    """Write report.html, the page for a sweep over a simulated world, and figure.svg beside it."""
    figure = plots.svg(plots.sweep, result)
    (folder / "figure.svg").write_text(figure, encoding="utf-8")
    page = _template("simulation.html").render(
        result=result, other=other_task(result["helped"]), sweep_plot=figure
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("twofold.studies"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "signed": _signed,
        "interval": _interval,
        "range": _range,
    }
    return environment.get_template(name)


def verdict_sentence(result: Result, task: Task) -> str:
    """The verdict on one task as a sentence."""
    verdict = result["verdicts"][task]
    joined = other_task(task)
    if verdict["verdict"] == "not enough data":
        return f"Whether {joined} helps {task} cannot be told from these data: {verdict['reason']}."
    provisional = "Provisionally: " if verdict["provisional"] else ""
    sentence = f"learning {joined} beside it {_SAY[verdict['verdict']]} {task}."
    return provisional + (sentence if provisional else sentence[0].upper() + sentence[1:])


def attribution_sentence(result: Result, task: str) -> str | None:
    """What the 2 x 2 says of one task; None without it."""
    if not result["attribution"]:
        return None
    found = result["attribution"][task]
    change = "gain" if found["gain"]["difference"] > 0 else "loss"
    what = f"the {change} of {task} from real rather than noise in {found['added']}"
    sentence = {
        "no gain": f"nothing to attribute: {what} cannot be told from 0.",
        "popularity": f"mostly popularity (H1): it accounts for more of {what} than content does.",
        "content": f"mostly content (H2): it accounts for more of {what} than popularity does.",
        "both": f"popularity and content both take part in {what}, neither surely more.",
        "cannot be told apart": f"popularity and content cannot be told apart in {what}.",
    }[found["finding"]]
    care = []
    if result["stamp"]["seeds"] < MIN_SEEDS:
        care.append("for these trained models")
    if found["still_improving"]:
        care.append("while arms are still improving")
    return f"{', '.join(care)}: {sentence}" if care else sentence


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
        return "Run again with a larger budget: --budget standard, or --set max_steps=N."
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
    text = f"{abs(value):.4f}"
    return ("−" if value < 0 else "") + (text[1:] if abs(value) < 1 and text[0] == "0" else text)


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + _number(abs(value))


def _range(pair: tuple[float, float]) -> str:
    """An interval of a value that is no difference."""
    return f"[{_number(pair[0])}, {_number(pair[1])}]"


def _interval(pair: tuple[float, float]) -> str:
    return f"[{_signed(pair[0])}, {_signed(pair[1])}]"
