"""The result of a study: the content of study.json, its types and its JSON Schema.

Invariant: the schema is generated from the types. This module does not need torch.
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
"""The version of the format of study.json: its keys and their meaning."""


class StudyStamp(Value):
    """The data, the protocol and the settings behind every number."""

    model_config = pydantic.ConfigDict(extra="allow")

    data: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the dataset."""
    device: str
    seeds: pydantic.PositiveInt
    """The number of seeds: each arm is trained once with each seed."""
    max_seeds: pydantic.PositiveInt | None
    """The largest number of seeds of a study with interim looks, which ends as soon as every
    verdict is final; None if the number of seeds was fixed."""
    looks_end: pydantic.PositiveInt | None
    """The number of seeds at which the error of all looks is spent; None if one look may spend all
    of it."""
    folds: str
    """The option `folds` of the study: `auto`, `all` or `none`."""
    folded: Sequence[Task]
    """The tasks for which each seed holds out another part of the data, so that the training data
    differ between seeds."""
    folded_users: Probability | None
    """The share of the tested users whose test event differs between folds; the other users have
    under ten events."""
    why_fixed: Mapping[str, str]
    """By task, why all seeds have the same test requests; tasks with folds are not included."""
    looks: Sequence[int]
    """The number of seeds at each interim look; each look spends a part of the error."""
    budget: str
    """The preset of the training settings."""
    sesoi_share: pydantic.NonNegativeFloat
    """The smallest effect of interest, as a share of the plain arm's mean."""
    interventions: list[str]
    """Kinds of interventions: `2x2`, `caps`."""
    semantic_ids: bool
    """Whether arms with semantic IDs were trained."""
    baselines: bool
    """Whether all baselines were tuned; otherwise those that take seconds ran untuned."""
    question: str
    """The option `question` of the study: `transfer`, `replace` or `both`."""
    text: str
    """Which models were trained: `with` item text, `without`, or `both`."""
    margin: pydantic.NonNegativeFloat | None
    """The non-inferiority margin of *replace*, as a share of the plain arm's mean."""
    measure: str | None
    """The option `measure` of the study: the primary measure; None for the default."""
    tune: pydantic.NonNegativeInt
    """The number of recipes that were tried for each arm; 0 for the fixed recipe."""
    threads: pydantic.PositiveInt
    """CPU threads of each training."""
    training: dict[str, Any]
    """The training settings."""
    source: str
    """The files, name or simulator that the dataset was read from."""
    split: str
    """How interactions were split: `last` or `temporal`."""
    cutoff: float | None
    """The time of a temporal split."""
    seen: str
    """Whether items of the history are excluded in recommendation: `exclude` or `keep`."""
    catalog: pydantic.PositiveInt
    """The number of items in the catalog."""
    candidates: str
    """The items that are ranked for each request."""
    ties: str
    """The order of items with equal scores."""
    primary: str
    """The primary measure, which decides the verdicts."""
    selection: str
    """The measure by which checkpoints are selected on validation."""
    loss: Any
    """The loss and its negatives."""
    source_weights: dict[str, float]
    """The weight of each task in the joint arm's loss."""
    targets: dict[str, int]
    """The number of training targets of each task."""
    precision: str
    """The number format of matrix products."""
    versions: dict[str, str]
    """The versions of Python and of the libraries."""
    command: str
    """The command that reproduces the study."""


class BaselineScores(Value):
    """The means of a baseline by measure, and the joint arm's difference to it."""

    model_config = pydantic.ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Mean]

    joint_minus_baseline: Difference
    """In the primary measure."""

    @property
    def measures(self) -> Measures:
        """The means by measure."""
        return self.__pydantic_extra__


class Answer(Value):
    """The verdicts on one question."""

    question: Question
    """`transfer`: does learning the other task help? `replace`: can one model replace two?"""
    text: Text
    """`with` if the models read the items' texts, `without` if they learn from behaviour alone."""
    suffix: str
    """The suffix of the judged arms in `arms`, such as `-from-behaviour`; empty for none."""
    source_weights: dict[str, float]
    """The weight of each task in joint's loss."""
    verdicts: dict[Task, TaskVerdict]
    """By task; the p-values are corrected over the tasks of one question."""


class StudyResult(Value):
    """Every number of a study. Intervals are 95 % unless their name says otherwise.

    Each analysis has its own key, which is null if the study did not compute it.
    """

    format: Literal[3]
    """The version of the format: the keys and their meaning."""
    stamp: StudyStamp
    arms: dict[str, dict[str, Measures]]
    """Arm -> task -> measure. Arms without a suffix are the models as they would be deployed."""
    baselines: dict[str, dict[str, BaselineScores]]
    """Baseline -> task -> measure."""
    verdicts: dict[Task, TaskVerdict]
    """The verdicts on the first question, by task."""
    questions: Sequence[Answer]
    """The verdicts on every question of the study, the main question first."""

    def of(self, analysis: str) -> Any:
        """The result of an analysis by its name; None if the study did not compute it."""
        return getattr(self, analysis)

    @property
    def tasks(self) -> list[Task]:
        """The tasks in the order of the report."""
        return list(self.verdicts)

    @property
    def by_models(self) -> bool:
        """Whether there are too few seeds to estimate the seed variance. Every interval then holds
        only for these trained models."""
        return self.stamp.seeds < MIN_SEEDS

    def to_json(self) -> dict[str, Any]:
        """The content of study.json."""
        return self.model_dump(mode="json", by_alias=True)


def result_type() -> type[StudyResult]:
    """`StudyResult` with a field for each analysis; None if the study did not compute it."""
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
        InputError: the folder `path` has no result, or a file in it has changed.
    """
    artifact.load(path, KIND)
    content: Mapping[str, Any] = artifact.read_json(StudyFolder(path).result)
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path}: study.json has format {content.get('format')}, and this version reads "
            f"{FORMAT}; repeat the study's command with --resume to write it again"
        )
    try:
        return result_type().model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: study.json is not as expected at {place}: {first['msg']}"
        ) from None
