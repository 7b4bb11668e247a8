"""Which trainings answer which question."""

from typing import Any

import pytest

from tests.conftest import WriteFolder
from twofold.records import InputError
from twofold.studies.planning.questions import StudyQuestion, questions_of, settings_of
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import TrainingConfig, resolve_config

FROM_BEHAVIOUR = StudyQuestion("transfer", "without")
WITH_TEXT = StudyQuestion("transfer", "with")
REPLACE = StudyQuestion("replace", "with")


@pytest.fixture
def textless(write_folder: WriteFolder) -> PreparedDataset:
    items = "".join(f"{item},\n" for item in "abcdef")
    return load_dataset(write_folder(items=f"item_id,title\n{items}"))


@pytest.mark.parametrize(
    ("question", "text", "asked", "texts"),
    [
        ("both", "both", [FROM_BEHAVIOUR, WITH_TEXT, REPLACE], ["with", "without"]),
        ("transfer", "both", [FROM_BEHAVIOUR, WITH_TEXT], ["with", "without"]),
        ("both", "with", [WITH_TEXT, REPLACE], ["with"]),
        ("replace", "both", [REPLACE], ["with"]),
        ("transfer", "without", [FROM_BEHAVIOUR], ["without"]),
        ("replace", "without", [StudyQuestion("replace", "without")], ["without"]),
    ],
)
def test_only_what_answers_a_question_is_trained(
    catalog: PreparedDataset, question: str, text: str, asked: list[StudyQuestion], texts: list[str]
) -> None:
    questions = questions_of(catalog, TrainingConfig(), question, text)
    assert list(questions.asked) == asked
    assert list(questions.texts) == texts
    assert questions.trained_as(questions.texts[0]) == "", "what is deployed has the arm's own name"
    assert [questions.trained_as(each) for each in questions.texts[1:]] == ["-from-behaviour"][
        : len(texts[1:])
    ]


def test_without_item_text_nothing_is_trained_twice(
    textless: PreparedDataset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "twofold")
    questions = questions_of(textless, TrainingConfig())
    assert list(questions.asked) == [FROM_BEHAVIOUR, StudyQuestion("replace", "without")]
    assert questions.texts == ("without",)
    assert "from behaviour alone: no item has a text" in caplog.text
    assert settings_of("without", textless, TrainingConfig()) == {"hybrid": "after"}
    with pytest.raises(
        InputError, match="--text with: no item has a text; ask with --text without"
    ):
        questions_of(textless, TrainingConfig(), text="with")


@pytest.mark.parametrize(
    ("settings", "tunes", "texts"),
    [
        ({"text_encoder": "none", "hybrid": "none"}, False, ("without",)),
        ({"text_encoder": "none", "hybrid": "none"}, True, ("with", "without")),
        ({"item_texts": "none"}, True, ("without",)),
        ({"identifiers": "semantic"}, True, ("with",)),
    ],
)
def test_settings_that_read_no_text_or_need_it(
    catalog: PreparedDataset, settings: dict[str, Any], tunes: bool, texts: tuple[str, ...]
) -> None:
    assert questions_of(catalog, resolve_config(**settings), tunes=tunes).texts == texts


def test_semantic_ids_are_not_made_from_behaviour(catalog: PreparedDataset) -> None:
    with pytest.raises(InputError, match="--text without: semantic IDs are made of item texts"):
        questions_of(catalog, resolve_config(identifiers="semantic"), text="without")


def test_another_question_is_refused_with_those_that_there_are(catalog: PreparedDataset) -> None:
    with pytest.raises(InputError, match="--question 'why': choose one of transfer, replace, both"):
        questions_of(catalog, TrainingConfig(), "why")
    with pytest.raises(InputError, match="--text 'some': choose one of with, without, both"):
        questions_of(catalog, TrainingConfig(), text="some")


def test_the_hybrid_part_is_fitted_after_training_and_left_out_where_it_is_not_wanted(
    catalog: PreparedDataset,
) -> None:
    assert settings_of("with", catalog, TrainingConfig()) == {"hybrid": "after"}
    assert settings_of("with", catalog, resolve_config(hybrid="none")) == {}
    behaviour = settings_of("without", catalog, TrainingConfig())
    assert behaviour == {"item_texts": "none", "hybrid": "none"}
