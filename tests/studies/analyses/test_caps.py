"""Caps on the added task's targets."""

import numpy as np
import pytest

from twofold.model.stamp import Stamp
from twofold.records import TASKS, Floats, Ints, Task
from twofold.studies.analyses import caps as analysis
from twofold.studies.analyses.caps import ANALYSIS, Cap, CapEffects, TaskCaps
from twofold.studies.interventions import CAPS
from twofold.studies.result import StudyResult
from twofold.studies.values import Difference, Mean

R = 200


class _Scores:
    """Scores of arms with one cap; the mean of each is known."""

    def __init__(self, means: dict[str, float]) -> None:
        self.arms = means
        targets = {"search": 30, "recommendation": 70}
        self.stamps = {name: [Stamp(targets=targets)] for name in means}

    def matrix(self, arm: str, _task: Task) -> Floats:
        noise = np.random.default_rng(len(arm)).normal(0, 0.01, (3, R))
        return np.asarray(self.arms[arm] + noise - noise.mean(), dtype=np.float64)

    def clusters(self, _task: Task) -> Ints:
        return np.arange(R)

    def difference(self, first: str, second: str, _task: Task) -> Difference:
        apart = self.arms[first] - self.arms[second]
        return Difference(difference=apart, interval=(apart - 0.01, apart + 0.01))


def test_a_cap_is_compared_with_plain_joint_and_its_control() -> None:
    scores = _Scores(
        {
            "search": 0.3,
            "joint": 0.5,
            "joint-capped-5-recommendation": 0.4,
            "joint-size-matched-5-recommendation": 0.45,
        }
    )
    cap = analysis._cap(scores, "search", 5)  # type: ignore[arg-type]
    assert cap.effects is not None
    assert cap.capped is not None
    assert cap.targets == 70
    assert cap.capped.mean == pytest.approx(0.4)
    assert cap.effects.capped_minus_plain.difference == pytest.approx(0.1)
    assert cap.effects.capped_minus_joint.difference == pytest.approx(-0.1)
    assert cap.effects.capped_minus_size_matched.difference == pytest.approx(-0.05)
    assert analysis._cap(scores, "search", 10) == Cap(cap=10)  # type: ignore[arg-type]


def _made() -> analysis.Caps:
    """Caps of both tasks, of which the first alone has arms."""
    effect = Difference(difference=0.01, interval=(-0.02, 0.04))
    mean = Mean(mean=0.3, interval=(0.2, 0.4), by_seed=[0.3])
    effects = CapEffects(
        capped_minus_plain=effect,
        size_matched_minus_plain=effect,
        capped_minus_joint=effect,
        capped_minus_size_matched=effect,
    )
    first = Cap(cap=5, targets=100, capped=mean, size_matched=mean, effects=effects)
    others = [Cap(cap=cap) for cap in CAPS[1:]]
    return {task: TaskCaps(added=task, targets=900, caps=[first, *others]) for task in TASKS}


def test_the_chapter_and_the_tables_show_every_cap(result: StudyResult) -> None:
    from twofold.studies.pages.report import chapter

    tables = list(ANALYSIS.tables(_made(), result))
    assert [len(table.rows) for table in tables] == [1, 1]
    page = chapter(ANALYSIS, result.model_copy(update={"caps": _made()}))
    assert page.count("<svg") == 1
    assert page.count("removes no target") == 2 * (len(CAPS) - 1)
    assert "+.0100" in page
