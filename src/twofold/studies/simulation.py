"""The paper's simulations: the arms at every level of what a world varies.

Every seed draws the world anew and trains its own models, so that the intervals over the seeds
count the choice of data too: with few training targets that is most of the error.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy import stats

from twofold import artifact
from twofold.data.simulators.popularity import bayes_optimal_recall, zipf_distribution
from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.runs import read_run
from twofold.records import Floats, InputError, Ints, Task
from twofold.retrieval.generative import load_model
from twofold.studies.analyses.popularity import retrieved_counts, retrieved_divergence
from twofold.studies.analyses.representation import item_rows, pair_cosines
from twofold.studies.arms import ARMS, control_name
from twofold.studies.report import write_simulation_report
from twofold.studies.study import run_arms, start
from twofold.studies.verdict import EQUIVALENCE_LEVEL, LEVEL, SESOI_SHARE
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
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
        training: settings that differ from `SIMULATION`.
    """

    source: str
    parameter: str
    levels: tuple[float, ...]
    helped: Task
    mechanism: str
    training: Mapping[str, Any] = field(default_factory=dict)

    def at(self, level: float, seed: int) -> str:
        """The source of one level, drawn with one seed."""
        joint = "," if ":" in self.source.removeprefix("simulate:") else ":"
        return f"{self.source}{joint}{self.parameter}={level:g},seed={seed}"

    @property
    def config(self) -> TrainingConfig:
        """How its arms are trained."""
        return SIMULATION.model_copy(update=dict(self.training))


_DIVERGENCE = "KL of the test law from what is retrieved"
_COSINE = "cosine of test pairs"
# Histories and queries are noise there: dropout keeps models from learning them by heart, and
# checkpoints differ by little, so that many requests must choose among them.
_FORGETFUL = {"dropout": 0.5, "max_validation_requests": 2000}
_KL, _RHO = (0.0, 1.0, 2.0, 3.0, 4.0), (0.0, 0.25, 0.5, 0.75, 1.0)

WORLDS = {
    "popularity": World(
        "simulate:popularity", "kl", _KL, "recommendation", _DIVERGENCE, _FORGETFUL
    ),
    "popularity-search": World(
        "simulate:popularity:helped=search", "kl", _KL, "search", _DIVERGENCE, _FORGETFUL
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
    """Sweep a world; write simulation.json, report.html, and the models of every level.

    Args:
        world: one of `WORLDS`, by name, or one's own.
        out: the folder.
        seeds: worlds that are drawn, and models of each arm, at each level.
        config: of the training; the world's own by default.
        resume: go on with what a stopped sweep left.
        threads, command: as in `twofold.study`.

    Raises:
        InputError: no such world, or `out` holds something else.
    """
    world, folder = world_named(world), Path(out)
    config = config or world.config
    if threads:
        torch.set_num_threads(threads)
    plan = {
        "source": world.source,
        "parameter": world.parameter,
        "levels": list(world.levels),
        "seeds": seeds,
        "threads": torch.get_num_threads(),
        "training": config.model_dump(),
    }
    start(folder, plan, resume)
    points = [_point(world, level, folder, seeds, config, threads) for level in world.levels]
    result = {
        "format": FORMAT,
        **plan,
        "helped": world.helped,
        "mechanism": world.mechanism,
        "primary": str(PRIMARY),
        "versions": artifact.versions(),
        "command": command,
        "points": points,
        "slope": slope(world.levels, _gains(points, "plain")),
        "slope_over_control": slope(world.levels, _gains(points, "control")),
    }
    artifact.write_json(folder / "simulation.json", result)
    write_simulation_report(result, folder)
    artifact.seal(folder, KIND, plan)
    return result


SIMULATION = TrainingConfig(
    backbone="decoder:tiny",
    text_encoder="none",
    hybrid="none",
    long_histories="truncate",
    max_steps=500,
    batch_tokens=2048,
    max_batch_size=0,
    learning_rate=2e-3,
    max_validation_requests=500,
)
"""Small worlds: a small model, and no more updates than they need."""


def slope(levels: Sequence[float], gains: Floats) -> dict[str, Any]:
    """Least-squares slope of the gain over the levels, with a t interval over the seeds.

    Args:
        levels: (L,).
        gains: (S, L), joint minus another arm, of each seed.
    """
    slopes = np.array([np.polyfit(levels, gain, 1)[0] for gain in gains])
    return {"slope": float(slopes.mean()), "interval": over_seeds(slopes, LEVEL)}


def over_seeds(values: Floats, level: float) -> list[float] | None:
    """Student's interval for the mean of one value a seed, (S,); None for a single seed."""
    if len(values) < 2:
        return None
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1)) * error
    return [float(values.mean()) - half, float(values.mean()) + half]


