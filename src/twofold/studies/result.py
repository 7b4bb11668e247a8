"""The result of a study: the content of study.json, its types and its JSON Schema.

Invariant: the schema is made of the types. Needs no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from twofold import artifact
from twofold.evaluation.significance import MIN_SEEDS
from twofold.records import InputError, Task
from twofold.studies import analyses
from twofold.studies.folder import KIND, StudyFolder
from twofold.studies.planning.questions import Text
from twofold.studies.statistics.rule import Question
from twofold.studies.values import Difference, Mean, Measures, Probability, Value
from twofold.studies.verdict import TaskVerdict

FORMAT = 3
"""The version of study.json's keys and of their meaning."""


class StudyStamp(Value):
    """What every number rests on."""

    model_config = pydantic.ConfigDict(extra="allow")

    data: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the dataset."""
    device: str = "cpu"
    seeds: pydantic.PositiveInt
    """Trained models of each arm."""
    max_seeds: pydantic.PositiveInt | None = None
    """The most seeds of a study that ends as soon as it decides; None where they were fixed."""
    looks_end: pydantic.PositiveInt | None = None
    """The seeds at which the error of all looks is spent; None where one look may spend it all."""
    folds: str = "none"
    """What was asked for: `auto`, `all` or `none`."""
    folded: Sequence[Task] = ()
    """The tasks of which each seed holds out another part, and so draws its training data."""
    folded_users: Probability | None = None
    """The share of the tested users who have another test event in other folds; those who do not
    have under ten events."""
    why_fixed: Mapping[str, str] = pydantic.Field(default_factory=dict)
    """By task, why all seeds have the same test requests; without those that have folds."""
    looks: Sequence[int] = ()
    """The seeds after which the verdict was asked for; each look spends a part of the error."""
    budget: str
    """The preset of the training settings."""
    sesoi_share: pydantic.NonNegativeFloat
    """The smallest effect of interest, as a share of the plain arm's mean."""
    interventions: list[str]
    """Kinds of interventions: `2x2`, `caps`."""
    semantic_ids: bool = False
    """Whether arms with semantic IDs were trained."""
    baselines: bool = False
    """Whether every baseline was tuned."""
    question: str = "transfer"
    """What was asked: `transfer`, `replace` or `both`."""
    text: str = "with"
    """The models that were trained: `with` item text, `without`, or `both`."""
    margin: pydantic.NonNegativeFloat | None = None
    """What joint may lose and still take the place of two models, as a share of the plain mean."""
    measure: str | None = None
    """The measure that was asked for as the primary one; None where it was left open."""
    tune: pydantic.NonNegativeInt = 0
    """Recipes that each arm's was chosen from; 0 for the fixed recipe."""
    threads: pydantic.PositiveInt
    training: dict[str, Any]
    """The training settings."""
    source: str
    """What the dataset was read from."""
    split: str
    """How interactions were split: `last` or `temporal`."""
    cutoff: float | None = None
    """The time of a temporal split."""
    seen: str
    """Whether items of the history are excluded in recommendation: `exclude` or `keep`."""
    catalog: pydantic.PositiveInt
    """Items in the catalog."""
    candidates: str
    """Which items are ranked."""
    ties: str
    """How equal scores are ordered."""
    primary: str
    """The measure that decides."""
    selection: str
    """The measure by which validation selects a checkpoint."""
    loss: Any
    """The loss and its negatives."""
    source_weights: dict[str, float]
    """The weight of each task in the joint arm's loss."""
    targets: dict[str, int]
    """Training targets of each task."""
    precision: str
    """The number format of matrix products."""
    versions: dict[str, str]
    """The versions of Python and of the libraries."""
    command: str
    """What repeats the study."""


class BaselineScores(Value):
    """The means of a baseline by measure, and how far the joint arm is above it."""

    model_config = pydantic.ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Mean]

    joint_minus_baseline: Difference

    @property
    def measures(self) -> Measures:
        """The means by measure."""
        return self.__pydantic_extra__


class Answer(Value):
    """The verdicts on one question."""

    question: Question
    """`transfer`: does learning the other task help? `replace`: can one model take the place of
    two?"""
    text: Text
    """Whether the models read the items' texts: `with`, or `without`, from behaviour alone."""
    suffix: str
    """What follows the names of the arms in `arms` that were judged: `joint-from-behaviour`."""
    source_weights: dict[str, float] = pydantic.Field(default_factory=dict)
    """The weight of each task in joint's loss."""
    verdicts: dict[Task, TaskVerdict]
    """By task; the correction runs over the tasks of each question."""


class StudyResult(Value):
    """Every number of a study. Intervals are 95 % unless their name says otherwise.

    Each analysis has a key of its own, which is null where the study did not ask for it.
    """

    format: Literal[3]
    """The version of the keys and of their meaning."""
    stamp: StudyStamp
    arms: dict[str, dict[str, Measures]]
    """Arm -> task -> measure. Arms without a suffix are what would be deployed."""
    baselines: dict[str, dict[str, BaselineScores]]
    """Baseline -> task -> measure."""
    verdicts: dict[Task, TaskVerdict]
    """By task: those of the first question."""
    questions: Sequence[Answer] = ()
    """Every question that was asked, the first one first; empty in older studies, which asked
    *transfer* of what would be deployed."""

    def of(self, analysis: str) -> Any:
        """The result of an analysis by its name; None where the study did not ask for it."""
        return getattr(self, analysis)

    @property
    def answers(self) -> Sequence[Answer]:
        """Every question with its verdicts; an older study asked one."""
        only = Answer(question="transfer", text="with", suffix="", verdicts=self.verdicts)
        return self.questions or (only,)

    @property
    def tasks(self) -> list[Task]:
        """In the order of the report."""
        return list(self.verdicts)

    @property
    def by_models(self) -> bool:
        """Whether seeds are too few to estimate their variance, so that every interval speaks of
        these trained models alone."""
        return self.stamp.seeds < MIN_SEEDS

    def to_json(self) -> dict[str, Any]:
        """The content of study.json."""
        return self.model_dump(mode="json", by_alias=True)


def result_type() -> type[StudyResult]:
    """`StudyResult` with a field for each analysis; None where an older study has none."""
    fields: dict[str, Any] = {
        analysis.name: (analysis.result, pydantic.Field(None, description=analysis.about))
        for analysis in analyses.ANALYSES
    }
    return pydantic.create_model(
        "StudyJson", __base__=StudyResult, __doc__=StudyResult.__doc__, **fields
    )


def result_schema() -> dict[str, Any]:
    """The JSON Schema of study.json."""
    schema = result_type().model_json_schema(mode="serialization")
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **schema, "title": "study.json"}


def load_result(path: Path) -> StudyResult:
    """The result of a finished study.

    Raises:
        InputError: there is none in the folder `path`, or it has changed.
    """
    artifact.load(path, KIND)
    content: Mapping[str, Any] = artifact.read_json(StudyFolder(path).result)
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path}: study.json has format {content.get('format')}, and this version reads "
            f"{FORMAT}; repeat the study's command with --resume to write it anew"
        )
    try:
        return result_type().model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: study.json is not as expected at {place}: {first['msg']}"
        ) from None
