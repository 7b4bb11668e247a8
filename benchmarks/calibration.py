"""Is the verdict right as often as it says? Three checks, each with exact binomial intervals.

    python benchmarks/calibration.py --out DIR [--study STUDY] [--threads 1]

(a) Tables of made scores (seed x request) whose variances are those of STUDY, a finished study of
    two seeds or more, with true effects of 0, 1 and 2 times the smallest effect of interest:
    coverage of the intervals, and how often each verdict is given. Left out without --study.
(b) A/A studies: joint, plain and control are all drawn from a pool of trained models of one arm,
    so that the true effect is 0: how often the verdict is helps or hurts.
(c) Studies drawn from a pool of trained models of every arm in one latent world, where search helps
    recommendation by an effect that the whole pool shows: how often the verdict is right.

The pool is trained once (30 seeds of four arms, about 20 minutes) and kept in DIR/pool; an
interrupted run continues. The studies of (b) and (c) share its models and its test requests: their
binomial intervals say how far the number of studies, not that of models, bounds the shares.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pages import Cell, Column, Table, render_table
from publish import add_publish_option, describe_run, publish_run
from scipy import stats

from twofold import artifact
from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.significance import difference
from twofold.records import TASKS, Floats, InputError, Ints, Task, other_task
from twofold.studies.arms import ARMS, control_name
from twofold.studies.folder import KIND, StudyFolder
from twofold.studies.scores import Scores, still_improving
from twofold.studies.simulation import SIMULATION
from twofold.studies.statistics.reasons import LEVEL
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.study import ArmTraining, run_arms
from twofold.studies.verdict import EQUIVALENCE_LEVEL, SESOI_SHARE, decide
from twofold.tasks.storage import load_dataset

TABLES = 2000
STUDIES = 400
POOL_SEEDS = 30
WORLD = "simulate:latent-search-helps:groups=40,rho=0.5"
HELPED: Task = "recommendation"
SEEDS = (3, 5)
VERDICTS = ("helps", "hurts", "no material difference", "not enough data")


def exact(count: int, size: int) -> list[float]:
    """Clopper and Pearson's interval of a share."""
    found = stats.binomtest(count, size).proportion_ci(LEVEL, method="exact")
    return [float(found.low), float(found.high)]


def share(count: int, size: int, nominal: float | None = None) -> dict[str, Any]:
    """A share with its exact interval, and whether that holds the nominal value."""
    interval = exact(count, size)
    inside = None if nominal is None else interval[0] <= nominal <= interval[1]
    return {
        "share": count / size,
        "interval": interval,
        "of": size,
        "nominal": nominal,
        "holds_nominal": inside,
    }


# (a) made tables


def components(scores: Mapping[str, Floats]) -> dict[str, float]:
    """Standard deviations of the parts of a score, averaged over the arms: what a request gives
    every arm, what it gives one arm, what a seed gives, and what is left."""
    means = {arm: matrix.mean(axis=0) for arm, matrix in scores.items()}
    seeds = next(iter(scores.values())).shape[0]
    left, of_seed = [], []
    for matrix in scores.values():
        rest = matrix - matrix.mean(axis=0) - matrix.mean(axis=1, keepdims=True) + matrix.mean()
        left.append(float((rest**2).sum() / ((seeds - 1) * (matrix.shape[1] - 1))))
        of_seed.append(float(matrix.mean(axis=1).var(ddof=1)) - left[-1] / matrix.shape[1])
    covariance = np.cov(np.stack(list(means.values())))
    shared = covariance[np.triu_indices(len(scores), k=1)].mean()
    own = np.diag(covariance).mean() - shared - np.mean(left) / seeds
    return {
        "request": float(np.sqrt(max(0.0, shared))),
        "request_of_arm": float(np.sqrt(max(0.0, own))),
        "seed": float(np.sqrt(max(0.0, np.mean(of_seed)))),
        "left": float(np.sqrt(np.mean(left))),
    }


def made(
    rng: np.random.Generator, sd: Mapping[str, float], mean: float, effect: float, shape: Any
) -> TaskScores:
    """Scores of the three arms with known means; joint is `effect` above the other two."""
    seeds, requests = shape
    common = mean + sd["request"] * rng.standard_normal(requests)
    arms = [
        common
        + plus
        + sd["request_of_arm"] * rng.standard_normal(requests)
        + sd["seed"] * rng.standard_normal((seeds, 1))
        + sd["left"] * rng.standard_normal((seeds, requests))
        for plus in (effect, 0.0, 0.0)
    ]
    return TaskScores(arms[0], arms[1], arms[2], np.arange(requests))


