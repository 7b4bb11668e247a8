"""The paper's simulations: the arms at every level of a world's varied parameter.

Every seed draws a new world and trains its own models, so the intervals over the seeds include the
sampling of the data. With few training targets this is most of the error.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from scipy import stats

from twofold import artifact
from twofold.data.simulators.popularity import bayes_optimal_recall, zipf_distribution
from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.runs import read_run
from twofold.extras import require_extra
from twofold.records import Floats, InputError, Ints, Task, other_task
from twofold.retrieval.generative import load_model
from twofold.studies import plots
from twofold.studies.analyses.popularity import retrieved_counts, retrieved_divergence
from twofold.studies.analyses.representation import item_embeddings, pair_cosines
from twofold.studies.arms import ARMS, control_name
from twofold.studies.folder import StudyFolder
from twofold.studies.pages.report import environment
from twofold.studies.planning.plan_file import SavedPlan, begin
from twofold.studies.statistics.reasons import LEVEL
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.studies.verdict import EQUIVALENCE_LEVEL, SESOI_SHARE
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training import loop
from twofold.training.config import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
KIND = "simulation"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    """A simulated world, and the parameter that a simulation varies.

    Attributes:
        source: the simulator, with its fixed parameters.
        parameter: the parameter that is varied.
        levels: its values.
        helped: the task that the other one may help.
        mechanism: the quantity that is measured in addition to Recall@30.
        training: settings that differ from `SIMULATION`.
    """

    source: str
    parameter: str
    levels: tuple[float, ...]
    helped: Task
    mechanism: str
    training: Mapping[str, Any] = field(default_factory=dict)

    def at(self, level: float, seed: int) -> str:
        """The source string of one level and one seed."""
        joint = "," if ":" in self.source.removeprefix("simulate:") else ":"
        return f"{self.source}{joint}{self.parameter}={level:g},seed={seed}"

    @property
    def config(self) -> TrainingConfig:
        """The training settings of its arms."""
        return SIMULATION.model_copy(update=dict(self.training))


_DIVERGENCE = "KL of the test popularity from the retrieved"
_COSINE = "cosine of test pairs"
# Histories and queries are noise in these worlds: dropout keeps models from memorising them.
# Checkpoints differ little, so many validation requests are needed to choose one.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlan(SavedPlan):
    """The content of a simulation's plan.json: its world, and how its arms are trained."""

    source: str
    parameter: str
    levels: tuple[float, ...]
    seeds: int
    threads: int
    training: Mapping[str, Any]


@loop.one_at_a_time()
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
    """Train the arms at every level of a world; write simulation.json, report.html and the models.

    Args:
        world: the name of one of `WORLDS`, or another `World`.
        out: the folder.
        seeds: the number of worlds, and of models of each arm, at each level.
        config: training settings; the world's own by default.
        resume: continue an interrupted simulation.
        threads, command: as in `twofold.study`.

    Raises:
        InputError: the world is unknown, `out` has other files, or the extra `study` is not
            installed.
    """
    require_extra("study", "a simulated study")
    world, folder = world_named(world), StudyFolder(artifact.at_home(out))
    config = config or world.config
    loop.set_threads(threads)
    plan = SimulationPlan(
        source=world.source,
        parameter=world.parameter,
        levels=world.levels,
        seeds=seeds,
        threads=torch.get_num_threads(),
        training=config.model_dump(),
    )
    with artifact.claim(folder.path):
        begin(folder, plan, resume)
        return _run(world, folder, plan, ArmTraining(config, "cpu", threads), command)


def _run(
    world: World,
    folder: StudyFolder,
    plan: SimulationPlan,
    training: ArmTraining,
    command: str,
) -> dict[str, Any]:
    """Run every level, and write the result."""
    points = [_point(world, level, folder, plan.seeds, training) for level in world.levels]
    result = {
        "format": FORMAT,
        **plan.to_json(),
        "helped": world.helped,
        "mechanism": world.mechanism,
        "primary": str(PRIMARY),
        "versions": dict(artifact.versions()),
        "command": command,
        "points": points,
        "slope": slope(world.levels, _gains(points, "plain")),
        "slope_over_control": slope(world.levels, _gains(points, "control")),
    }
    artifact.write_json(folder.simulation, result)
    write_page(result, folder)
    artifact.seal(folder.path, KIND, plan.to_json())
    return result


SIMULATION = TrainingConfig(
    backbone="decoder:tiny",
    text_encoder="none",
    item_init="random",
    hybrid="none",
    long_histories="truncate",
    max_steps=500,
    batch_tokens=2048,
    max_batch_size=0,
    learning_rate=2e-3,
    max_validation_requests=500,
)
"""The training settings for small worlds: a small model and few steps."""


def slope(levels: Sequence[float], gains: Floats) -> dict[str, Any]:
    """Least-squares slope of the gain over the levels, with a t interval over the seeds.

    Args:
        levels: (L,).
        gains: (S, L), joint minus another arm, of each seed.
    """
    slopes = np.array([np.polyfit(levels, gain, 1)[0] for gain in gains])
    return {"slope": float(slopes.mean()), "interval": over_seeds(slopes, LEVEL)}


def over_seeds(values: Floats, level: float) -> list[float] | None:
    """Student's interval for the mean of one value per seed, (S,); None for a single seed."""
    if len(values) < 2:
        return None
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1)) * error
    return [float(values.mean()) - half, float(values.mean()) + half]


