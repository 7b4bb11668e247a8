"""The paper's simulations: a study at every level of what a world varies.

Each level is an ordinary study in a folder of its own, so a stopped sweep goes on where it stood.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from twofold import artifact
from twofold.data.simulate import bayes_ceiling, zipf_law
from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.runs import read_run
from twofold.records import Floats, InputError, Ints, Task
from twofold.retrieval.generative import load_model
from twofold.studies.arms import control_name
from twofold.studies.mechanism import pair_cosine, retrieved_divergence
from twofold.studies.report import write_simulation_report
from twofold.studies.study import study
from twofold.tasks.examples import judged_requests
from twofold.tasks.prepare import load_dataset
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.report import test_popularity
from twofold.training.config import TrainingConfig

FORMAT = 1
KIND = "simulation"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    """One sweep.

    Attributes:
        source: the simulator, with its fixed parameters.
        parameter: what is varied.
        levels: its values.
        helped: the task that the other one may help.
        mechanism: what is measured beside Recall@30.
    """

    source: str
    parameter: str
    levels: tuple[float, ...]
    helped: Task
    mechanism: str

    def at(self, level: float) -> str:
        """The source of one level."""
        joint = "," if ":" in self.source.removeprefix("simulate:") else ":"
        return f"{self.source}{joint}{self.parameter}={level:g}"


_DIVERGENCE = "KL of the test law from what is retrieved"
_COSINE = "cosine of test pairs"
_KL, _RHO = (0.0, 0.5, 1.0, 2.0, 4.0), (0.0, 0.25, 0.5, 0.75, 1.0)

WORLDS = {
    "popularity": World("simulate:popularity", "kl", _KL, "recommendation", _DIVERGENCE),
    "popularity-search": World(
        "simulate:popularity:helped=search", "kl", _KL, "search", _DIVERGENCE
    ),
    "latent-search-helps": World(
        "simulate:latent-search-helps", "rho", _RHO, "recommendation", _COSINE
    ),
    "latent-recommendation-helps": World(
        "simulate:latent-recommendation-helps", "rho", _RHO, "search", _COSINE
    ),
}


def simulate_study(
    world: str | World,
    *,
    out: str | Path,
    seeds: int = 5,
    config: TrainingConfig | None = None,
    resume: bool = False,
    threads: int | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Sweep a world; write simulation.json, report.html and a study of each level.

    Args:
        world: one of `WORLDS`, by name, or one's own.
        out: the folder.
        seeds: models of each arm and level.
        config: of the training; `SIMULATION` by default.
        resume: go on with what a stopped sweep left.
        threads, command: as in `twofold.study`.

    Raises:
        InputError: no such world, or `out` holds something else.
    """
    world, folder = _world(world), Path(out)
    if not resume:
        artifact.require_absent(folder)
    points = []
    for level in world.levels:
        place = folder / "levels" / f"{world.parameter}-{level:g}"
        dataset = load_dataset(world.at(level))
        found = study(
            dataset,
            out=place,
            seeds=seeds,
            config=config or SIMULATION,
            budget="quick",
            resume=True,
            threads=threads,
            command=command,
        )
        points.append(_point(world, level, dataset, found.result, place, seeds))
        _log.info("%s=%g done", world.parameter, level)
    result = {
        "format": FORMAT,
        "source": world.source,
        "parameter": world.parameter,
        "helped": world.helped,
        "mechanism": world.mechanism,
        "seeds": seeds,
        "primary": str(PRIMARY),
        "training": (config or SIMULATION).model_dump(),
        "versions": artifact.versions(),
        "command": command,
        "points": points,
        "slope": slope(world.levels, _gains(points)),
    }
    artifact.write_json(folder / "simulation.json", result)
    write_simulation_report(result, folder / "report.html")
    artifact.seal(folder, KIND, {"source": world.source, "seeds": seeds})
    return result


SIMULATION = TrainingConfig(
    backbone="decoder:tiny",
    updates=600,
    batch_tokens=2048,
    text_tokens=2000,
    dropout=0.1,
    validation_requests=500,
)
"""Small worlds: a small model, and no more updates than they need."""