def world_named(world: str | World) -> World:
    """One of `WORLDS`.

    Raises:
        InputError: there is none of that name.
    """
    if isinstance(world, World):
        return world
    if world not in WORLDS:
        raise InputError(f"simulate-study '{world}': there is {', '.join(WORLDS)}")
    return WORLDS[world]


def _point(
    world: World,
    level: float,
    folder: Path,
    seeds: int,
    config: TrainingConfig,
    threads: int | None,
) -> dict[str, Any]:
    """What one level says of the helped task."""
    place = folder / "levels" / f"{world.parameter}-{level:g}"
    arms = {"plain": world.helped, "control": control_name(world.helped), "joint": "joint"}
    # The other task's control says nothing of the helped one.
    trained = [arm for arm in ARMS if not arm.step_matched or arm.name == arms["control"]]
    scores: dict[str, list[float]] = {name: [] for name in arms}
    mechanism: dict[str, list[float]] = {name: [] for name in arms}
    for seed in range(seeds):
        dataset = load_dataset(world.at(level, seed))
        run_arms(dataset, trained, place, config, seed, "cpu", threads)
        for name, arm in arms.items():
            measured = artifact.read_json(
                place / "evaluations" / arm / f"seed-{seed}" / "measures.json"
            )
            scores[name].append(measured[world.helped][str(PRIMARY)])
            mechanism[name].append(_mechanism(world, dataset, place, arm, seed))
    _log.info("%s=%g done", world.parameter, level)
    return {
        "level": level,
        **{name: _describe(np.array(values)) for name, values in scores.items()},
        "gains": {
            name: _describe(np.array(scores["joint"]) - np.array(scores[name]))
            for name in ("plain", "control")
        },
        "sesoi": SESOI_SHARE * float(np.mean(scores["plain"])),
        "ceiling": _ceiling(world, dataset),
        "mechanism": mechanism,
    }


def _describe(values: Floats) -> dict[str, Any]:
    return {
        "mean": float(values.mean()),
        "interval": over_seeds(values, LEVEL),
        "interval_90": over_seeds(values, EQUIVALENCE_LEVEL),
        "by_seed": values.tolist(),
    }


def _mechanism(world: World, dataset: PreparedDataset, place: Path, arm: str, seed: int) -> float:
    if world.mechanism == _DIVERGENCE:
        run = read_run(place / "evaluations" / arm / f"seed-{seed}" / f"{world.helped}.trec")
        positions = dict(dataset.catalog.positions)
        test = dataset.task(world.helped).test_popularity
        return retrieved_divergence(retrieved_counts(run, positions), test)
    model = load_model(place / "models" / arm / f"seed-{seed}").model
    return float(pair_cosines(item_rows(model), _asked_pairs(dataset, world.helped)).mean())


def _asked_pairs(dataset: PreparedDataset, task: Task) -> Ints:
    """Pairs of items that a test request joins: the last of its history and its target; or, in
    search, a training answer to its topic and its target."""
    judged = dataset.task(task).requests("test")
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
    if world.mechanism != _DIVERGENCE:
        return None
    probabilities = zipf_distribution(len(dataset.catalog))
    seen_filtered = world.helped == "recommendation"
    return bayes_optimal_recall(probabilities, PRIMARY.k, seen_filtered=seen_filtered)


def _gains(points: Sequence[Mapping[str, Any]], against: str) -> Floats:
    """Joint minus another arm by seed and level, (S, L)."""
    found: Floats = np.array([point["gains"][against]["by_seed"] for point in points]).T
    return found
