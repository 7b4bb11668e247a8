"""The tables of a study for a paper, and the comparison of two studies.

Invariant: only `study.json` is read, and for a comparison also `per_request.parquet`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from twofold.evaluation.significance import difference, side_by_side
from twofold.records import Floats, InputError, Ints, Task
from twofold.studies import analyses
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.folder import StudyFolder
from twofold.studies.pages.sentences import condition
from twofold.studies.result import StudyResult, load_result
from twofold.studies.values import Measures
from twofold.studies.verdict import TaskVerdict

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
    "folded",
)
"""Keys of the stamp that two studies must share to be compared."""

_CIRCUMSTANCES = (
    "question",
    "text",
    "seeds",
    "budget",
    "threads",
    "device",
    "source_weights",
    "loss",
)
"""Keys of the stamp in which compared studies may differ."""


def study_tables(result: StudyResult) -> list[Table]:
    """The verdicts, every arm and baseline, and the tables of each analysis."""
    tables = [_verdicts(result), *(_arms(result, task) for task in result.tasks)]
    for analysis in analyses.ANALYSES:
        of_analysis = result.of(analysis.name)
        if of_analysis is not None:
            tables += analysis.tables(of_analysis, result)
    return tables


def compare(first: Path, second: Path) -> list[Table]:
    """The comparison of two studies of the same data and protocol.

    Raises:
        InputError: a study is missing, or the stamps differ in a key of the protocol, which the
            message names.
    """
    one, two = load_result(first), load_result(second)
    pairs = {key: (getattr(one.stamp, key), getattr(two.stamp, key)) for key in PROTOCOL}
    differing = {key: (a, b) for key, (a, b) in pairs.items() if a != b}
    if differing:
        named = "; ".join(f"{key} is {a!r} and {b!r}" for key, (a, b) in differing.items())
        raise InputError(f"{first} and {second} cannot be compared: {named}")
    return [_circumstances(one, two, first, second), *_both(one, two, first, second)]


def _verdicts(result: StudyResult) -> Table:
    rows: list[Row] = []
    for name, verdict in _by_question(result).items():
        is_provisional = verdict.provisional and verdict.verdict != "not enough data"
        word = verdict.verdict + (" (provisional)" if is_provisional else "")
        contrasts = [Cell.difference(verdict.contrasts[arm]) for arm in ("plain", "control")]
        rows.append((name, [word, *contrasts, Cell(verdict.sesoi)]))
    columns = ["verdict", "joint − plain", "joint − step-matched", "smallest effect of interest"]
    return Table(f"Verdicts, {result.stamp.primary}", columns, rows)


def _by_question(result: StudyResult) -> dict[str, TaskVerdict]:
    """Every verdict by its task and its question."""
    return {
        f"{task}, {condition(answer)}": verdict
        for answer in result.questions
        for task, verdict in answer.verdicts.items()
    }


def _arms(result: StudyResult, task: Task) -> Table:
    measures = list(result.arms["joint"][task])
    scored: dict[str, Measures] = {
        **{name: tasks[task] for name, tasks in result.arms.items() if task in tasks},
        **{name: tasks[task].measures for name, tasks in result.baselines.items() if task in tasks},
    }
    rows: list[Row] = [
        (name, [Cell.mean(means[measure]) for measure in measures])
        for name, means in scored.items()
    ]
    return Table(f"Arms and baselines, {task}", measures, rows)


def _circumstances(one: StudyResult, two: StudyResult, first: Path, second: Path) -> Table:
    """The verdicts of both, and the keys in which their stamps differ."""
    of_one, of_two = _by_question(one), _by_question(two)
    rows: list[Row] = [
        (
            f"verdict on {name}",
            [side[name].verdict if name in side else "" for side in (of_one, of_two)],
        )
        for name in {**of_one, **of_two}
    ]
    for key in _CIRCUMSTANCES:
        rows.append((key, [str(getattr(side.stamp, key)) for side in (one, two)]))
    old, new = one.stamp.training, two.stamp.training
    for key in [*old, *sorted(new.keys() - old.keys())]:
        if old.get(key) != new.get(key):
            rows.append((key, [str(settings.get(key)) for settings in (old, new)]))
    return Table("Two studies", [str(first), str(second)], rows)


def _both(one: StudyResult, two: StudyResult, first: Path, second: Path) -> Iterator[Table]:
    """Every arm that both studies have, and the paired difference of its scores."""
    primary, folds = one.stamp.primary, min(one.stamp.seeds, two.stamp.seeds)
    scores = [
        pl.read_parquet(StudyFolder(folder).per_request, glob=False) for folder in (first, second)
    ]
    if one.stamp.folded:
        scores = [frame.filter(pl.col("seed") < folds) for frame in scores]
    for task in one.tasks:
        rows: list[Row] = []
        for arm, by_task in one.arms.items():
            if task not in by_task or task not in two.arms.get(arm, {}):
                continue
            folded = task in one.stamp.folded
            own, other = (_scores(frame, arm, task, primary, folded) for frame in scores)
            apart = difference(other.by_request, own.by_request, own.clusters)
            cells = [Cell.mean(side.arms[arm][task][primary]) for side in (one, two)]
            rows.append((arm, [*cells, Cell(apart.value, apart.interval(), signed=True)]))
        columns = [str(first), str(second), "second − first"]
        yield Table(f"{task}, {primary}", columns, rows)


class _Scores(NamedTuple):
    """Scores of one arm, (S, R), and the number of each request's user or query, (R,)."""

    by_request: Floats
    clusters: Ints


def _scores(scores: pl.DataFrame, arm: str, task: str, measure: str, folded: bool) -> _Scores:
    """The scores of one arm, requests in the order of their ids.

    With folds, the requests of all seeds are concatenated: the same id is a different request in
    every seed, since the user's test event differs.
    """
    chosen = scores.filter(arm=arm, task=task, measure=measure).sort("seed", "request_id")
    by_seed = chosen.partition_by("seed", maintain_order=True)
    values = [of_seed["value"].to_numpy() for of_seed in by_seed]
    asked = [of_seed["request_id"] for of_seed in (by_seed if folded else by_seed[:1])]
    clusters = np.unique(pl.concat(asked).to_numpy(), return_inverse=True)[1]
    return _Scores(side_by_side(values) if folded else np.stack(values), clusters)
