"""What is left open when a study is asked for, and what a resumed study keeps."""

from dataclasses import replace

import pytest

from tests.studies.plans import study_plan
from twofold.records import InputError
from twofold.studies.planning.config import ResolvedStudyConfig, StudyConfig
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.resolve import resolve

CONFIG = StudyConfig(budget="quick", sesoi_share=0.04)


def test_what_is_left_open_is_as_it_was_begun() -> None:
    new = resolve(CONFIG)
    assert type(new) is ResolvedStudyConfig
    assert (new.folds, new.margin, new.tune, new.seeds) == ("auto", 0.04, 6, 3)
    previous = study_plan(folds="none", tune=9, seeds=3)
    kept = resolve(replace(CONFIG, seeds=5), previous)
    assert (kept.folds, kept.tune, kept.seeds) == ("none", 9, 5)
    given = resolve(replace(CONFIG, folds="all", tune=2, margin=0.1), previous)
    assert (given.folds, given.tune, given.margin) == ("all", 2, 0.1)
    assert resolve(replace(CONFIG, margin=0.0)).margin == 0


def test_a_study_that_grows_begins_with_the_seeds_that_are_there() -> None:
    growing = replace(CONFIG, max_seeds=8)
    assert resolve(growing).seeds == 3
    assert resolve(growing, study_plan(seeds=5)).seeds == 5
    assert resolve(replace(CONFIG, seeds=3), study_plan(seeds=5)).seeds == 3


@pytest.mark.parametrize(
    "previous",
    [study_plan(seeds=3, looks_end=5), study_plan(seeds=3, max_seeds=5)],
    ids=["now", "when the most seeds alone were known"],
)
def test_seeds_that_follow_are_looks_of_the_plan(previous: StudyPlan) -> None:
    assert resolve(replace(CONFIG, seeds=8), previous).looks_end is None, "no look was taken"
    assert resolve(replace(CONFIG, seeds=5), previous, [3]).looks_end == 5
    shorter = resolve(replace(CONFIG, max_seeds=4), previous, [3])
    assert (shorter.looks_end, shorter.max_seeds) == (5, 4)
    for more in (replace(CONFIG, seeds=8), replace(CONFIG, max_seeds=20)):
        with pytest.raises(InputError, match="for 5 seeds at most"):
            resolve(more, previous, [3])
