"""What studies decided, and what they say of the paper's claims.

    python benchmarks/verdicts.py STUDY [STUDY ...] [--publish NAME]

Prints, for every finished study folder, a table of its verdicts (question, what models read, task,
the three arms, difference and verdict), what the forecast said before training, and what the study
measured of the two mechanisms of Penha et al. (RecSys 2024): popularity (H1) and representation
(H2). --publish NAME puts the tables of one study on docs/benchmarks/verdicts.md as the run NAME.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from pages import Cell, Table, render_table
from publish import add_publish_option, describe_run, publish_run, table_of

from twofold.records import Task, other_task
from twofold.studies.arms import control_name
from twofold.studies.pages.sentences import condition
from twofold.studies.result import Answer, StudyResult, load_result
from twofold.studies.values import Difference
from twofold.studies.verdict import TaskVerdict

_ONLY_OTHER = {"search": "together only", "recommendation": "relevant only"}
"""The pairs of items that only the other task's training data know."""


def tables_of(result: StudyResult) -> list[Table]:
    """The verdicts of a study, and the paper's claims."""
    verdicts, claims = table_of(list(_verdicts(result))), table_of(list(_claims(result)))
    return [
        verdicts.model_copy(update={"title": "Verdicts"}),
        claims.model_copy(update={"title": "The paper's claims, from behaviour"}),
    ]


def _verdicts(result: StudyResult) -> Iterator[dict[str, Cell]]:
    """A row for each question, condition and task."""
    for answer in result.questions:
        for task, verdict in answer.verdicts.items():
            names = ("joint", task, control_name(task))
            arms = [result.arms[f"{name}{answer.suffix}"][task] for name in names]
            means = [arm[verdict.measure].mean for arm in arms]
            yield {
                "question": answer.question,
                "models": condition(answer),
                "task": task,
                "measure": verdict.measure,
                "joint": means[0],
                "plain": means[1],
                "step-matched": means[2],
                "joint - plain": _cell(verdict.contrasts["plain"]),
                "joint - step-matched": _cell(verdict.contrasts["control"]),
                "joint - plain, nDCG@10": _at_the_top(verdict),
                "verdict": f"{'provisionally: ' * verdict.provisional}{verdict.verdict}",
                "needed for a verdict": _needed(verdict),
                "forecast": _forecast(result, answer, task),
            }


def _cell(found: Difference) -> Cell:
    """`[value, low, high]`."""
    return [found.difference, *found.interval]


def _at_the_top(verdict: TaskVerdict) -> Cell:
    return _cell(verdict.top.contrasts["plain"]) if verdict.top else ""


def _needed(verdict: TaskVerdict) -> str:
    """Seeds and requests that would give a verdict in 80 % of studies; empty if this one has it."""
    if verdict.verdict != "not enough data" or verdict.needed is None:
        return ""
    needed = verdict.needed.model_dump()
    ways = [f"{needed[key]:,} {key}" for key in ("seeds", "requests") if needed[key]]
    if needed["together_seeds"] and needed["together_requests"]:
        both = f"{needed['together_seeds']} seeds with {needed['together_requests']:,} requests"
        ways.append(both)
    return " or ".join(ways) or "beyond 20 seeds"


def _forecast(result: StudyResult, answer: Answer, task: Task) -> str:
    """What was expected of *transfer* before training."""
    forecast = result.of("data").forecast
    if answer.question != "transfer" or forecast is None:
        return ""
    for expected in forecast.expected:
        if (expected.task, expected.text) == (task, answer.text):
            chances = (expected.helps, expected.neither, expected.hurts)
            return " / ".join(f"{chance:.2f}" for chance in chances)
    return ""


def _claims(result: StudyResult) -> Iterator[dict[str, Cell]]:
    """What each claim of the paper predicts, and what was measured, a row each."""
    popularity, representation = result.of("popularity"), result.of("representation")
    wins = result.of("wins")
    for task in result.tasks:
        other, arms = other_task(task), popularity[task].arms
        yield {
            "task": task,
            "claim": "H1: joint's rankings have a popularity nearer to that of the test targets",
            "measured": "KL divergence of the test targets from the top 30: plain / joint",
            "value": " / ".join(f"{arms[arm].divergence.mean:.3f}" for arm in (task, "joint")),
        }
        cosines = representation.cosines[_ONLY_OTHER[task]]
        if cosines is not None:
            yield {
                "task": task,
                "claim": f"H2: items that co-occur only in {other} get more similar embeddings",
                "measured": "their cosine minus that of random pairs of the same popularity: "
                "joint - plain",
                "value": _cell(cosines.joint_minus[task]),
            }
        cases = wins[task]
        yield {
            "task": task,
            "claim": f"H2: joint wins the requests that {other} has a pair for",
            "measured": f"share of requests with an item that co-occurs with the target only in "
            f"{other}: won / lost / won, with a random target",
            "value": " / ".join(
                _share(share)
                for share in (cases.won.linked, cases.lost.linked, cases.won.by_chance)
            ),
        }


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def main() -> None:
    """Print the tables of every study; publish those of one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    add_publish_option(parser)
    arguments = parser.parse_args()
    for folder in arguments.studies:
        result = load_result(folder)
        tables = tables_of(result)
        print(f"\n{folder}: {result.stamp.source}, {result.stamp.seeds} seeds")
        for table in tables:
            print("\n".join(render_table(table)))
        if arguments.publish:
            stamp = result.stamp
            seeds = str(stamp.seeds)
            run = describe_run(arguments.publish, stamp.source, tables, seeds=seeds, protocol="")
            publish_run("verdicts", run.model_copy(update={"command": stamp.command}))


if __name__ == "__main__":
    main()