def world_named(world: str | World) -> World:
    """One of `WORLDS`.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(world, World):
        return world
    if world not in WORLDS:
        raise InputError(
            f"simulate-study '{world}': no such world; choose one of {', '.join(WORLDS)}"
        )
    return WORLDS[world]


def _point(
    world: World, level: float, folder: StudyFolder, seeds: int, training: ArmTraining
) -> dict[str, Any]:
    """The scores of the arms on the helped task at one level."""
    level_folder = folder.level(world.parameter, level)
    arms = {"plain": world.helped, "control": control_name(world.helped), "joint": "joint"}
    # The other task's control is not needed for the helped task.
    trained = [arm for arm in ARMS if not arm.step_matched or arm.name == arms["control"]]
    scores: dict[str, list[float]] = {name: [] for name in arms}
    mechanism: dict[str, list[float]] = {name: [] for name in arms}
    for seed in range(seeds):
        dataset = load_dataset(world.at(level, seed))
        SeedTrainings(dataset, training, SeedOutputs(trained, level_folder, seed)).run_all()
        for name, arm in arms.items():
            measured = artifact.read_json(level_folder.evaluation(arm, seed) / "measures.json")
            scores[name].append(measured[world.helped][str(PRIMARY)])
            mechanism[name].append(_mechanism(world, dataset, level_folder, arm, seed))
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


def _mechanism(
    world: World, dataset: PreparedDataset, folder: StudyFolder, arm: str, seed: int
) -> float:
    if world.mechanism == _DIVERGENCE:
        run = read_run(folder.evaluation(arm, seed) / f"{world.helped}.trec")
        positions = dict(dataset.catalog.positions)
        test = dataset.task(world.helped).test_popularity
        return retrieved_divergence(retrieved_counts(run, positions), test)
    embeddings = item_embeddings(load_model(folder.model(arm, seed)).model)
    return float(pair_cosines(embeddings, _test_pairs(dataset, world.helped)).mean())


def _test_pairs(dataset: PreparedDataset, task: Task) -> Ints:
    """Pairs of items of each test request: the last item of its history and its target; in search,
    an item that is relevant to a training query of its topic, and its target."""
    test = dataset.task(task).requests("test")
    positions = dataset.catalog.positions
    by_topic = _relevant_by_topic(dataset) if task == "search" else {}
    pairs = []
    for request in test.requests:
        before = by_topic[_topic(request.query or "")] if by_topic else request.history[-1]
        for target in test.qrels[request.request_id]:
            pairs.append((positions[before], positions[target]))
    return np.array(pairs, dtype=np.int64)


def _relevant_by_topic(dataset: PreparedDataset) -> dict[str, str]:
    rows = dataset.queries.filter(pl.col("split") == "train").join(dataset.qrels, on="query_id")
    return {_topic(text): item for text, item in rows.select("text", "item_id").iter_rows()}


def _topic(text: str) -> str:
    return text.split()[0]


def _ceiling(world: World, dataset: PreparedDataset) -> float | None:
    """The Bayes-optimal Recall@30; None if it is not known."""
    if world.mechanism != _DIVERGENCE:
        return None
    probabilities = zipf_distribution(len(dataset.catalog))
    seen_filtered = world.helped == "recommendation"
    return bayes_optimal_recall(probabilities, PRIMARY.k, seen_filtered=seen_filtered)


def _gains(points: Sequence[Mapping[str, Any]], against: str) -> Floats:
    """Joint minus another arm by seed and level, (S, L)."""
    gains: Floats = np.array([point["gains"][against]["by_seed"] for point in points]).T
    return gains


def write_page(result: Mapping[str, Any], folder: StudyFolder) -> None:
    """Write report.html, and its figure also as a separate file."""
    figure = plots.svg(partial(_figure, result))
    folder.figure.write_text(figure, encoding="utf-8")
    page = environment().get_template("simulation.html")
    content = page.render(result=result, other=other_task(result["helped"]), figure=figure)
    folder.report.write_text(content, encoding="utf-8")


def _figure(result: Mapping[str, Any]) -> "Figure":
    """The primary measure of the helped task over the levels, and the mechanism next to it."""
    helped, points = result["helped"], result["points"]
    lines = {
        "plain": (helped, plots.COLOURS[helped]),
        "control": ("step-matched", plots.COLOURS[control_name(helped)]),
        "joint": ("joint", plots.COLOURS["joint"]),
    }
    levels = [point["level"] for point in points]
    figure, (left, right) = plots.panels(1, 2, 3.2)
    for name, (label, colour) in lines.items():
        means = [point[name]["mean"] for point in points]
        left.plot(levels, means, "o-", color=colour, label=label, ms=5)
        if result["seeds"] > 1:
            bounds = (point[name]["interval"] for point in points)
            below, above = zip(*bounds, strict=True)
            left.fill_between(levels, below, above, color=colour, alpha=0.2, lw=0)
        for seeds in zip(*(point["mechanism"][name] for point in points), strict=True):
            right.plot(levels, seeds, "o-", color=colour, lw=0.8, ms=3)
    if points[0]["ceiling"] is not None:
        ceiling = [point["ceiling"] for point in points]
        left.plot(levels, ceiling, "--", color=plots.INK, label="Bayes-optimal")
    left.set_ylim(bottom=0, top=1.05 * left.get_ylim()[1])
    left.set_ylabel(f"{result['primary']} in {helped}")
    right.set_ylabel(result["mechanism"])
    for axis in (left, right):
        axis.set_xlabel("KL (nats)" if result["parameter"] == "kl" else result["parameter"])
    plots.legend(left)
    return figure
