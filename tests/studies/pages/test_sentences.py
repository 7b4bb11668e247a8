"""What a study found, in words."""

import pytest

from twofold.records import Task
from twofold.studies.pages.sentences import (
    advice_on,
    headline,
    light_tasks,
    verdict_sentence,
    what_to_do,
)
from twofold.studies.result import Answer, StudyResult
from twofold.studies.statistics.power import Needed
from twofold.studies.statistics.rule import Effect, Obstacle, Question, Verdict
from twofold.studies.verdict import TaskVerdict

QUESTIONS: tuple[Question, ...] = ("transfer", "replace")


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
            measure="Recall@30",
        )

    verdicts: dict[Task, TaskVerdict] = {"search": of(search), "recommendation": of(recommendation)}
    return Answer(question=question, text="with", suffix="", source_weights={}, verdicts=verdicts)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            [answer("replace", "not worse", "not worse")],
            "Serve both tasks with one joint model.",
        ),
        (
            [answer("transfer", "helps", "hurts"), answer("replace", "not worse", "hurts")],
            "Serve search with the joint model; keep a single-task model for recommendation. "
            "With item text, learning the other task helps search and hurts recommendation.",
        ),
        (
            [answer("transfer", "helps", "helps"), answer("replace", "hurts", "hurts")],
            "Keep two models: one joint model would be worse. "
            "With item text, learning the other task helps search and recommendation.",
        ),
        (
            [answer("transfer", "not enough data", "not enough data")],
            "These data do not show whether learning the other task helps. "
            "To learn which models to serve, run the study with --question replace.",
        ),
        (
            [answer("transfer", "no material difference", "no material difference")],
            "Learning the other task makes no material difference. "
            "To learn which models to serve, run the study with --question replace.",
        ),
        (
            [answer("transfer", "no material difference", "not enough data")],
            "No effect of learning the other task was found; for some models there is no verdict. "
            "To learn which models to serve, run the study with --question replace.",
        ),
        (
            [answer("transfer", "helps", "no material difference")],
            "With item text, learning the other task helps search. "
            "To learn which models to serve, run the study with --question replace.",
        ),
        (
            [answer("replace", "not enough data", "not enough data")],
            "Keep two models for now: these data do not show that one can take their place.",
        ),
    ],
)
def test_what_to_do_is_said_first(result: StudyResult, answers: list[Answer], said: str) -> None:
    assert what_to_do(result.model_copy(update={"questions": answers})) == said


def test_a_cap_is_no_lack_of_data(result: StudyResult) -> None:
    """Who reads only the first sentence would look for more data, and needs more steps."""

    def capped(question: Question) -> Answer:
        of = answer(question, "not enough data", "not enough data")
        changed = {"obstacle": "undertrained"}
        verdicts = {task: each.model_copy(update=changed) for task, each in of.verdicts.items()}
        return of.model_copy(update={"verdicts": verdicts})

    both = [capped("transfer"), capped("replace")]
    said = what_to_do(result.model_copy(update={"questions": both}))
    assert said == (
        "Keep two models for now: a cap ended the trainings too early to show that one can take "
        "their place. A cap ended the trainings too early to show whether learning the other task "
        "helps."
    )
    assert "data" not in verdict_sentence("search", both[0].verdicts["search"])

    undecided = answer("transfer", "not enough data", "not enough data")
    mixed = {"search": both[0].verdicts["search"], "recommendation": undecided.verdicts["search"]}
    one_capped = undecided.model_copy(update={"verdicts": mixed})
    said = what_to_do(result.model_copy(update={"questions": [one_capped]}))
    assert said.startswith("These data do not show whether")


def test_two_seeds_are_provisional_in_the_first_sentences_too(result: StudyResult) -> None:
    """Who reads nothing else would serve one model on the evidence of two seeds."""

    def said(verdict: Verdict) -> str:
        of = answer("replace", verdict, verdict)
        changed = {
            task: v.model_copy(update={"provisional": True}) for task, v in of.verdicts.items()
        }
        two_seeds = of.model_copy(update={"verdicts": changed})
        return what_to_do(result.model_copy(update={"questions": [two_seeds]}))

    assert said("not worse") == (
        "Serve both tasks with one joint model. "
        "This is provisional, since two seeds were trained; --seeds 3 --resume adds one."
    )
    assert "provisional" not in said("not enough data")


