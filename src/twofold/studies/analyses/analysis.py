"""What an analysis is: one chapter of a study, written in one file.

A new analysis is a file that defines an `Analysis`, and a line in `twofold.studies.analyses`. Its
result is then in study.json under its name, its chapter in report.html, and its tables in
what `twofold report` prints.
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
    """What an analysis may read once all arms are trained and scored.

    Attributes:
        dataset: what the arms were trained on, and whose test requests were asked.
        scores: of every arm and seed, by request, for the first question that the study asks.
        folder: with the models and their answers.
        deployed: the scores of what would be deployed.
        generative: those of the same models at each task's best checkpoint, without the hybrid
            part; `deployed` where *transfer* is not asked.
        trained: the stamps of all models, by seed, under the names of their folders.
        plan: the plan of the study, with the seeds that were reached.
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
        """The pairs of items that the training data of each task join."""
        return training_pairs(self.dataset)


def _no_tables(_result: Any, _study: "StudyResult") -> Iterable[Table]:
    return ()


@dataclass(frozen=True)
class Analysis(Generic[R]):
    """One chapter of a study.

    Attributes:
        name: its key in study.json.
        result: the type of its result: pydantic models and containers of them. `T | None` where
            only some studies ask for the analysis.
        compute: the result, from what the study measured.
        chapter: a Jinja template of HTML, which sees `result` (the result), `study` (a
            `StudyResult`), `tasks` and `figures`; left out where the result is None.
        figures: by name; each is drawn from the result and the whole study.
        tables: for papers, from the same two.
    """

    name: str
    result: Any
    compute: Callable[[Evidence], R | None]
    chapter: str = ""
    figures: "Mapping[str, Callable[[R, StudyResult], Figure]]" = field(default_factory=dict)
    tables: "Callable[[R, StudyResult], Iterable[Table]]" = _no_tables

    @property
    def about(self) -> str:
        """The first paragraph of the file that defines it."""
        described = sys.modules[self.compute.__module__].__doc__ or ""
        return " ".join(described.partition("\n\n")[0].split())
