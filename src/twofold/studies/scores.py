"""The scores of a study's arms, by arm, seed and test request.

Invariant: only finished artifacts are read, so the scores can be loaded again at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from twofold import artifact
from twofold.evaluation.measures import MEASURES
from twofold.evaluation.runs import read_run
from twofold.evaluation.significance import Estimate, difference, side_by_side
from twofold.model.stamp import KIND as MODEL
from twofold.model.stamp import Stamp
from twofold.records import Floats, InputError, Ints, Run, Task
from twofold.studies.arms import control_name
from twofold.studies.folder import StudyFolder
from twofold.studies.statistics.task_scores import TOP, TaskScores, has_top, primary_measure
from twofold.studies.values import Difference, Mean, Measures
from twofold.tasks.evaluate import KIND as EVALUATION
from twofold.tasks.folds import FoldRequests, Folds
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm

_STILL_IMPROVING = 0.9
"""An arm is still improving if its best validation is after this share of its steps."""


class Scores:
    """The evaluations of a study, by arm.

    Shapes: S seeds, R test requests of a task; with folds, the requests of all seeds are
    concatenated.

    Attributes:
        measure: the primary measure.
        folds: the training data and test requests of each seed.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        arms: Sequence[Arm],
        folder: StudyFolder,
        seeds: int,
        measure: str | None = None,
        folds: Folds | None = None,
    ) -> None:
        self.folds = folds or Folds(dataset, "none")
        self.measure = primary_measure(len(dataset.catalog), measure)
        self.arms = {arm.name: arm for arm in arms}
        self._folder = folder
        self._dataset = dataset
        self._frames = {
            arm.name: [_scored(folder.evaluation(arm.name, seed)) for seed in range(seeds)]
            for arm in arms
        }
        self.stamps: Mapping[str, Sequence[Stamp]] = {
            arm.name: [model_stamp(folder, arm.name, seed) for seed in range(seeds)] for arm in arms
        }
        self._requests: dict[Task, list[FoldRequests]] = {task: [] for task in dataset.tasks}
        for seed in range(seeds):
            for task, of_task in self._requests.items():
                if seed == 0 or self.folds.why_fixed[task] is None:
                    of_task.append(self.folds.test_requests(seed, task))
        self._clusters = {task: _clusters(of_task) for task, of_task in self._requests.items()}
        self._require_pairs()

    def _require_pairs(self) -> None:
        """Raise InputError unless all arms have scores of the same requests, in the same order."""
        for arm in self.arms.values():
            for seed, frame in enumerate(self._frames[arm.name]):
                for task in arm.judged:
                    of_task = frame.filter(pl.col("task") == task, pl.col("measure") == str(TOP))
                    if of_task["request_id"].to_list() != list(self._request_ids(task, seed)):
                        evaluation = self._folder.evaluation(arm.name, seed)
                        raise InputError(
                            f"{evaluation}: has scores of other requests of {task} than the "
                            f"dataset; remove it, and run the command again with --resume"
                        )

    def _request_ids(self, task: Task, seed: int) -> Sequence[str]:
        """The test requests of a seed, in the order of its scores."""
        by_fold = self._requests[task]
        return by_fold[seed if len(by_fold) > 1 else 0].request_ids

    @property
    def at_own_best(self) -> bool:
        """Whether each task is scored at its own best checkpoint, as *transfer* requires."""
        return bool(self._folder.evaluated_as)

    @property
    def evaluated_as(self) -> str:
        """The suffix of the arms' names in the result."""
        return self._folder.evaluated_as

    def clusters(self, task: Task) -> Ints:
        """The cluster of each request, (R,): its user, or the request itself without a user."""
        return self._clusters[task]

    def matrix(self, arm: str, task: Task, measure: str | None = None) -> Floats:
        """The scores of one arm, (S, R), requests in the order of the task; with folds, a score is
        NaN if the seed does not test the request.

        Args:
            measure: the primary measure by default.
        """
        name = measure or str(self.measure)
        by_seed = [_column(frame, task, name) for frame in self._frames[arm]]
        return side_by_side(by_seed) if len(self._requests[task]) > 1 else np.stack(by_seed)

    def of_first_fold(self, arm: str, task: Task) -> Floats:
        """`matrix` on the requests of the dataset's split, (S, R); with folds, that of the first
        seed, (1, R)."""
        scores, by_fold = self.matrix(arm, task), self._requests[task]
        return scores if len(by_fold) == 1 else scores[:1, : len(by_fold[0].request_ids)]

    def difference(self, first: str, second: str, task: Task) -> Difference:
        """The mean of one arm minus the mean of another, paired by request."""
        return Difference.of(self.estimate(first, second, task))

    def estimate(self, first: str, second: str, task: Task, measure: str | None = None) -> Estimate:
        """`difference` with its variance."""
        names = [first, second, *(arm for arm in verdict_arms(task) if arm not in (first, second))]
        one, two, *others = (self.matrix(arm, task, measure) for arm in names if arm in self.arms)
        return difference(one, two, self._clusters[task], others=others)

    def is_still_improving(self, arm: str) -> bool:
        """Whether a cap ended the training of any seed while its validation rose."""
        return any(still_improving(stamp) for stamp in self.stamps[arm])

    def runs(self, arm: str, task: Task) -> Iterator[Run]:
        """The runs of one arm, by seed; they are read one at a time."""
        for seed in range(len(self._frames[arm])):
            ids = [*self._request_ids(task, seed), *self._dataset.catalog.item_ids]
            yield read_run(self._folder.evaluation(arm, seed) / f"{task}.trec", ids)

    def primary(self, task: Task) -> TaskScores:
        """The scores that decide the verdict on one task."""
        arms = verdict_arms(task)
        joint, plain, control = (self.matrix(arm, task) for arm in arms)
        top = tuple(self.matrix(arm, task, str(TOP)) for arm in arms)
        return TaskScores(
            joint=joint,
            plain=plain,
            control=control,
            clusters=self._clusters[task],
            rises={
                role: max(rise(stamp, task, self.at_own_best) for stamp in self.stamps[arm])
                for role, arm in (("joint", arms[0]), ("control", arms[2]))
            },
            catalog=len(self._dataset.catalog),
            measure=self.measure,
            top=(top[0], top[1], top[2]) if has_top(self.measure) else None,
        )

    def means(self) -> dict[str, dict[str, Measures]]:
        """The means of every arm, by the arm's name in the result, the task and the measure."""
        return {
            f"{arm.name}{self._folder.evaluated_as}": {
                task: {
                    str(measure): Mean.of(
                        self.matrix(arm.name, task, str(measure)), self._clusters[task]
                    )
                    for measure in MEASURES
                }
                for task in arm.judged
            }
            for arm in self.arms.values()
        }

    def baselines(self) -> dict[str, dict[str, dict[str, Mean | Difference]]]:
        """The means of every baseline by task and measure, and the joint arm's difference to it.

        With folds, a slow baseline may be evaluated on the first fold only; its numbers are then
        those of that fold."""
        means: dict[str, dict[str, dict[str, Mean | Difference]]] = {}
        for task, first_fold in self._folder.baselines():
            stamp = artifact.load(first_fold, EVALUATION)["config"]["stamp"]
            frames = self._of_folds(task, first_fold)
            scores = {
                str(m): side_by_side([_column(frame, task, str(m)) for frame in frames])
                for m in MEASURES
            }
            of_baseline, joint = scores[str(self.measure)], self.matrix("joint", task)
            if len(frames) < len(self._requests[task]):
                joint = self.of_first_fold("joint", task)
            clusters = self._clusters[task][: of_baseline.shape[1]]
            above = difference(joint, of_baseline, clusters, fixed=True)
            means.setdefault(stamp["retriever"], {})[task] = {
                **{
                    measure: Mean.of(of_baseline, clusters)
                    for measure, of_baseline in scores.items()
                },
                # The first question of users: is the model better than the baseline?
                "joint_minus_baseline": Difference.of(above),
            }
        return means

    def _of_folds(self, task: Task, first_fold: Path) -> list[pl.DataFrame]:
        """The scores of a baseline on the fold of every seed, or on the first fold only if it was
        not evaluated on the others."""
        seeds = range(1, len(self._requests[task]))
        others = [self._folder.baseline(task, first_fold.name, seed) for seed in seeds]
        available = others if all(artifact.is_complete(other) for other in others) else []
        return [_scored(evaluation) for evaluation in (first_fold, *available)]

    def per_request(self) -> pl.DataFrame:
        """Columns arm, seed, task, request_id, measure, value."""
        return pl.concat(
            frame.select(
                pl.lit(f"{arm}{self._folder.evaluated_as}").alias("arm"),
                pl.lit(seed).alias("seed"),
                pl.all(),
            )
            for arm, frames in self._frames.items()
            for seed, frame in enumerate(frames)
        )


