"""Small simulated worlds, and what joining the tasks brings in each: what a forecast learns from.

    python benchmarks/atlas.py collect WORLDS.jsonl --worlds 400
    python benchmarks/atlas.py fit WORLDS.jsonl --held-out 100

`collect` draws one world after another, trains three tiny arms in each (`search`,
`recommendation`, `joint`) and appends a line to the file; started again, it goes on where it
stopped. About ten seconds of processor time a world. The single-task arms train on after they have
converged and return to their best checkpoint, so that each is its own step-matched control.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twofold.evaluation.measures import Measure, score
from twofold.records import TASKS, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.train import train

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
        "users": between(60, 1200),
        "events": int(rng.integers(2, 11)),
        "queries": between(60, 2000),
        "overlap": sometimes(0.4, 1.0),
        "tilt": sometimes(0.3, 0.0),
        "agreement": sometimes(0.4, float(rng.integers(2))),
        "signal": round(float(rng.uniform(0.3, 0.95)), 3),
        "zipf": round(float(rng.uniform(0.2, 1.3)), 3),
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


def measured(number: int) -> dict[str, Any]:
    """One line of the atlas: the world, and the scores of each arm."""
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
                device="cpu",
                threads=1,
                histories=False,
                reference=reference if name == "joint" else {},
            )
            stamp = model.model.stamp
            reference[name] = stamp.best_value
            for task in NAMED_ARMS[name].tasks:
                scores[task][name] = _scored(model, judged[task])
                scores[task][name]["steps"] = [stamp.best_step, stamp.steps]
    tasks = {task: _compared(scores[task], task) for task in TASKS}
    seconds = round(time.process_time() - begun, 1)
    return {"world": number, "source": source(values), "seconds": seconds, "tasks": tasks}


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


def collect(path: Path, worlds: int, first: int) -> None:
    """Add the worlds that the file lacks."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    done = {line["world"] for line in known(path)}
    for number in range(first, first + worlds):
        if number not in done:
            line = measured(number)
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect")
    collecting.add_argument("path", type=Path)
    collecting.add_argument("--worlds", type=int, default=400)
    collecting.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if given.command == "collect":
        collect(given.path, given.worlds, given.first)


if __name__ == "__main__":
    main()
