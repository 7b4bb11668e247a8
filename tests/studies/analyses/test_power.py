"""Statistical power: probabilities that grow with seeds, requests and the effect."""

import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.studies.plans import study_plan
from twofold.records import Floats
from twofold.studies.analyses.analysis import Evidence
from twofold.studies.analyses.power import REDRAWN, Power, _redrawn, outlook, power, tables
from twofold.studies.cells import render
from twofold.studies.statistics.task_scores import TaskScores


def _evidence(fixed: str | None, hits: float = 0.3) -> Evidence:
    """One seed of three arms that are alike but for noise, on 400 requests."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1, 400)
    arms: list[Floats] = [
        ((difficulty + rng.normal(0, 0.5, (1, 400))) > np.quantile(difficulty, 1 - hits)).astype(
            np.float64
        )
        * hits
        for _ in range(3)
    ]
    scores = TaskScores(arms[0], arms[1], arms[2], np.arange(400))
    folds = SimpleNamespace(why_fixed={"search": fixed})
    made = SimpleNamespace(
        dataset=SimpleNamespace(tasks=("search",)),
        scores=SimpleNamespace(primary=lambda _: scores, folds=folds),
        plan=study_plan(sesoi_share=0.05),
    )
    return cast(Evidence, made)


@pytest.fixture(scope="module")
def found() -> Power:
    return power(_evidence(None))


def test_chances_grow_with_seeds_requests_and_the_effect(found: Power) -> None:
    sizes = {(own.seeds, own.requests): own for own in found["search"]}
    assert set(sizes) == {(seeds, n) for seeds in (3, 5, 8, 12) for n in (400, 1600)}
    assert sizes[3, 400].helps["2"] < sizes[12, 400].helps["2"] <= sizes[12, 1600].helps["2"]
    for own in sizes.values():
        assert own.helps["1"] <= own.helps["2"] <= own.helps["4"]
    alone = power(_evidence("the queries name their splits"))["search"]
    assert alone[3].seeds == 12
    assert alone[3].helps["2"] < sizes[12, 400].helps["2"], "without folds more seeds say less"


def test_the_outlook_is_a_sentence() -> None:
    told = outlook(_evidence(None).scores, "search", 0.05, (3, 12))
    assert re.fullmatch(
        r"search: the power for an effect of 2 SESOI is \d+% with 3, \d+% with 12 seeds", told
    )
    assert outlook(_evidence(None, hits=0.0).scores, "search", 0.05, (3,)) == ""


def test_nothing_is_said_where_nothing_is_found() -> None:
    assert power(_evidence(None, hits=0.0))["search"] == []


def test_the_table_has_a_row_for_each_size(found: Power) -> None:
    text = render(list(tables(found, cast(Any, None))), "markdown")
    assert text.count("test requests") == 8
    assert "effect of 2 SESOI: helps" in text


def test_users_with_short_histories_are_not_drawn_anew() -> None:
    fixed: dict[str, str | None] = {"search": None, "recommendation": None}
    folds: Any = SimpleNamespace(why_fixed=fixed, folded_users=0.1)
    assert _redrawn(folds, "search") == REDRAWN["search"]
    assert _redrawn(folds, "recommendation") == pytest.approx(0.1 * REDRAWN["recommendation"])
    fixed["search"] = "the queries name their splits"
    assert _redrawn(folds, "search") == 0
