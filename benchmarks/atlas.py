"""Small simulated worlds, and what joining the tasks brings in each: what a forecast learns from.

    python benchmarks/atlas.py collect WORLDS.jsonl --worlds 400
    python benchmarks/atlas.py fit WORLDS.jsonl
    python benchmarks/atlas.py draw WORLDS.jsonl --data ml-small-joint

`collect` draws one world after another, trains three tiny arms in each (`search`,
`recommendation`, `joint`) and appends a line to the file; started again, it resumes where it
stopped. About ten seconds of processor time a world. `--seed` trains the same worlds with another
seed. The single-task arms train on after they have converged and return to their best checkpoint,
so that each is its own step-matched control; `joint` is judged for each task at its best checkpoint
of that task, as a study does.

`fit` learns from the features of the data alone whether joint helps (by at least 5 % of the primary
measure, in the mean of the seeds), hurts, or neither; prints how often the forecasts of worlds that
were not learned from are right, and how often two seeds of a world agree; and writes the
coefficients into the package, fitted on all. `draw` writes docs/images/atlas.svg.
"""

import argparse
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

from twofold.evaluation.measures import Measure, score
from twofold.records import TASKS, Floats, Ints, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.studies import forecast, plots
from twofold.studies.forecast.features import DESCRIPTIONS, FEATURES, features
from twofold.studies.forecast.forecast import OUTCOMES, Coefficients, Worth, chances_of
from twofold.studies.statistics.task_scores import primary_measure
from twofold.studies.verdict import SESOI_SHARE
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests
from twofold.tasks.storage import load_dataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.state import load_candidate, state_folder
from twofold.training.train import train

_SHIPPED = Path(forecast.__file__).parent / "coefficients.json"
_FIGURE = Path(__file__).parents[1] / "docs" / "images" / "atlas.svg"
TESTS = 3000
"""Test requests of each task; those of recommendation are of users who train nothing."""
MEASURES = (Measure("Recall", 10), Measure("Recall", 30), Measure("nDCG", 10))
_SETTINGS = ("backbone=decoder:tiny", "hybrid=none", "precision=float32", "batch_tokens=512")
_LEARNING = ("learning_rate=3e-3", "patience=1", "source_weights=balanced", "validation_share=0.2")
_STEPS = {"search": 130, "recommendation": 130, "joint": 220}


def parameters(number: int) -> dict[str, Any]:
    """The parameters of a world of `simulate:mixed`."""
    rng = np.random.default_rng([number, 11])

    def between(low: float, high: float) -> int:
        return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))

    def sometimes(chance: float, usual: float) -> float:
        return usual if rng.random() < chance else round(float(rng.uniform(0, 1)), 3)

    items = between(150, 500)
    return {
        "items": items,
        "groups": between(8, items / 6),
        "users": between(40, 1500),
        "events": int(rng.integers(2, 11)),
        "queries": between(40, 2500),
        "overlap": sometimes(0.4, 1.0),
        "tilt": sometimes(0.3, 0.0),
        "agreement": sometimes(0.5, float(rng.random() < 0.8)),
        "signal": round(float(rng.uniform(0.5, 0.95)), 3),
        "zipf": round(float(rng.uniform(0.1, 1.2)), 3),
        "names": round(float(rng.uniform(0, 0.6)), 3),
        "text": 0.0 if rng.random() < 0.5 else round(float(rng.uniform(0.2, 1)), 3),
        "seed": number,
    }


def source(values: Mapping[str, Any]) -> str:
    """The name of a world."""
    return "simulate:mixed:" + ",".join(f"{key}={value}" for key, value in values.items())


def settings(has_text: bool, steps: int) -> TrainingConfig:
    """How an arm is trained; without texts its items start from its own data."""
    start = "auto" if has_text else "factors"
    own = (*_SETTINGS, *_LEARNING, f"item_init={start}", f"max_steps={steps}")
    return resolve_config("quick", settings=own)


