"""The questions of a study, and which trainings answer them.

*Transfer*: does learning the other task help? It is asked of generative scores alone, for each task
at the joint model's best checkpoint for it, and twice: *from behaviour*, where no model reads a
text of an item, and *with item text*, where all do. *Replace*: can one model take the place of two?
It is asked of what would be deployed: one checkpoint, item texts, the hybrid part. The trainings
with item text answer both.
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
"""What follows an arm's name where it is judged for the question *transfer*."""

CONDITIONS: Mapping[Text, str] = {"with": "with item text", "without": "from behaviour"}
"""The names of the conditions."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StudyQuestion:
    """A question, asked of the models that read item texts or of those that read none."""

    question: Question
    text: Text

    @property
    def suffix(self) -> str:
        """What follows the names of the arms that answer it."""
        return SUFFIXES[self.text] if self.question == "transfer" else ""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is trained, and what is asked of it.

    Attributes:
        asked: the questions; the first is the one that the study is about.
        texts: the trainings; of the first of them, arms have their own names, and theirs is what
            would be deployed. Those that follow have a suffix.
    """

    asked: tuple[StudyQuestion, ...]
    texts: tuple[Text, ...]

    def trained_as(self, text: Text) -> str:
        """What follows the names of the trained models."""
        return "" if text == self.texts[0] else SUFFIXES[text]


def questions_of(
    dataset: PreparedDataset,
    config: TrainingConfig,
    question: str = "both",
    text: str = "both",
    *,
    tunes: bool = True,
) -> Questions:
    """What a study trains and asks.

    Where no item has a text, or the settings read none, both conditions are the same: models are
    trained once, and the question *transfer* is asked once, from behaviour.

    Args:
        dataset: the dataset.
        config: the training settings.
        question: `transfer`, `replace` or `both`.
        text: `with`, `without` or `both`.
        tunes: whether recipes are chosen, some of which read item texts.

    Raises:
        InputError: there is no such question or text, or there is no text to read.
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
    transfer = [StudyQuestion("transfer", own) for own in reversed(texts)]
    replace = [StudyQuestion("replace", texts[0])]
    chosen = {"transfer": transfer, "replace": replace, "both": transfer + replace}[question]
    needed = texts if question != "replace" else texts[:1]
    return Questions(tuple(chosen), needed)


def settings_of(text: Text, dataset: PreparedDataset, config: TrainingConfig) -> dict[str, Any]:
    """The training settings of a condition that differ from the configuration.

    The hybrid part is fitted after training: checkpoints are compared by generative scores, which
    *transfer* is about.
    """
    if text == "without" and any(dataset.catalog.texts):
        return {"item_texts": "none", "hybrid": "none"}
    return {"hybrid": "after"} if config.hybrid == "auto" else {}


def _why_no_text(dataset: PreparedDataset, config: TrainingConfig, tunes: bool) -> str:
    """Why no model reads an item's text; empty where some do."""
    if not any(dataset.catalog.texts):
        return "no item has a text"
    if config.item_texts == "none":
        return "the settings have item_texts=none"
    blind = config.text_encoder == "none" and config.hybrid == "none"
    if blind and not tunes and not config.item_text_queries and config.identifiers == "atomic":
        return "these settings read no item text (text_encoder=none, hybrid=none)"
    return ""