def verdict_arms(task: Task) -> tuple[str, str, str]:
    """The arms that the verdict on a task compares: joint, plain, control."""
    return "joint", task, control_name(task)


def model_stamp(folder: StudyFolder, arm: str, seed: int) -> Stamp:
    """The stamp of a trained model."""
    manifest = artifact.read_manifest(folder.model(arm, seed), MODEL)
    return Stamp.read(manifest["config"]["stamp"])


def still_improving(stamp: Stamp) -> bool:
    """Whether a cap ended a model's training while its validation rose: the best checkpoint is in
    the last tenth of the steps."""
    if stamp.ended_by == "patience":
        return False
    return stamp.best_step > _STILL_IMPROVING * stamp.steps


def rise(stamp: Stamp, task: Task, at_own_best: bool = False) -> float:
    """The relative rise of a task's validation score in the last third of a training that a cap
    ended while the score rose; 0 for any other training. It is infinite where no validation came
    before: the score may have risen by any amount.

    Args:
        at_own_best: whether the task's own best checkpoint decides if the score still rose.
    """
    if at_own_best:
        stamp = replace(stamp, best_step=stamp.best_step_of(task))
    values = [(point["step"], point[task]) for point in stamp.curve if task in point]
    early = [value for step, value in values if step <= stamp.steps * 2 / 3]
    if not still_improving(stamp) or not values:
        return 0.0
    if not early:
        return float("inf")
    best = max(value for _, value in values)
    return best / max(early) - 1 if max(early) > 0 else float(best > 0)


def _scored(evaluation: Path) -> pl.DataFrame:
    artifact.load(evaluation, EVALUATION)
    return pl.read_parquet(evaluation / "per_request.parquet", glob=False)


def _column(frame: pl.DataFrame, task: Task, measure: str) -> Floats:
    chosen = (pl.col("task") == task) & (pl.col("measure") == measure)
    return frame.filter(chosen)["value"].to_numpy()


def _clusters(by_fold: Sequence[FoldRequests]) -> Ints:
    """The cluster of each request: its user, or the request itself without a user."""
    ids = [cluster for fold in by_fold for cluster in fold.cluster_ids]
    return np.unique(np.asarray(ids, dtype=object), return_inverse=True)[1]
