"""The config of a study, as it is given and with all defaults filled in."""

from collections.abc import Sequence
from dataclasses import dataclass

from twofold.studies.arms import InterventionSet
from twofold.studies.planning.questions import QuestionChoice, TextChoice
from twofold.studies.verdict import SESOI_SHARE
from twofold.tasks.folds import FoldChoice
from twofold.training.config import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """The arguments of `twofold.study` that its numbers depend on, with the names of study.json.

    None stands for the default, or for the value in the study that is resumed.
    """

    seeds: int = 3
    max_seeds: int | None = None
    folds: FoldChoice | None = None
    budget: Budget = "standard"
    sesoi_share: float = SESOI_SHARE
    question: QuestionChoice = "both"
    text: TextChoice = "both"
    margin: float | None = None
    measure: str | None = None
    interventions: Sequence[InterventionSet] = ()
    semantic_ids: bool = False
    baselines: bool = False
    tune: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStudyConfig(StudyConfig):
    """A config with all defaults filled in.

    Attributes:
        seeds: the number of trained models of each arm; with interim looks, that of the next look.
        looks_end: the number of seeds at which the error of all looks is spent; None if one look
            may spend all of it.
    """

    folds: FoldChoice
    margin: float
    tune: int
    looks_end: int | None
