"""Evaluation of a retriever on the requests of a dataset: runs, and a score for each request."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twofold import artifact
from twofold.evaluation.measures import MEASURES, Measure, means, score, unanswered
from twofold.evaluation.runs import write_qrels, write_run
from twofold.records import InputError, Qrels, Ranking, Request, Retriever, Run, Split, Task
from twofold.tasks.prepared import PreparedDataset, require_dataset

KIND = "evaluation"
_BETWEEN_LINES = 10.0
"""The minimum number of seconds between two log lines."""

_log = logging.getLogger(__name__)

NEEDS: Mapping[Task, str] = {
    "search": "some queries with qrels must be in every split",
    "recommendation": "a user needs at least three events, or in a temporal split one after the "
    "cutoff",
}
"""The data that a task needs for validation and test requests."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The runs and scores of one retriever.

    Attributes:
        scores: a table with the columns task, request_id, measure, value.
        runs, qrels: the run and the qrels of each task.
        unanswered: the number of requests of each task without a retrieved item; they score 0.
    """

    scores: pl.DataFrame
    runs: Mapping[str, Run]
    qrels: Mapping[str, Qrels]
    unanswered: Mapping[str, int]

    def __repr__(self) -> str:
        """The means, since a notebook prints what a cell returns, and runs are long."""
        return f"Evaluation(means={self.means()}, unanswered={dict(self.unanswered)})"

    def means(self) -> dict[str, dict[str, float]]:
        """The mean of each measure, by task."""
        return {task: means(self.scores.filter(pl.col("task") == task)) for task in self.runs}


def evaluate(
    retriever: Retriever,
    dataset: PreparedDataset,
    tasks: Sequence[Task] | None = None,
    split: Split = "test",
    measures: Sequence[Measure] = MEASURES,
) -> Evaluation:
    """Rank the full catalog for every request and score it.

    Args:
        retriever: the retriever to evaluate.
        dataset: the dataset with the requests.
        tasks: the tasks to evaluate; by default all tasks of the dataset.
        split: `test` or `validation`.
        measures: the measures; the largest k sets the number of items to retrieve.

    Raises:
        InputError: `retriever` is not a retriever, or does not return a `Run`; the dataset has no
            data of a task.

    Example:
        import twofold

        dataset = twofold.load_dataset("my-folder")
        model = twofold.load_model("out/study/models/joint/seed-0")
        twofold.evaluate(model, dataset).means()["search"]["nDCG@10"]
    """
    require_dataset(dataset)
    if not callable(getattr(retriever, "retrieve", None)):
        raise InputError(
            f"{type(retriever).__name__} is no retriever; give twofold.load_model(FOLDER), or an "
            f"object with a name and retrieve(requests, k)"
        )
    if split not in ("test", "validation"):
        raise InputError(f"split {split!r}: choose test or validation")
    if isinstance(tasks, str) or not set(tasks or ()) <= set(dataset.tasks):
        raise InputError(f"tasks {tasks!r}: give a list of some of {', '.join(dataset.tasks)}")
    depth = max(measure.k for measure in measures)
    runs: dict[str, Run] = {}
    qrels: dict[str, Qrels] = {}
    without_answer: dict[str, int] = {}
    tables = []
    for task in tasks or dataset.tasks:
        judged = dataset.task(task).requests(split, timed=getattr(retriever, "reads_time", False))
        runs[task] = _run(retriever, judged.requests, depth, task)
        if not isinstance(runs[task], Run):
            raise InputError(
                f"retrieve of {type(retriever).__name__} returned {type(runs[task]).__name__}; a "
                f"twofold.Run is expected, of a twofold.Ranking for each request_id"
            )
        qrels[task] = judged.qrels
        without_answer[task] = unanswered(runs[task], judged.qrels)
        scores = score(runs[task], judged.qrels, measures)
        tables.append(scores.select(pl.lit(task).alias("task"), pl.all()))
    return Evaluation(scores=pl.concat(tables), runs=runs, qrels=qrels, unanswered=without_answer)


def _run(retriever: Retriever, requests: Sequence[Request], depth: int, task: Task) -> Run:
    """The rankings of all requests. A model answers its batches one by one, with lines of progress;
    the scores are those of all requests at once, to the last bit."""
    shards = getattr(retriever, "shards", None)
    if not callable(shards):
        return retriever.retrieve(requests, depth)
    rankings: dict[str, Ranking] = {}
    answered = Answered(task, len(requests))
    for shard in shards(requests, depth, 1):
        rankings |= retriever.retrieve(shard, depth).rankings
        answered.log(len(rankings))
    return Run(retriever.name, {key: rankings[key] for key in (r.request_id for r in requests)})


class Answered:
    """Logs the number of answered requests and the remaining time, every ten seconds.

    Args:
        what: what the requests are of.
        size: the number of all requests.
        now: the clock, in seconds.
    """

    def __init__(self, what: str, size: int, now: Callable[[], float] = time.monotonic) -> None:
        self._what, self._size, self._now = what, size, now
        self._start = self._logged = now()

    def log(self, done: int) -> None:
        """Log a line if one is due, after `done` requests were answered."""
        now = self._now()
        if now - self._logged < _BETWEEN_LINES:
            return
        self._logged = now
        left = (now - self._start) * (self._size / done - 1)
        _log.info("%s: %d of %d requests, %.0f s left", self._what, done, self._size, left)


def save_evaluation(evaluation: Evaluation, out: Path, stamp: Mapping[str, Any]) -> None:
    """Write measures.json, per_request.parquet, and a run and qrels of each task."""
    with artifact.write(out, KIND, {"stamp": dict(stamp)}) as folder:
        measured = {"stamp": dict(stamp), **evaluation.means()}
        measured["unanswered"] = dict(evaluation.unanswered)
        artifact.write_json(folder / "measures.json", measured)
        evaluation.scores.write_parquet(folder / "per_request.parquet")
        for task, run in evaluation.runs.items():
            write_run(run, folder / f"{task}.trec")
            write_qrels(evaluation.qrels[task], folder / f"{task}.qrels")