def measured(number: int, seed: int) -> dict[str, Any]:
    """One line of the atlas: the world, the seed of the trainings, and the scores of each arm."""
    begun, values = time.process_time(), parameters(number)
    dataset = load_dataset(source({**values, "tests": TESTS}))
    judged = test_requests(dataset, values)
    scores: dict[str, dict[str, dict[str, Any]]] = {task: {} for task in TASKS}
    reference: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in _STEPS.items():
            model = train(
                dataset,
                NAMED_ARMS[name],
                out=Path(folder) / name,
                config=settings(values["text"] > 0, steps),
                seed=seed,
                device="cpu",
                threads=1,
                histories=False,
                reference=reference if name == "joint" else {},
                keep_state=True,
            )
            stamp = model.model.stamp
            reference[name] = stamp.best_value
            states = state_folder(Path(folder) / name)
            for task in NAMED_ARMS[name].tasks:
                best = stamp.best_step_of(task)
                model.model.backbone.load_state_dict(load_candidate(states, best), strict=False)
                scores[task][name] = _scored(model, judged[task])
                scores[task][name]["steps"] = [best, stamp.steps]
    tasks = {task: _compared(scores[task], task) for task in TASKS}
    seconds = round(time.process_time() - begun, 1)
    line = {"world": number, "seed": seed, "source": source(values)}
    return {**line, "seconds": seconds, "tasks": tasks}


def test_requests(
    dataset: PreparedDataset, values: Mapping[str, Any]
) -> dict[Task, JudgedRequests]:
    """The test requests: many, so that what is measured is the arms' difference.

    Those of recommendation are of other users of the same world.
    """
    twin = load_dataset(source({**values, "users": TESTS, "queries": 10, "tests": 10}))
    assert twin.catalog.item_ids == dataset.catalog.item_ids
    return {
        "search": dataset.task("search").requests("test"),
        "recommendation": twin.task("recommendation").requests("test"),
    }


def _scored(model: GenerativeRetriever, judged: JudgedRequests) -> dict[str, Any]:
    """The value of each measure for every request, as a list."""
    run = model.retrieve(judged.requests, 30)
    frame = score(run, judged.qrels, MEASURES)
    return {
        str(measure): frame.filter(measure=str(measure)).sort("request_id")["value"].to_numpy()
        for measure in MEASURES
    }


def _compared(scores: Mapping[str, Mapping[str, Any]], task: Task) -> dict[str, Any]:
    """The means of both arms, their difference and its standard error over the requests."""
    rows = {}
    for measure in map(str, MEASURES):
        alone, joint = scores[task][measure], scores["joint"][measure]
        apart = joint - alone
        rows[measure] = {
            "alone": round(float(alone.mean()), 5),
            "joint": round(float(joint.mean()), 5),
            "error": round(float(apart.std() / np.sqrt(len(apart))), 5),
        }
    return {**rows, "steps": {name: scores[name]["steps"] for name in (task, "joint")}}