def made_tables(study: Path) -> list[dict[str, Any]]:
    """Coverage and verdicts on made tables of both tasks, by seeds and true effect."""
    artifact.load(study, KIND)
    per_request = pl.read_parquet(StudyFolder(study).per_request)
    parameters: dict[Task, Any] = {}
    for task in TASKS:
        arms = {
            name: _matrix(per_request, name, task) for name in ("joint", task, control_name(task))
        }
        parameters[task] = (components(arms), float(arms[task].mean()), arms[task].shape[1])
    return [
        row
        for seeds in SEEDS
        for effect in (0, 1, 2)
        for row in _made_with(parameters, seeds, effect)
    ]


def _made_with(parameters: Mapping[Task, Any], seeds: int, effect: int) -> Iterator[dict[str, Any]]:
    """The rows of both tasks for one number of seeds and one effect, in SESOI."""
    rng = np.random.default_rng([seeds, effect])
    tallies = {task: Counter[str]() for task in parameters}
    for _ in range(TABLES):
        tables: dict[Task, TaskScores] = {}
        for task, (sd, mean, requests) in parameters.items():
            truth = effect * SESOI_SHARE * mean
            tables[task] = made(rng, sd, mean, truth, (seeds, requests))
            estimate = difference(tables[task].joint, tables[task].plain, tables[task].clusters)
            for level in (LEVEL, EQUIVALENCE_LEVEL):
                low, high = estimate.interval(level)
                tallies[task][f"covered {level}"] += low <= truth <= high
        for task, found in decide(tables).items():
            tallies[task][found.verdict] += 1
    for task, (sd, _, requests) in parameters.items():
        tally = tallies[task]
        yield {
            "task": task,
            "seeds": seeds,
            "requests": requests,
            "sd": sd,
            "effect": effect,
            "coverage_95": share(tally[f"covered {LEVEL}"], TABLES, LEVEL),
            "coverage_90": share(tally[f"covered {EQUIVALENCE_LEVEL}"], TABLES, EQUIVALENCE_LEVEL),
            "verdicts": {name: share(tally[name], TABLES) for name in VERDICTS},
        }


def _matrix(scores: pl.DataFrame, arm: str, task: str) -> Floats:
    chosen = scores.filter(arm=arm, task=task, measure=str(PRIMARY)).sort("seed", "request_id")
    return chosen["value"].to_numpy().reshape(chosen["seed"].n_unique(), -1)


# (b) and (c) trained models


class Pool:
    """Trained models of the arms that one task's verdict needs, 30 of each."""

    def __init__(self, folder: StudyFolder, threads: int) -> None:
        self.dataset = load_dataset(WORLD)
        other = control_name(other_task(HELPED))
        arms = [arm for arm in ARMS if arm.name != other]
        for seed in range(POOL_SEEDS):
            run_arms(self.dataset, arms, folder, seed, ArmTraining(SIMULATION, "cpu", threads))
        self.trained = Scores(self.dataset, arms, folder, POOL_SEEDS)
        self.improving = {
            arm: np.array([still_improving(stamp) for stamp in stamps])
            for arm, stamps in self.trained.stamps.items()
        }

    def scores(self, task: Task, rows: Mapping[str, Ints], arms: Mapping[str, str]) -> TaskScores:
        """A study's scores: of each role, the seeds `rows` of one arm."""
        own = {role: self.trained.matrix(arms[role], task)[rows[role]] for role in arms}
        return TaskScores(
            joint=own["joint"],
            plain=own["plain"],
            control=own["control"],
            clusters=self.trained.clusters(task),
            still_improving=[role for role in arms if self.improving[arms[role]][rows[role]].any()],
        )


def a_a_studies(pool: Pool, seeds: int) -> dict[str, Any]:
    """Verdicts on both tasks where all arms are the joint one, with disjoint seeds."""
    rng = np.random.default_rng(seeds)
    verdicts, false = Counter[str](), 0
    for _ in range(STUDIES):
        drawn = rng.permutation(POOL_SEEDS)[: 3 * seeds].reshape(3, seeds)
        rows = dict(zip(("joint", "plain", "control"), drawn, strict=True))
        arms = dict.fromkeys(rows, "joint")
        # How far the models were trained has no effect here.
        scores = {t: _trained(pool.scores(t, rows, arms)) for t in pool.dataset.tasks}
        given = [verdict.verdict for verdict in decide(scores).values()]
        verdicts.update(given)
        false += any(verdict in ("helps", "hurts") for verdict in given)
    upper = float(stats.binomtest(false, STUDIES, alternative="less").proportion_ci(LEVEL).high)
    return {
        "seeds": seeds,
        "studies": STUDIES,
        "false_verdicts": {**share(false, STUDIES), "upper_95": upper},
        "verdicts_of_tasks": dict(verdicts),
    }


def _trained(scores: TaskScores) -> TaskScores:
    return TaskScores(scores.joint, scores.plain, scores.control, scores.clusters)


