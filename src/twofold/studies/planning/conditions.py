"""The conditions of a study: its arms as models with item text, and as models from behaviour."""

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
        arms: the arms to train.
        folder: the folder of the models.
        transfer: the folder of their evaluations for the question *transfer*; None if it is not a
            question of the study.
        training: the training settings.
    """

    arms: Sequence[Arm]
    folder: StudyFolder
    transfer: StudyFolder | None
    training: TrainingConfig

    @property
    def evaluated(self) -> Sequence[StudyFolder]:
        """The folders of its evaluations: as deployed, and for *transfer*."""
        return list(dict.fromkeys([self.folder, self.transfer or self.folder]))


def conditions_of(
    dataset: PreparedDataset,
    folder: StudyFolder,
    config: StudyConfig,
    questions: Questions,
    training: TrainingConfig,
) -> dict[Text, Condition]:
    """The conditions to train. Arms with semantic IDs are in the condition that is deployed,
    interventions in that of the first question.

    Raises:
        InputError: there are arms with semantic IDs, but no model reads item text.
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
            if any(asked.question == "transfer" for asked in questions.asked)
            else None,
            training=training.model_copy(update=settings_of(text, dataset, training)),
        )
    return conditions
