"""The interface of an analysis: one chapter of a study, defined in one file.

To add an analysis, define an `Analysis` in a new file and add it to `twofold.studies.analyses`. Its
result is then in study.json under its name, its chapter in report.html, and its tables in the
output of `twofold report`.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twofold.model.stamp import Stamp
from twofold.studies.cells import Table
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.scores import Scores
from twofold.studies.statistics.pairs import Pairs, training_pairs
from twofold.tasks.prepared import PreparedDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

R = TypeVar("R")


@dataclass(frozen=True)
class Evidence:
    """The input of an analysis, after all arms were trained and scored.

    Attributes:
        dataset: the dataset on which the arms were trained and tested.
        scores: the scores of every arm and seed, by request, for the study's first question.
        folder: the folder of the models and their rankings.
        deployed: the scores of the models as they would be deployed.
        generative: the scores of the same models at each task's best checkpoint, without the
            hybrid part; equal to `deployed` if *transfer* is not a question of the study.
        trained: the stamps of all models, by seed, under the names of their folders.
        plan: the plan of the study, with the number of seeds that were trained.
    """

    dataset: PreparedDataset
    scores: Scores
    folder: StudyFolder
    plan: StudyPlan
    deployed: Scores
    generative: Scores
    trained: Mapping[str, Sequence[Stamp]]

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs of items that occur together in the training data of each task."""
        return training_pairs(self.dataset)


def _no_tables(_result: Any, _study: "StudyResult") -> Iterable[Table]:
    return ()


@dataclass(frozen=True)
class Analysis(Generic[R]):
    """One chapter of a study.

    Attributes:
        name: its key in study.json.
        result: the type of its result: pydantic models and containers of them; `T | None` if
            only some studies compute the analysis.
        compute: computes the result from the evidence.
        chapter: a Jinja template of HTML with the variables `result` (the result), `study` (a
            `StudyResult`), `tasks` and `figures`; it is skipped if the result is None.
        figures: the functions that draw the figures, by name, from the result and the study.
        tables: makes tables for papers from the same two arguments.
    """

    name: str
    result: Any
    compute: Callable[[Evidence], R | None]
    chapter: str = ""
    figures: "Mapping[str, Callable[[R, StudyResult], Figure]]" = field(default_factory=dict)
    tables: "Callable[[R, StudyResult], Iterable[Table]]" = _no_tables

    @property
    def about(self) -> str:
        """The first paragraph of the docstring of the analysis's module."""
        described = sys.modules[self.compute.__module__].__doc__ or ""
        return " ".join(described.partition("\n\n")[0].split())
