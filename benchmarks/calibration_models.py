"""Is the verdict right as often as it says, on trained models? Two checks.

    python benchmarks/calibration_models.py --out DIR [--threads 1]

(a) A/A studies: joint, plain and control are all drawn from a pool of trained models of one arm,
    so that the true effect is 0: how often a verdict sees one, and how often it is withheld
    because an arm is still improving.
(b) Studies drawn from a pool of trained models of every arm in one latent world, where search helps
    recommendation by an effect that the whole pool shows: how often the verdict is right.

The pool is trained once (30 seeds of four arms, about 20 minutes) and kept in DIR/pool; an
interrupted run continues. The studies share its models and its test requests: their binomial
intervals say how far the number of studies, not that of models, bounds the shares.
`calibration.py` asks the same of simulated scores, without training.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration import DEFINITE, Row, table_of
from pages import render_table
from publish import add_publish_option, describe_run, publish_run

from twofold import artifact
from twofold.records import TASKS, InputError, Ints, Task, other_task
from twofold.studies.arms import ARMS, control_name
from twofold.studies.folder import StudyFolder
from twofold.studies.scores import Scores, rise
from twofold.studies.simulation import SIMULATION
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.studies.verdict import SESOI_SHARE, decide
from twofold.tasks.storage import load_dataset

STUDIES = 400
POOL_SEEDS = 30
WORLD = "simulate:latent-search-helps:groups=40,rho=0.5"
HELPED: Task = "recommendation"
SEEDS = (3, 5)


class Pool:
    """Trained models of the arms that one task's verdict needs, 30 of each."""

    def __init__(self, folder: StudyFolder, threads: int) -> None:
        self.dataset = load_dataset(WORLD)
        other = control_name(other_task(HELPED))
        arms = [arm for arm in ARMS if arm.name != other]
        training = ArmTraining(SIMULATION, "cpu", threads)
        for seed in range(POOL_SEEDS):
            SeedTrainings(self.dataset, training, SeedOutputs(arms, folder, seed)).run_all()
        self.trained = Scores(self.dataset, arms, folder, POOL_SEEDS)
        self.rises = {
            arm: {task: np.array([rise(stamp, task) for stamp in stamps]) for task in TASKS}
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
            rises={role: self.rises[arms[role]][task][rows[role]].max() for role in arms},
            measure=self.trained.measure,
        )


def a_a_studies(pool: Pool, seeds: int) -> list[Row]:
    """Verdicts on both tasks where all arms are the joint one, with disjoint seeds."""
    rng = np.random.default_rng(seeds)
    false = false_with_rule = blocked = 0
    for _ in range(STUDIES):
        drawn = rng.permutation(POOL_SEEDS)[: 3 * seeds].reshape(3, seeds)
        rows = dict(zip(("joint", "plain", "control"), drawn, strict=True))
        arms = dict.fromkeys(rows, "joint")
        scores = {task: pool.scores(task, rows, arms) for task in pool.dataset.tasks}
        converged = {task: replace(own, rises={}) for task, own in scores.items()}
        false += _any_definite(converged)
        false_with_rule += _any_definite(scores)
        blocked += any(max(own.rises.values()) > SESOI_SHARE / 2 for own in scores.values())
    where = f"{seeds} seeds"
    return [
        Row("no effect: any of helps, hurts, only ...", where, false, STUDIES, high=0.05),
        Row("the same with every rule on", where, false_with_rule, STUDIES, high=0.08),
        Row("withheld, since an arm is still improving", where, blocked, STUDIES, high=0.05),
    ]


def _any_definite(scores: Mapping[Task, TaskScores]) -> bool:
    verdicts = decide(scores, plan=False).values()
    return any(verdict.verdict in DEFINITE for verdict in verdicts)


def latent_studies(pool: Pool, seeds: int) -> list[Row]:
    """Verdicts on the helped task, against what the whole pool says."""
    arms = {"joint": "joint", "plain": HELPED, "control": control_name(HELPED)}
    everything = dict.fromkeys(arms, np.arange(POOL_SEEDS))
    whole = replace(pool.scores(HELPED, everything, arms), rises={})
    reference = decide({HELPED: whole}, plan=False)[HELPED]
    if reference.verdict == "not enough data":
        raise InputError(f"{WORLD}: the whole pool does not show the effect: {reference.reason}")
    rng = np.random.default_rng(100 + seeds)
    given = Counter[str]()
    for _ in range(STUDIES):
        rows = {role: rng.permutation(POOL_SEEDS)[:seeds] for role in arms}
        scores = {HELPED: pool.scores(HELPED, rows, arms)}
        given[decide(scores, plan=False)[HELPED].verdict] += 1
    where, right = f"{seeds} seeds", given[reference.verdict]
    wrong = STUDIES - right - given["not enough data"]
    return [
        Row(f"as the whole pool says: {reference.verdict}", where, right, STUDIES),
        Row("another verdict", where, wrong, STUDIES, high=0.05),
    ]


def main() -> None:
    """Train the pool, run both checks, print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    add_publish_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.monotonic()
    pool = Pool(StudyFolder(arguments.out / "pool"), arguments.threads)
    tables = [
        table_of("(a) No effect", [row for n in SEEDS for row in a_a_studies(pool, n)]),
        table_of("(b) An effect", [row for n in SEEDS for row in latent_studies(pool, n)]),
    ]
    result: dict[str, Any] = {
        "world": WORLD,
        "helped": HELPED,
        "pool_seeds": POOL_SEEDS,
        "tables": [table.model_dump() for table in tables],
        "versions": artifact.versions(),
        "seconds": time.monotonic() - start,
    }
    text = json.dumps(result, indent=2)
    (arguments.out / "calibration-models.json").write_text(text, encoding="utf-8")
    print("\n".join(line for table in tables for line in render_table(table)))
    if arguments.publish:
        seeds = " and ".join(map(str, SEEDS)) + " a study"
        protocol = "see the docstring of the script; square brackets: Clopper and Pearson, 95 %"
        title = "Trained models"
        run = describe_run(arguments.publish, title, tables, seeds=seeds, protocol=protocol)
        publish_run("calibration", run)


if __name__ == "__main__":
    main()