def at_place(question: Question, verdict: Verdict, effect: Effect, why: str) -> Answer:
    """Search has a verdict that names a place; recommendation has none that is shown."""
    of = answer(question, verdict, "not enough data")
    search = of.verdicts["search"].model_copy(
        update={"effect": effect, "measure": "Recall@30", "reason": why}
    )
    return of.model_copy(update={"verdicts": {**of.verdicts, "search": search}})


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (
            at_place("transfer", "only deeper", "helps", ""),
            "With item text, training on recommendation as well helps search only deeper, in "
            "Recall@30; at the top, in nDCG@10, it hurts. "
            "To learn which models to serve, run the study with --question replace.",
        ),
        (
            at_place("transfer", "only at the top", "helps", "in Recall@30 it hurts"),
            "With item text, training on recommendation as well helps search only at the top, in "
            "nDCG@10: in Recall@30 it hurts. "
            "To learn which models to serve, run the study with --question replace.",
        ),
        (
            at_place("replace", "only at the top", "hurts", "no difference in Recall@30"),
            "Keep two models: one joint model would be worse. As deployed, one joint model "
            "is worse for search at the top, in nDCG@10: no difference in Recall@30.",
        ),
        (
            at_place("replace", "only deeper", "not worse", ""),
            "Keep two models: one joint model would be worse. As deployed, one joint model "
            "can take the place of the search model in Recall@30, but not at the top, in nDCG@10, "
            "where it is worse.",
        ),
    ],
)
def test_an_effect_at_one_place_is_told_as_what_it_is(
    result: StudyResult, of: Answer, said: str
) -> None:
    assert what_to_do(result.model_copy(update={"questions": [of]})) == said


def test_a_verdict_on_replace_compares_models() -> None:
    found: list[Verdict] = ["helps", "hurts", "no material difference"]
    said = [
        verdict_sentence("search", answer("replace", verdict, verdict).verdicts["search"])
        for verdict in found
    ]
    assert said == [
        "One joint model is better than the search model.",
        "One joint model is worse than the search model.",
        "One joint model can take the place of the search model: the difference is too small to "
        "matter.",
    ]


@pytest.mark.parametrize("verdict", ["helps", "hurts", "no material difference", "only deeper"])
def test_only_replace_says_what_to_serve(verdict: Verdict) -> None:
    own = {
        question: advice_on(answer(question, verdict, verdict).verdicts["search"])
        for question in QUESTIONS
    }
    assert "model" in own["replace"]
    assert "model" not in own["transfer"]


@pytest.mark.parametrize(
    ("obstacle", "advice"),
    [
        ("undertrained", "Run again with a larger cap, or with none. A cap is --max-steps, "),
        ("between the arms", "compare with the one that you would deploy"),
        ("uncertain", "many more test requests and seeds"),
        ("degenerate data", ""),
        ("few seeds", ""),
    ],
)
def test_the_advice_without_a_verdict_is_about_what_prevents_it(
    obstacle: Obstacle, advice: str
) -> None:
    """If the data cannot decide, the reason says what is needed, and more of them are no remedy."""
    undecided = answer("transfer", "not enough data", "not enough data").verdicts["search"]
    given = advice_on(undecided.model_copy(update={"obstacle": obstacle}))
    assert advice in given
    assert bool(given) == bool(advice)


def test_a_headline_says_of_which_models_it_asks() -> None:
    transfer = answer("transfer", "helps", "helps")
    assert headline(transfer).endswith("with item text (every model reads it)?")
    from_behaviour = transfer.model_copy(update={"text": "without"})
    assert "from behaviour (no model reads item text)" in headline(from_behaviour)
    assert "take the place of two" in headline(answer("replace", "helps", "helps"))


def test_a_task_that_hardly_counts_in_the_loss_is_named() -> None:
    of = answer("transfer", "helps", "helps")
    few = of.model_copy(update={"source_weights": {"search": 0.03, "recommendation": 0.97}})
    assert light_tasks(few).startswith("In the loss of joint, search has a weight of 3 %, ")
    even = of.model_copy(update={"source_weights": {"search": 0.1, "recommendation": 0.9}})
    assert light_tasks(even) == light_tasks(of) == ""


def test_requests_of_each_seed_are_told_of_a_result_that_was_read_again() -> None:
    open_one = answer("transfer", "not enough data", "not enough data").verdicts["search"]
    needed = Needed(requests=900, seeds=None, of_each_seed=True)
    verdict = open_one.model_copy(update={"needed": needed, "of_each_seed": True})
    content = verdict.model_dump(mode="json")
    values = content["needed"].values()
    assert not any(isinstance(value, bool) for value in values), "readers expect numbers"
    assert "900 test requests for each seed" in advice_on(TaskVerdict.model_validate(content))