def latent_studies(pool: Pool, seeds: int) -> dict[str, Any]:
    """Verdicts on the helped task, against what the whole pool says."""
    arms = {"joint": "joint", "plain": HELPED, "control": control_name(HELPED)}
    everything = dict.fromkeys(arms, np.arange(POOL_SEEDS))
    reference = decide({HELPED: _trained(pool.scores(HELPED, everything, arms))})[HELPED]
    if reference.verdict == "not enough data":
        raise InputError(f"{WORLD}: the whole pool does not show the effect: {reference.reason}")
    rng = np.random.default_rng(100 + seeds)
    verdicts, undertrained = Counter[str](), 0
    for _ in range(STUDIES):
        rows = {role: rng.permutation(POOL_SEEDS)[:seeds] for role in arms}
        found = decide({HELPED: pool.scores(HELPED, rows, arms)})[HELPED]
        verdicts[found.verdict] += 1
        undertrained += found.reason.startswith("undertrained")
    right = verdicts[reference.verdict]
    open_ = verdicts["not enough data"]
    return {
        "seeds": seeds,
        "studies": STUDIES,
        "reference": reference.model_dump(),
        "right": share(right, STUDIES),
        "not_enough_data": {**share(open_, STUDIES), "undertrained": undertrained},
        "wrong": share(STUDIES - right - open_, STUDIES),
    }


# the tables


def tables_of(result: Mapping[str, Any]) -> list[Table]:
    """The tables of docs/benchmarks/calibration.md."""
    tables = [_coverage_table(result["made"]), _verdict_table(result["made"])]
    seeds = Column(key="seeds", title="seeds")
    false = [Column(key="studies", title="A/A studies"), _share_column("false", "false verdicts")]
    found = [Column(key="studies", title="studies"), _share_column("right", "right")]
    found += [_share_column("not_enough", "not enough data"), _share_column("wrong", "wrong")]
    without_effect = Table(
        title="(b) No effect",
        columns=[seeds, *false, _share_column("upper", "upper 95 % bound")],
        rows=[
            {
                "seeds": row["seeds"],
                "studies": row["studies"],
                "false": _share(row["false_verdicts"]),
                "upper": row["false_verdicts"]["upper_95"],
            }
            for row in result["a_a"]
        ],
    )
    with_effect = Table(
        title="(c) An effect",
        columns=[seeds, *found],
        rows=[
            {
                "seeds": row["seeds"],
                "studies": row["studies"],
                "right": _share(row["right"]),
                "not_enough": _share(row["not_enough_data"]),
                "wrong": _share(row["wrong"]),
            }
            for row in result["latent"]
        ],
    )
    return [*(table for table in tables if table.rows), without_effect, with_effect]


def _coverage_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        _share_column("coverage_95", "coverage of 95 %"),
        _share_column("coverage_90", "of 90 %"),
    ]
    cells = [
        {**_study(row), **{key: _share(row[key]) for key in ("coverage_95", "coverage_90")}}
        for row in rows
    ]
    return Table(title="(a) Coverage of the intervals", columns=[*_STUDY, *columns], rows=cells)


def _verdict_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [_share_column(verdict, verdict) for verdict in VERDICTS]
    cells = [
        {**_study(row), **{name: _share(row["verdicts"][name]) for name in VERDICTS}}
        for row in rows
    ]
    return Table(title="(a) Verdicts given", columns=[*_STUDY, *columns], rows=cells)


_STUDY = [
    Column(key="task", title="task"),
    Column(key="seeds", title="seeds"),
    Column(key="effect", title="effect / SESOI"),
]


def _study(row: Mapping[str, Any]) -> dict[str, Cell]:
    return {column.key: row[column.key] for column in _STUDY}


def _share_column(key: str, title: str) -> Column:
    return Column(key=key, title=title, format=".3f")


def _share(counted: Mapping[str, Any]) -> list[float]:
    return [counted["share"], *counted["interval"]]


def main() -> None:
    """Run the three checks and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", type=Path, help="a finished study, for (a)")
    parser.add_argument("--threads", type=int, default=1)
    add_publish_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.monotonic()
    if arguments.study is None:
        print("(a) is left out: give a finished study with --study")
    made_rows = made_tables(arguments.study) if arguments.study else []
    pool = Pool(StudyFolder(arguments.out / "pool"), arguments.threads)
    result = {
        "world": WORLD,
        "helped": HELPED,
        "pool_seeds": POOL_SEEDS,
        "made": made_rows,
        "a_a": [a_a_studies(pool, seeds) for seeds in SEEDS],
        "latent": [latent_studies(pool, seeds) for seeds in SEEDS],
        "versions": artifact.versions(),
        "seconds": time.monotonic() - start,
    }
    (arguments.out / "calibration.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    tables = tables_of(result)
    print("\n".join(line for table in tables for line in render_table(table)))
    if arguments.publish:
        title = "Coverage, false verdicts and found effects"
        seeds = " and ".join(map(str, SEEDS)) + " a study"
        protocol = "see the docstring of the script; square brackets: Clopper and Pearson, 95 %"
        run = describe_run(arguments.publish, title, tables, seeds=seeds, protocol=protocol)
        publish_run("calibration", run)


if __name__ == "__main__":
    main()
