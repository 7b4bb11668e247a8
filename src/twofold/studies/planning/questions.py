"""The questions of a study, and the trainings that answer them.

*Transfer*: does learning the other task help? The models are evaluated by generative scores alone,
for each task at joint's best checkpoint for it. There are two conditions: *from behaviour*, in
which no model reads item text, and *with item text*, in which all models do. *Replace*: can one
model replace two? The models are evaluated as they would be deployed: with one checkpoint, item
texts and the hybrid part. The trainings with item text answer both questions.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from twofold.records import InputError
from twofold.studies.statistics.rule import Question
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig

QuestionChoice = Literal["transfer", "replace", "both"]
TextChoice = Literal["with", "without", "both"]
Text = Literal["with", "without"]
"""Whether models read the items' texts."""

SUFFIXES: Mapping[Text, str] = {"with": "-with-text", "without": "-from-behaviour"}
"""The suffix of an arm's name in evaluations for the question *transfer*."""

CONDITIONS: Mapping[Text, str] = {"with": "with item text", "without": "from behaviour"}
"""The names of the conditions."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StudyQuestion:
    """A question about the models of one condition: with item text, or from behaviour."""

    question: Question
    text: Text

    @property
    def suffix(self) -> str:
        """The suffix of the names of the arms that answer it."""
        return SUFFIXES[self.text] if self.question == "transfer" else ""


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a study, and the conditions that it trains.

    Attributes:
        asked: the questions, the main one first.
        texts: the conditions. The models of the first one would be deployed, and their arms have
            no suffix. The arms of a second one have a suffix.
    """

    asked: tuple[StudyQuestion, ...]
    texts: tuple[Text, ...]

    def trained_as(self, text: Text) -> str:
        """The suffix of the names of the trained models."""
        return "" if text == self.texts[0] else SUFFIXES[text]


def questions_of(
    dataset: PreparedDataset,
    config: TrainingConfig,
    question: str = "both",
    text: str = "both",
    *,
    tunes: bool = True,
) -> Questions:
    """The questions and the conditions of a study.

    If no item has a text, or the settings read none, both conditions are the same: models are
    trained once, and *transfer* is answered once, from behaviour.

    Args:
        dataset: the dataset.
        config: the training settings.
        question: `transfer`, `replace` or `both`.
        text: `with`, `without` or `both`.
        tunes: whether recipes are chosen, some of which read item texts.

    Raises:
        InputError: an unknown question or text, or there is no text to read.
    """
    for option, value, choices in (
        ("--question", question, ("transfer", "replace", "both")),
        ("--text", text, ("with", "without", "both")),
    ):
        if value not in choices:
            raise InputError(f"{option} '{value}': choose one of {', '.join(choices)}")
    texts: tuple[Text, ...] = ("with", "without")
    if why := _why_no_text(dataset, config, tunes):
        if text == "with":
            raise InputError(f"--text with: {why}; ask with --text without")
        _log.info("from behaviour alone: %s", why)
        texts = ("without",)
    elif text != "both":
        texts = ("with",) if text == "with" else ("without",)
    elif config.identifiers == "semantic":
        _log.info("with item text alone: semantic IDs are made of it")
        texts = ("with",)
    if text == "without" and config.identifiers == "semantic" and any(dataset.catalog.texts):
        raise InputError(
            "--text without: semantic IDs are made of item texts; ask with --text with, or train "
            "with --set identifiers=atomic"
        )
    transfer = [StudyQuestion("transfer", condition) for condition in reversed(texts)]
    replace = [StudyQuestion("replace", texts[0])]
    chosen = {"transfer": transfer, "replace": replace, "both": transfer + replace}[question]
    needed = texts if question != "replace" else texts[:1]
    return Questions(tuple(chosen), needed)


def settings_of(text: Text, dataset: PreparedDataset, config: TrainingConfig) -> dict[str, Any]:
    """The training settings of a condition that differ from the configuration.

    The hybrid part is fitted after training, so checkpoints are chosen by generative scores, as
    *transfer* requires.
    """
    if text == "without" and any(dataset.catalog.texts):
        return {"item_texts": "none", "hybrid": "none"}
    return {"hybrid": "after"} if config.hybrid == "auto" else {}


def _why_no_text(dataset: PreparedDataset, config: TrainingConfig, tunes: bool) -> str:
    """Why no model reads an item's text; empty if some models do."""
    if not any(dataset.catalog.texts):
        return "no item has a text"
    if config.item_texts == "none":
        return "the settings have item_texts=none"
    blind = config.text_encoder == "none" and config.hybrid == "none"
    if blind and not tunes and not config.item_text_queries and config.identifiers == "atomic":
        return "these settings read no item text (text_encoder=none, hybrid=none)"
    return ""
