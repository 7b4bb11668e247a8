"""The conditions of a study: its arms once as models that read item texts, once as models that read
none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twofold.records import InputError
from twofold.studies.arms import semantic_arms, study_arms
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.config import StudyConfig
from twofold.studies.planning.questions import SUFFIXES, Questions, Text, settings_of
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Condition:
    """The models that read item texts, or those that read none.

    Attributes:
        arms: what is trained.
        folder: of the models.
        transfer: of their evaluations for the question *transfer*; None where it is not asked.
        training: how they are trained.
    """

    arms: Sequence[Arm]
    folder: StudyFolder
    transfer: StudyFolder | None
    training: TrainingConfig

    @property
    def evaluated(self) -> Sequence[StudyFolder]:
        """Where its evaluations are: of what would be deployed, and for *transfer*."""
        return list(dict.fromkeys([self.folder, self.transfer or self.folder]))


def conditions_of(
    dataset: PreparedDataset,
    folder: StudyFolder,
    config: StudyConfig,
    questions: Questions,
    training: TrainingConfig,
) -> dict[Text, Condition]:
    """What is trained: arms with semantic IDs where models are deployed, interventions where the
    first question is asked.

    Raises:
        InputError: semantic IDs of models that read no item text.
    """
    if config.semantic_ids and "with" not in questions.texts and any(dataset.catalog.texts):
        raise InputError(
            "--semantic-ids: they are made of item texts, which no model of this study reads; "
            "leave it out, or give --text both"
        )
    conditions: dict[Text, Condition] = {}
    for text in questions.texts:
        is_first = text == questions.asked[0].text
        arms = study_arms(dataset, config.interventions if is_first else ())
        if config.semantic_ids and text == questions.texts[0]:
            arms = (*arms, *semantic_arms(dataset, training))
        suffix = questions.trained_as(text)
        conditions[text] = Condition(
            arms=arms,
            folder=replace(folder, trained_as=suffix, evaluated_as=suffix),
            transfer=replace(folder, trained_as=suffix, evaluated_as=SUFFIXES[text])
            if any(own.question == "transfer" for own in questions.asked)
            else None,
            training=training.model_copy(update=settings_of(text, dataset, training)),
        )
    return conditions