def slope(levels: Sequence[float], gains: Floats) -> dict[str, Any]:
    """Least-squares slope of the gain over the levels, with a t interval over the seeds.

    Args:
        levels: (L,).
        gains: (S, L), joint minus plain of each seed.
    """
    slopes = np.array([np.polyfit(levels, gain, 1)[0] for gain in gains])
    mean = float(slopes.mean())
    if len(slopes) < 2:
        return {"slope": mean, "interval": None}
    error = float(slopes.std(ddof=1)) / np.sqrt(len(slopes))
    half = float(stats.t.ppf(0.975, len(slopes) - 1)) * error
    return {"slope": mean, "interval": [mean - half, mean + half]}


def _world(world: str | World) -> World:
    if isinstance(world, World):
        return world
    if world not in WORLDS:
        raise InputError(f"simulate-study '{world}': there is {', '.join(WORLDS)}")
    return WORLDS[world]


def _point(
    world: World,
    level: float,
    dataset: PreparedDataset,
    result: Mapping[str, Any],
    place: Path,
    seeds: int,
) -> dict[str, Any]:
    """What one level says of the helped task."""
    measure, task = str(PRIMARY), world.helped
    arms = {"plain": task, "control": control_name(task), "joint": "joint"}
    verdict = result["verdicts"][task]
    measure_of = partial(_mechanism, world, dataset)
    return {
        "level": level,
        **{name: result["arms"][arm][task][measure] for name, arm in arms.items()},
        "contrasts": verdict["contrasts"],
        "sesoi": verdict["sesoi"],
        "verdict": verdict["verdict"],
        "ceiling": _ceiling(world, dataset),
        "mechanism": {
            name: [measure_of(place, arm, seed) for seed in range(seeds)]
            for name, arm in arms.items()
        },
    }


def _mechanism(world: World, dataset: PreparedDataset, place: Path, arm: str, seed: int) -> float:
    if world.mechanism == _DIVERGENCE:
        run = read_run(place / "evaluations" / arm / f"seed-{seed}" / f"{world.helped}.trec")
        positions = dict(dataset.catalog.positions)
        return retrieved_divergence(run, positions, test_popularity(dataset, world.helped))
    model = load_model(place / "models" / arm / f"seed-{seed}").model
    return pair_cosine(model, _asked_pairs(dataset, world.helped))


def _asked_pairs(dataset: PreparedDataset, task: Task) -> Ints:
    """Pairs of items that a test request joins: the last of its history and its target; or, in
    search, a training answer to its topic and its target."""
    judged = judged_requests(dataset, task, "test")
    positions = dataset.catalog.positions
    known = _answers_by_topic(dataset) if task == "search" else {}
    pairs = []
    for request in judged.requests:
        before = known[_topic(request.query or "")] if known else request.history[-1]
        for target in judged.qrels[request.request_id]:
            pairs.append((positions[before], positions[target]))
    return np.array(pairs, dtype=np.int64)


def _answers_by_topic(dataset: PreparedDataset) -> dict[str, str]:
    rows = dataset.queries.filter(pl.col("split") == "train").join(dataset.qrels, on="query_id")
    return {_topic(text): item for text, item in rows.select("text", "item_id").iter_rows()}


def _topic(text: str) -> str:
    return text.split()[0]


def _ceiling(world: World, dataset: PreparedDataset) -> float | None:
    """Recall@30 of who knows the law, where that is worked out."""
    if world.source != "simulate:popularity":
        return None
    return bayes_ceiling(zipf_law(len(dataset.catalog)), PRIMARY.k, seen_filtered=True)


def _gains(points: Sequence[Mapping[str, Any]]) -> Floats:
    """Joint minus plain by seed and level, (S, L)."""
    joint = np.array([point["joint"]["by_seed"] for point in points])
    plain = np.array([point["plain"]["by_seed"] for point in points])
    gains: Floats = (joint - plain).T
    return gains
