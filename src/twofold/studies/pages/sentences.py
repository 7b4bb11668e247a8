"""The results of a study in words: what to do, and each verdict as a sentence."""

from collections.abc import Mapping, Sequence

from twofold.records import Task, other_task
from twofold.studies.planning.questions import CONDITIONS
from twofold.studies.result import Answer, StudyResult
from twofold.studies.statistics.power import Needed
from twofold.studies.statistics.rule import Question, Verdict
from twofold.studies.verdict import TaskVerdict

_CONCLUSION = {
    "helps": "helps",
    "hurts": "hurts",
    "no material difference": "makes no material difference to",
}


def condition(answer: Answer) -> str:
    """The models that a question compares, in two or three words."""
    return "deployed" if answer.question == "replace" else CONDITIONS[answer.text]


def headline(answer: Answer) -> str:
    """A question, and the models that it compares."""
    if answer.question == "replace":
        return "Can one model take the place of two (the models as they would be deployed)?"
    read = "no model reads item text" if answer.text == "without" else "every model reads it"
    return f"Does one task help the other, {CONDITIONS[answer.text]} ({read})?"


def what_to_do(result: StudyResult) -> str:
    """What the user should do, in a few sentences.

    Only *replace* says which models to serve: *transfer* does not evaluate models as they would be
    deployed, but joint at the best checkpoint of each task.
    """
    transfer = [answer for answer in result.questions if answer.question == "transfer"]
    sentences = [
        _models_to_serve(answer) for answer in result.questions if answer.question == "replace"
    ]
    sentences += _effects(transfer)
    if len(transfer) == len(result.questions):
        sentences.append("To learn which models to serve, run the study with --question replace.")
    if any(_is_provisional(answer) for answer in result.questions):
        sentences.append(_PROVISIONAL)
    return " ".join(sentences)


_PROVISIONAL = "This is provisional, since two seeds were trained; --seeds 3 --resume adds one."


def _is_provisional(answer: Answer) -> bool:
    """Whether a verdict of a question is from too few seeds to be final."""
    judged = answer.verdicts.values()
    return any(each.provisional and each.verdict != "not enough data" for each in judged)


def _effects(answers: Sequence[Answer]) -> list[str]:
    """The effects of learning the other task as sentences: those at all ranks, then those at some
    ranks, with the effect at the others."""
    sentences = []
    for answer in answers:
        effects = []
        for word in ("helps", "hurts"):
            tasks = [task for task, judged in answer.verdicts.items() if judged.verdict == word]
            if tasks:
                effects.append(f"{word} {_listed(tasks)}")
        if effects:
            sentences.append(f"{_models(answer)}, learning the other task {_listed(effects)}.")
    sentences += [sentence for answer in answers for sentence in _places(answer)]
    if answers and not sentences:
        sentences.append(_without_effect(answers))
    return sentences


def _without_effect(answers: Sequence[Answer]) -> str:
    """What is known if no verdict names an effect."""
    verdicts = {judged.verdict for answer in answers for judged in answer.verdicts.values()}
    if verdicts == {"no material difference"}:
        return "Learning the other task makes no material difference."
    if verdicts == {"not enough data"}:
        if _capped(answers):
            return (
                "A cap ended the trainings too early to show whether learning the other task helps."
            )
        return "These data do not show whether learning the other task helps."
    return "No effect of learning the other task was found; for some models there is no verdict."


def _places(answer: Answer) -> list[str]:
    """A sentence about each task whose verdict holds at some ranks only."""
    named = _models(answer)
    sentences = []
    for task, verdict in answer.verdicts.items():
        if verdict.verdict == "only deeper":
            sentences.append(f"{named}, {_conclusion(task, verdict)}.")
        elif verdict.verdict == "only at the top":
            sentences.append(f"{named}, {_conclusion(task, verdict)}: {verdict.reason}.")
    return sentences


def _models(answer: Answer) -> str:
    """The models that a question compares, as the start of a sentence."""
    if answer.question == "replace":
        return "As deployed"
    return "With item text" if answer.text == "with" else "Without item text (from behaviour)"


_SERVED = ("helps", "not worse", "no material difference")
_WORSE = ("hurts", "only deeper", "only at the top")
"""Verdicts on *replace* in which joint is worse, at all ranks or at some."""


def _models_to_serve(answer: Answer) -> str:
    """Which models to serve, by the verdicts on *replace*."""
    served = [task for task, judged in answer.verdicts.items() if judged.verdict in _SERVED]
    worse = [task for task, judged in answer.verdicts.items() if judged.verdict in _WORSE]
    if len(served) == len(answer.verdicts):
        return "Serve both tasks with one joint model."
    if served:
        kept = _listed([task for task in answer.verdicts if task not in served])
        advice = (
            f"Serve {_listed(served)} with the joint model; keep a single-task model for {kept}."
        )
    elif worse:
        advice = "Keep two models: one joint model would be worse."
    else:
        shown_by = f"{_CUT_SHORT} to" if _capped([answer]) else "These data do not"
        why = shown_by[0].lower() + shown_by[1:]
        return f"Keep two models for now: {why} show that one can take their place."
    return " ".join([advice, *_places(answer)])


_CUT_SHORT = "A cap ended the trainings too early"