def known(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of an atlas."""
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def collect(path: Path, worlds: int, first: int, seed: int) -> None:
    """Add the worlds that the file lacks with this seed."""
    done = {line["world"] for line in known(path) if line["seed"] == seed}
    for number in range(first, first + worlds):
        if number not in done:
            line = measured(number, seed)
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


@dataclass(frozen=True)
class Atlas:
    """Two rows for each world, one for each task.

    Attributes:
        worlds: the number of each row's world, (W,).
        values: the features, (W, F).
        changes: log of joint's primary measure over that of the task alone, the mean of the
            seeds, (W,).
        agreement: the share of rows with one outcome for each of the first two seeds; NaN with one.
    """

    worlds: Ints
    values: Floats
    changes: Floats
    agreement: float = math.nan

    @property
    def outcomes(self) -> Ints:
        """The place of each row's outcome in `OUTCOMES`, (W,)."""
        return outcomes_of(self.changes)

    def of(self, chosen: Any) -> "Atlas":
        """Some of the rows."""
        return Atlas(self.worlds[chosen], self.values[chosen], self.changes[chosen])


def outcomes_of(changes: Floats) -> Ints:
    """The place in `OUTCOMES` of each change."""
    helps, hurts = np.log(1 + SESOI_SHARE), np.log(1 - SESOI_SHARE)
    return np.where(changes > helps, 0, np.where(changes < hurts, 2, 1))


def atlas(path: Path) -> Atlas:
    """The worlds of a file with their features, which are found anew."""
    seeds: dict[int, list[dict[str, Any]]] = {}
    for line in known(path):
        seeds.setdefault(line["world"], []).append(line)
    worlds, values, changes, alike = [], [], [], []
    for number, lines in sorted(seeds.items()):
        dataset = load_dataset(lines[0]["source"])
        measure = str(primary_measure(len(dataset.catalog), None))
        for task in TASKS:
            worlds.append(number)
            values.append(features(dataset, task, text=any(dataset.catalog.texts)))
            of_seeds = np.array([_change(line["tasks"][task][measure]) for line in lines])
            changes.append(of_seeds.mean())
            if len(lines) > 1:
                first, second = outcomes_of(of_seeds)[:2]
                alike.append(first == second)
    agreement = float(np.mean(alike)) if alike else math.nan
    return Atlas(np.array(worlds), np.array(values), np.array(changes), agreement)


def _change(row: Mapping[str, float]) -> float:
    """Log of joint's mean over that of the task alone."""
    return float(np.log(max(row["joint"], 1e-4) / max(row["alone"], 1e-4)))


def fitted(known: Atlas, strength: float, worth: Worth) -> Coefficients:
    """A multinomial logistic regression on standardised features. The size of the catalog has no
    weight: real ones are all beyond the atlas."""
    center, scale = known.values.mean(axis=0), known.values.std(axis=0) + 1e-9
    standard = (known.values - center) / scale
    standard[:, FEATURES.index("log_items")] = 0
    model = LogisticRegression(C=strength, max_iter=2000).fit(standard, known.outcomes)
    weights, intercepts = np.zeros((3, len(FEATURES))), np.full(3, -20.0)
    weights[model.classes_], intercepts[model.classes_] = model.coef_, model.intercept_
    return Coefficients(
        features=FEATURES,
        lowest=known.values.min(axis=0).round(5).tolist(),
        highest=known.values.max(axis=0).round(5).tolist(),
        center=center.round(5).tolist(),
        scale=scale.round(5).tolist(),
        weights=weights.round(5).tolist(),
        intercepts=intercepts.round(5).tolist(),
        worth=worth,
    )


_NO_WORTH = Worth(worlds=0, accuracy=0, brier=0, base_accuracy=0, base_brier=0)
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
_FOLDS = 10


def unseen(every: Atlas, strength: float) -> tuple[Floats, Floats]:
    """The chances of each row by a model, and by a base rate, that know other worlds only."""
    chances, base = np.zeros((len(every.worlds), 3)), np.zeros((len(every.worlds), 3))
    fold = np.random.default_rng(0).permutation(int(every.worlds.max()) + 1)[every.worlds] % _FOLDS
    for number in range(_FOLDS):
        rest = every.of(fold != number)
        chances[fold == number] = chances_of(
            fitted(rest, strength, _NO_WORTH), every.values[fold == number]
        )
        base[fold == number] = np.bincount(rest.outcomes, minlength=3) / len(rest.outcomes)
    return chances, base


def brier(chances: Floats, outcomes: Ints) -> float:
    """The mean over rows of the squared errors, summed over the outcomes."""
    return float(((chances - np.eye(3)[outcomes]) ** 2).sum(axis=1).mean())


def fit(path: Path, out: Path) -> None:
    """Choose the strength, say what it is worth, and write the coefficients."""
    every = atlas(path)
    scored = {each: brier(unseen(every, each)[0], every.outcomes) for each in _STRENGTHS}
    strength = min(_STRENGTHS, key=scored.__getitem__)
    chances, base = unseen(every, strength)
    worth = Worth(
        worlds=len(set(every.worlds.tolist())),
        accuracy=float((chances.argmax(axis=1) == every.outcomes).mean()),
        brier=round(brier(chances, every.outcomes), 4),
        base_accuracy=float((base.argmax(axis=1) == every.outcomes).mean()),
        base_brier=round(brier(base, every.outcomes), 4),
    )
    out.write_text(fitted(every, strength, worth).model_dump_json(indent=1) + "\n")
    print(f"{worth!r}\nstrength {strength}: Brier by strength {scored}")
    print(f"two seeds of a world have one outcome in {every.agreement:.2f}")
    for row, task in enumerate(TASKS):
        own = every.outcomes[row::2]
        right = (chances[row::2].argmax(axis=1) == own).mean()
        counts = dict(zip(OUTCOMES, np.bincount(own, minlength=3).tolist(), strict=True))
        print(f"{task}: {counts}, right {right:.2f}")
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        inside = (chances >= low) & (chances < high)
        came = np.eye(3)[every.outcomes][inside]
        if len(came):
            said = chances[inside].mean()
            print(f"said {said:.2f}, came {came.mean():.2f}, of {len(came)} chances")
    for name, weights in zip(
        FEATURES, np.array(fitted(every, strength, worth).weights).T, strict=True
    ):
        print(
            f"{name:18} "
            + " ".join(f"{o} {w:+.2f}" for o, w in zip(OUTCOMES, weights, strict=True))
        )


_COLOURS = dict(zip(OUTCOMES, ("#2f9e6e", plots.INK, "#d97a2b"), strict=True))
_AXES = ("pairs_gain", "log_own_targets")


def draw(path: Path, data: Sequence[str], out: Path) -> None:
    """Joint's change over two features, a panel for each and each task; data as marks below."""
    every = atlas(path)
    marks = {name: load_dataset(name) for name in data}
    out.write_text(plots.svg(lambda: figure(every, marks)), encoding="utf-8")


def figure(every: Atlas, marks: Mapping[str, PreparedDataset]) -> Figure:
    """The figure of `draw`."""
    drawn, axes = plots.panels(2, 2, 5.6, sharey="col")
    for place, axis in enumerate(axes):
        name, task = _AXES[place // 2], TASKS[place % 2]
        column, rows = FEATURES.index(name), slice(place % 2, None, 2)
        values, changes = every.values[rows, column], 100 * (np.exp(every.changes[rows]) - 1)
        if name.startswith("log"):
            values = 10**values
            axis.set_xscale("log")
        for number, outcome in enumerate(OUTCOMES):
            own = every.outcomes[rows] == number
            axis.plot(values[own], changes[own], "o", ms=4, color=_COLOURS[outcome], label=outcome)
        axis.axhline(0, color=plots.INK, lw=0.8)
        for label, dataset in marks.items():
            value = float(features(dataset, task, text=False)[column])
            value = 10**value if name.startswith("log") else value
            axis.axvline(value, color=plots.INK, lw=0.8, ls=":")
            high = axis.get_ylim()[1]
            axis.text(value, high, Path(label).name, rotation=90, va="top", ha="right", fontsize=7)
        plots.title(axis, task)
        axis.set_xlabel(DESCRIPTIONS[name], fontsize=8)
        axis.set_ylabel("joint − plain, %", fontsize=8)
    plots.legend(axes[0])
    return drawn


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect")
    collecting.add_argument("path", type=Path)
    collecting.add_argument("--worlds", type=int, default=400)
    collecting.add_argument("--first", type=int, default=0)
    collecting.add_argument("--seed", type=int, default=0, help="of the trainings")
    fitting = commands.add_parser("fit")
    fitting.add_argument("path", type=Path)
    fitting.add_argument("--out", type=Path, default=_SHIPPED)
    drawing = commands.add_parser("draw")
    drawing.add_argument("path", type=Path)
    drawing.add_argument("--data", nargs="*", default=[])
    drawing.add_argument("--out", type=Path, default=_FIGURE)
    given = parser.parse_args()
    if given.command == "collect":
        logging.disable(logging.WARNING)
        torch.set_num_threads(1)
        collect(given.path, given.worlds, given.first, given.seed)
    elif given.command == "fit":
        fit(given.path, given.out)
    else:
        draw(given.path, given.data, given.out)


if __name__ == "__main__":
    main()
