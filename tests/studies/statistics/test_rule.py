"""From p-values to verdicts."""

import pytest

from twofold.records import Task
from twofold.studies.statistics.rule import (
    ContrastTest,
    Direction,
    Effect,
    Levels,
    Question,
    Verdict,
    adjusted,
    verdict_of,
)


@pytest.mark.parametrize(
    ("primary", "top", "same", "verdict", "effect"),
    [
        ("helps", "helps", False, "helps", None),
        ("helps", "open", False, "helps", None),
        ("helps", "hurts", False, "only deeper", "helps"),
        ("hurts", "open", False, "hurts", None),
        ("hurts", "helps", False, "only at the top", "helps"),
        ("open", "hurts", False, "only at the top", "hurts"),
        ("open", "hurts", True, "only at the top", "hurts"),
        ("open", "open", True, "no material difference", None),
        ("helps", "open", True, "no material difference", None),
        ("helps", "helps", True, "only at the top", "helps"),
        ("open", "open", False, "not enough data", None),
    ],
)
def test_transfer(
    primary: Direction, top: Direction, same: bool, verdict: Verdict, effect: Effect | None
) -> None:
    assert verdict_of("transfer", primary, top, same, same) == (verdict, effect)


@pytest.mark.parametrize(
    ("primary", "top", "not_worse", "verdict", "effect"),
    [
        ("helps", "open", True, "not worse", None),
        ("hurts", "open", True, "not worse", None),
        ("open", "hurts", True, "only deeper", "not worse"),
        ("hurts", "open", False, "hurts", None),
        ("open", "hurts", False, "only at the top", "hurts"),
        ("open", "open", False, "not enough data", None),
    ],
)
def test_replace(
    primary: Direction, top: Direction, not_worse: bool, verdict: Verdict, effect: Effect | None
) -> None:
    assert verdict_of("replace", primary, top, False, not_worse) == (verdict, effect)


def test_the_primary_measures_have_most_of_the_error() -> None:
    search, recommendation = ContrastTest(0.019, True), ContrastTest(0.9, True)
    top: dict[Task, ContrastTest] = {
        "search": ContrastTest(0.9, True),
        "recommendation": ContrastTest(0.9, True),
    }
    tasks: dict[Task, ContrastTest] = {"search": search, "recommendation": recommendation}
    first, _ = adjusted(tasks, top)
    assert first["search"] == pytest.approx(0.019 / 0.4)
    # Alone, and without a measure of the top, all of the error is its own.
    assert adjusted({"search": search}, {})[0]["search"] == pytest.approx(0.019)


def test_harm_at_the_top_is_found_where_the_primary_measure_shows_nothing() -> None:
    _, top = adjusted({"search": ContrastTest(0.5, True)}, {"search": ContrastTest(0.009, False)})
    assert top["search"] == pytest.approx(0.045)
    found = ContrastTest(0.009, False).direction(top["search"], Levels().two_sided)
    assert found == "hurts"


def test_a_plan_of_looks_leaves_each_a_part_of_the_error() -> None:
    assert Levels.of(None, 3) == Levels(0.05, 0.05)
    at = [Levels.of((3, 5, 8, 12), seeds) for seeds in (3, 5, 8, 12)]
    assert all(each.two_sided < 0.03 and each.one_sided < 0.03 for each in at)


@pytest.mark.parametrize("question", ["transfer", "replace"])
def test_nothing_shown_is_never_definite(question: Question) -> None:
    assert verdict_of(question, "open", "open", False, False) == ("not enough data", None)