def _capped(answers: Sequence[Answer]) -> bool:
    """Whether a cap on the trainings, and not the data, is why no task has a verdict."""
    judged = [verdict for answer in answers for verdict in answer.verdicts.values()]
    return all(verdict.obstacle == "undertrained" for verdict in judged)


FEW = 0.1
"""A task with a smaller weight is named, since the weight may explain its verdict."""


def light_tasks(answer: Answer) -> str:
    """A sentence about tasks with a small weight in joint's loss; empty if there is none."""
    light = {task: weight for task, weight in answer.source_weights.items() if weight < FEW}
    if not light:
        return ""
    named = _listed(
        [f"{task} has a weight of {100 * weight:.0f} %" for task, weight in light.items()]
    )
    return (
        f"In the loss of joint, {named}, which may explain the verdict. Compare with other "
        f"source_weights."
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words)


def verdict_sentence(task: Task, verdict: TaskVerdict) -> str:
    """The verdict on one task as a sentence."""
    added = other_task(task)
    if verdict.verdict == "not enough data":
        unknown = f"whether {added} helps {task}"
        if verdict.question == "replace":
            unknown = f"whether one joint model can take the place of the {task} model"
        shown_by = "This study does" if verdict.obstacle == "undertrained" else "These data do"
        return f"{shown_by} not show {unknown} ({verdict.reason})."
    sentence = f"{_conclusion(task, verdict)}."
    if verdict.provisional:
        return f"Provisionally: {sentence}"
    return sentence[0].upper() + sentence[1:]


def _conclusion(task: Task, verdict: TaskVerdict) -> str:
    """The conclusion, as a sentence without its full stop."""
    measure, top = verdict.measure, verdict.top.measure if verdict.top else "nDCG@10"
    if verdict.question == "replace" and verdict.verdict == "only at the top":
        better = "better" if verdict.effect == "helps" else "worse"
        return f"one joint model is {better} for {task} at the top, in {top}"
    replaces = f"one joint model can take the place of the {task} model"
    if verdict.verdict == "not worse":
        return f"{replaces}: it is not worse"
    if verdict.question == "replace" and verdict.verdict == "no material difference":
        return f"{replaces}: the difference is too small to matter"
    if verdict.question == "replace" and verdict.verdict in ("helps", "hurts"):
        better = "better" if verdict.verdict == "helps" else "worse"
        return f"one joint model is {better} than the {task} model"
    if verdict.effect == "not worse":
        return f"{replaces} in {measure}, but not at the top, in {top}, where it is worse"
    learning = f"training on {other_task(task)} as well"
    if verdict.verdict == "only deeper":
        return f"{learning} helps {task} only deeper, in {measure}; at the top, in {top}, it hurts"
    if verdict.verdict == "only at the top":
        return f"{learning} {verdict.effect} {task} only at the top, in {top}"
    return f"{learning} {_CONCLUSION[verdict.verdict]} {task}"


_ADVICE: Mapping[Question, Mapping[Verdict, str]] = {
    "transfer": {
        "helps": "This task gains from learning the other one.",
        "hurts": "Train this task alone, or with other source_weights.",
        "no material difference": "The effect of the other task is too small to matter.",
        "only deeper": "The task gains where many items are shown or re-ranked, and loses where "
        "the first ranks count.",
    },
    "replace": {
        "helps": "Serve this task with the joint model.",
        "hurts": "Keep a single-task model for this task, or change source_weights.",
        "no material difference": "One joint model can serve this task.",
        "not worse": "One joint model can serve this task: any loss is smaller than the margin.",
        "only deeper": "Use the joint model where many items are shown or re-ranked; keep a "
        "single-task model where the first ranks count.",
    },
}


def advice_on(verdict: TaskVerdict) -> str:
    """What to do about a verdict; only those on *replace* say which models to serve. Empty if the
    reason says it."""
    if advice := _ADVICE[verdict.question].get(verdict.verdict):
        return advice
    if verdict.verdict == "only at the top":
        if verdict.question == "transfer":
            return f"Where the first ranks count, learning the other task {verdict.effect}."
        better = "better" if verdict.effect == "helps" else "worse"
        return f"Where the first ranks count, the joint model is {better}."
    if verdict.obstacle == "undertrained":
        return (
            "Run again with a larger cap, or with none. A cap is --max-steps, --max-time, the "
            "setting epochs, or part of the presets quick and paper (--budget standard has none)."
        )
    if verdict.needed and (ways := _ways(verdict.needed, verdict.of_each_seed)):
        return (
            f"With a probability of 80 %, {' or '.join(ways)} would give a verdict, unless the "
            f"difference is near the smallest effect of interest."
        )
    if verdict.obstacle == "between the arms":
        return (
            "Joint is better than one of the two single-task models and worse than the other: "
            "compare with the one that you would deploy."
        )
    if verdict.obstacle == "uncertain":
        return "A verdict would need many more test requests and seeds."
    return ""


def _ways(needed: Needed, of_each_seed: bool) -> list[str]:
    """The seeds or requests that would give a verdict, in words."""
    ways, requests = [], "test requests for each seed" if of_each_seed else "test requests"
    if needed.requests:
        ways.append(f"{needed.requests:,} {requests}")
    if needed.seeds:
        ways.append(f"{needed.seeds:,} seeds")
    if needed.together_seeds and needed.together_requests:
        ways.append(f"{needed.together_seeds:,} seeds with {needed.together_requests:,} {requests}")
    return ways
