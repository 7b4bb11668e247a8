"""What a study found, in words."""

import pytest

from twofold.records import Task
from twofold.studies.pages.words import headline, light_tasks, what_to_do
from twofold.studies.result import Answer, StudyResult
from twofold.studies.statistics.rule import Question, Verdict
from twofold.studies.verdict import TaskVerdict


def answer(question: Question, search: Verdict, recommendation: Verdict) -> Answer:
    def of(verdict: Verdict) -> TaskVerdict:
        return TaskVerdict(
            verdict=verdict,
            provisional=False,
            reason="because",
            sesoi=0.01,
            p_adjusted=0.5,
            contrasts={},
            needed=None,
            question=question,
        )

    verdicts: dict[Task, TaskVerdict] = {"search": of(search), "recommendation": of(recommendation)}
    return Answer(question=question, text="with", suffix="", verdicts=verdicts)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            [answer("replace", "not worse", "not worse")],
            "Serve both tasks with one joint model.",
        ),
        (
            [answer("transfer", "helps", "hurts"), answer("replace", "not worse", "hurts")],
            "Serve search with the joint model; keep a model of its own for recommendation. "
            "Learning the other task helps search with item text.",
        ),
        (
            [answer("transfer", "helps", "helps"), answer("replace", "hurts", "hurts")],
            "Keep two models: one joint model would lose what matters. "
            "Learning the other task helps search and recommendation with item text.",
        ),
        (
            [answer("transfer", "not enough data", "not enough data")],
            "Keep two models for now: these data do not show that one can take their place. "
            "That learning the other task helps either of them is not shown.",
        ),
    ],
)
def test_what_to_do_is_said_first(result: StudyResult, answers: list[Answer], said: str) -> None:
    assert what_to_do(result.model_copy(update={"questions": answers})) == said


def test_a_headline_says_of_which_models_it_asks() -> None:
    transfer = answer("transfer", "helps", "helps")
    assert headline(transfer).endswith("with item text (every model reads it)?")
    from_behaviour = transfer.model_copy(update={"text": "without"})
    assert "from behaviour (no model reads an item's text)" in headline(from_behaviour)
    assert "take the place of two" in headline(answer("replace", "helps", "helps"))


def test_a_task_that_hardly_counts_in_the_loss_is_named() -> None:
    of = answer("transfer", "helps", "helps")
    few = of.model_copy(update={"source_weights": {"search": 0.03, "recommendation": 0.97}})
    assert light_tasks(few).startswith("In joint's loss search weighs 3 %: ")
    even = of.model_copy(update={"source_weights": {"search": 0.1, "recommendation": 0.9}})
    assert light_tasks(even) == light_tasks(of) == ""
