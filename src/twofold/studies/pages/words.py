"""What a study found, in words: what to do, and each verdict as a sentence."""

from collections.abc import Sequence

from twofold.records import Task, other_task
from twofold.studies.questions import CONDITIONS
from twofold.studies.result import Answer, StudyResult
from twofold.studies.statistics.power import Needed
from twofold.studies.statistics.reasons import BETWEEN
from twofold.studies.verdict import TaskVerdict

_CONCLUSION = {
    "helps": "helps",
    "hurts": "hurts",
    "no material difference": "makes no material difference to",
}


def condition(answer: Answer) -> str:
    """The models that a question is asked of, in two words or three."""
    return "deployed" if answer.question == "replace" else CONDITIONS[answer.text]


def headline(answer: Answer) -> str:
    """A question, and the models that it is asked of."""
    if answer.question == "replace":
        return "Can one model take the place of two, as it would be deployed?"
    read = "no model reads an item's text" if answer.text == "without" else "every model reads it"
    return f"Does one task help the other, {CONDITIONS[answer.text]} ({read})?"


def what_to_do(result: StudyResult) -> str:
    """What the user should do, in a sentence or two."""
    advice = [_models_to_serve(answer) for answer in result.answers if answer.question == "replace"]
    transfer = [answer for answer in result.answers if answer.question == "transfer"]
    if not advice and transfer:
        advice = [_models_to_serve(transfer[-1])]
    helped = {
        condition(answer): [task for task, one in answer.verdicts.items() if _helps(one)]
        for answer in transfer
    }
    if found := [f"{_listed(tasks)} {of}" for of, tasks in helped.items() if tasks]:
        advice.append(f"Learning the other task helps {_listed(found)}.")
    elif transfer:
        advice.append("That learning the other task helps either of them is not shown.")
    return " ".join(advice)


def _helps(verdict: TaskVerdict) -> bool:
    return verdict.verdict == "helps" or verdict.effect == "helps"


_SERVED = ("helps", "not worse", "no material difference")


def _models_to_serve(answer: Answer) -> str:
    """Which models to serve, by the verdicts of one question."""
    served = [task for task, one in answer.verdicts.items() if one.verdict in _SERVED]
    worse = [task for task, one in answer.verdicts.items() if one.verdict == "hurts"]
    if len(served) == len(answer.verdicts):
        return "Serve both tasks with one joint model."
    if served:
        kept = _listed([task for task in answer.verdicts if task not in served])
        return f"Serve {_listed(served)} with the joint model; keep a model of its own for {kept}."
    if worse:
        return "Keep two models: one joint model would lose what matters."
    return "Keep two models for now: these data do not show that one can take their place."


FEW = 0.1
"""A task of a smaller weight is named: its verdict may be that of the weights."""


def light_tasks(answer: Answer) -> str:
    """A sentence about the tasks that hardly count in joint's loss; empty where all do."""
    light = {task: weight for task, weight in answer.source_weights.items() if weight < FEW}
    if not light:
        return ""
    named = _listed([f"{task} weighs {100 * weight:.0f} %" for task, weight in light.items()])
    return (
        f"In joint's loss {named}: what is found here may be due to that; compare with other "
        f"source_weights."
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words)


def verdict_sentence(task: Task, verdict: TaskVerdict) -> str:
    """The verdict on one task as a sentence."""
    added = other_task(task)
    if verdict.verdict == "not enough data":
        asked = f"whether {added} helps {task}"
        if verdict.question == "replace":
            asked = f"whether one joint model can take the place of {task}'s own"
        return f"These data do not show {asked} ({verdict.reason})."
    sentence = f"{_conclusion(task, verdict)}."
    if verdict.provisional:
        return f"Provisionally: {sentence}"
    return sentence[0].upper() + sentence[1:]


def _conclusion(task: Task, verdict: TaskVerdict) -> str:
    """What is concluded, as a sentence without its full stop."""
    measure, top = verdict.measure, verdict.top.measure if verdict.top else "nDCG@10"
    if verdict.verdict == "not worse" or verdict.effect == "not worse":
        only = f" in {measure}, but not in {top}" if verdict.effect else ""
        return f"one joint model can take the place of {task}'s own{only}: it is not worse"
    learning = f"training on {other_task(task)} as well"
    if verdict.verdict == "only deeper":
        return f"{learning} helps {task} only deeper, in {measure}; at the top, in {top}, it hurts"
    if verdict.verdict == "only at the top":
        return f"{learning} {verdict.effect} {task} only at the top, in {top}"
    return f"{learning} {_CONCLUSION[verdict.verdict]} {task}"


_ADVICE = {
    "helps": "One joint model serves this task better than a model of its own.",
    "hurts": "Keep a model of its own for this task, or change the weights of the sources.",
    "no material difference": "One joint model can replace the task's own without a loss that "
    "matters.",
    "not worse": "Serve both tasks with the joint model: what it may lose here does not matter.",
    "only deeper": "Use the joint model where many answers are shown, or what it finds is ranked "
    "again; keep a model of its own where the first ones count.",
}


def advice_on(verdict: TaskVerdict) -> str:
    """What to do about a verdict."""
    if verdict.verdict in _ADVICE:
        return _ADVICE[verdict.verdict]
    if verdict.verdict == "only at the top":
        better = "better" if verdict.effect == "helps" else "worse"
        return f"Where the first answers count, the joint model is the {better} one."
    if verdict.reason.startswith("undertrained"):
        return "Run again without the cap, or with a larger one: --budget standard."
    if verdict.needed and (ways := _ways(verdict.needed)):
        return (
            f"In four of five studies, {' or '.join(ways)} would decide, unless the difference is "
            f"near the smallest that matters."
        )
    if verdict.reason == BETWEEN:
        return "It beats one of them and loses to the other: which would you run otherwise?"
    return "A decision would need many more test requests and seeds."


def _ways(needed: Needed) -> list[str]:
    """What would decide, in words."""
    ways, requests = [], "test requests a seed" if needed.of_each_seed else "test requests"
    if needed.requests:
        ways.append(f"{needed.requests:,} {requests}")
    if needed.seeds:
        ways.append(f"{needed.seeds:,} seeds")
    if needed.together_seeds and needed.together_requests:
        ways.append(f"{needed.together_seeds:,} seeds with {needed.together_requests:,} {requests}")
    return ways
