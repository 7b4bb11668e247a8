"""What a study measured: scores by arm, seed and request, and what they say.

Invariant: reads finished artifacts only, so it can be made again at any time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twofold import artifact
from twofold.evaluation.measures import MEASURES, PRIMARY
from twofold.evaluation.runs import read_run
from twofold.evaluation.significance import Estimate, difference, mean
from twofold.model.stamp import Stamp
from twofold.records import Floats, Ints, Run, Task
from twofold.studies.arms import control_name
from twofold.studies.verdict import TaskScores
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm

_STILL_IMPROVING = 0.9
"""An arm whose best validation lies beyond this share of its budget is still improving."""


class Results:
    """The evaluations of a study, arm by arm."""

    def __init__(
        self, dataset: PreparedDataset, arms: Sequence[Arm], folder: Path, seeds: int
    ) -> None:
        self._arms = {arm.name: arm for arm in arms}
        self._tasks = dataset.tasks
        self._folder = folder / "evaluations"
        self._frames = {arm.name: [self._read(arm, seed) for seed in range(seeds)] for arm in arms}
        self.stamps = {
            arm.name: [self._model_stamp(folder, arm, seed) for seed in range(seeds)]
            for arm in arms
        }
        self._clusters: dict[str, Ints] = {task: _clusters(dataset, task) for task in dataset.tasks}

    def _read(self, arm: Arm, seed: int) -> pl.DataFrame:
        place = self._folder / arm.name / f"seed-{seed}"
        artifact.load(place, "evaluation")
        return pl.read_parquet(place / "per_request.parquet")

    def _model_stamp(self, folder: Path, arm: Arm, seed: int) -> Stamp:
        place = folder / "models" / arm.name / f"seed-{seed}"
        return Stamp.read(artifact.read_json(place / artifact.MANIFEST)["config"]["stamp"])

    def clusters(self, task: Task) -> Ints:
        """(R,), the number of each request's user, or of the request itself."""
        return self._clusters[task]

    @property
    def arm_names(self) -> list[str]:
        """In the order of training."""
        return list(self._arms)

    def matrix(self, arm: str, task: str, measure: str) -> Floats:
        """Scores of one arm, (S, R), requests in the order of the task."""
        chosen = (pl.col("task") == task) & (pl.col("measure") == measure)
        return np.stack([frame.filter(chosen)["value"].to_numpy() for frame in self._frames[arm]])

    def is_still_improving(self, arm: str) -> bool:
        """Whether the best checkpoint of any seed lies in the last tenth of its budget."""
        return any(_is_still_improving(stamp) for stamp in self.stamps[arm])

    def runs(self, arm: str, task: str) -> Iterator[Run]:
        """The ranked answers of one arm, by seed; read one at a time."""
        for seed in range(len(self._frames[arm])):
            yield read_run(self._folder / arm / f"seed-{seed}" / f"{task}.trec")

    def primary(self, task: Task) -> TaskScores:
        """What the verdict on one task rests on."""
        measure = str(PRIMARY)
        return TaskScores(
            joint=self.matrix("joint", task, measure),
            plain=self.matrix(task, task, measure),
            control=self.matrix(control_name(task), task, measure),
            clusters=self._clusters[task],
            still_improving=[
                name
                for name in ("joint", task, control_name(task))
                if self.is_still_improving(name)
            ],
        )

    def arms(self) -> dict[str, Any]:
        """Every arm, task and measure: mean, interval, by seed."""
        return {
            arm.name: {
                task: {
                    str(measure): describe(
                        self.matrix(arm.name, task, str(measure)), self._clusters[task]
                    )
                    for measure in MEASURES
                }
                for task in arm.judged
            }
            for arm in self._arms.values()
        }

    def baselines(self) -> dict[str, Any]:
        """The same of every baseline, and the joint arm's difference to it."""
        found: dict[str, Any] = {}
        for place in sorted((self._folder / "baselines").glob("*/*")):
            stamp = artifact.load(place, "evaluation")["config"]["stamp"]
            task = place.parent.name
            frame = pl.read_parquet(place / "per_request.parquet")
            found.setdefault(stamp["retriever"], {})[task] = {
                str(measure): describe(
                    frame.filter(pl.col("measure") == str(measure))["value"].to_numpy()[None],
                    self._clusters[task],
                )
                for measure in MEASURES
            }
            # What users ask first: is the model above the baseline at all?
            joint = self.matrix("joint", task, str(PRIMARY))
            own = frame.filter(pl.col("measure") == str(PRIMARY))["value"].to_numpy()[None]
            found[stamp["retriever"]][task]["joint_minus_baseline"] = describe_difference(
                difference(joint, own, self._clusters[task], fixed=True)
            )
        return found

    @property
    def training(self) -> dict[str, Any]:
        """By arm, one entry a seed: budget, updates, best update, curve, still improving."""
        return {
            name: [_training(stamp) for stamp in stamps] for name, stamps in self.stamps.items()
        }

    def effects(self) -> dict[str, Any]:
        """Joint minus the plain arm and minus the control in every measure; exploratory."""
        return {
            task: {
                str(measure): {
                    name: describe_difference(
                        difference(
                            self.matrix("joint", task, str(measure)),
                            self.matrix(arm, task, str(measure)),
                            self._clusters[task],
                        )
                    )
                    for name, arm in (("plain", task), ("control", control_name(task)))
                }
                for measure in MEASURES
            }
            for task in self._tasks
        }

    def per_request(self) -> pl.DataFrame:
        """Columns arm, seed, task, request_id, measure, value."""
        return pl.concat(
            frame.select(pl.lit(arm).alias("arm"), pl.lit(seed).alias("seed"), pl.all())
            for arm, frames in self._frames.items()
            for seed, frame in enumerate(frames)
        )


def _clusters(dataset: PreparedDataset, task: Task) -> Ints:
    """Requests of one user belong together; a query without a user stands alone."""
    units = [r.user_id or r.request_id for r in dataset.task(task).requests("test").requests]
    return np.unique(np.asarray(units, dtype=object), return_inverse=True)[1]


def _training(stamp: Stamp) -> dict[str, Any]:
    """How a model was trained, under the keys of study.json."""
    return {
        "budget": stamp.max_steps,
        "updates": stamp.steps,
        "best_update": stamp.best_step,
        "best_value": stamp.best_value,
        "passes": stamp.epochs,
        "curve": [
            {"update" if key == "step" else key: value for key, value in point.items()}
            for point in stamp.curve
        ],
        "targets_seen": dict(stamp.targets_seen),
        "still_improving": _is_still_improving(stamp),
    }


def _is_still_improving(stamp: Stamp) -> bool:
    return stamp.best_step > _STILL_IMPROVING * stamp.max_steps


def describe(scores: Floats, clusters: Ints) -> dict[str, Any]:
    """A mean for study.json."""
    estimate = mean(scores, clusters)
    return {
        "mean": estimate.value,
        "interval": list(estimate.interval()),
        "by_seed": scores.mean(axis=1).tolist(),
    }


def describe_difference(estimate: Estimate) -> dict[str, Any]:
    """A difference for study.json."""
    return {"difference": estimate.value, "interval": list(estimate.interval())}
