"""The scores of a finished study, by arm, seed and request."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twofold.model.stamp import Stamp
from twofold.records import InputError
from twofold.studies.arms import ARMS
from twofold.studies.folder import StudyFolder
from twofold.studies.scores import Scores, rise, still_improving
from twofold.tasks.prepared import PreparedDataset, TablesInMemory


@pytest.fixture
def scores(catalog: PreparedDataset, study_folder: Path) -> Scores:
    return Scores(catalog, ARMS, StudyFolder(study_folder), 1)


def test_a_difference_is_that_of_the_means(scores: Scores, content: dict[str, Any]) -> None:
    effect = scores.difference("joint", "search", "search")
    joint, plain = (
        content["arms"][arm]["search"][str(scores.measure)]["mean"] for arm in ("joint", "search")
    )
    assert effect.difference == pytest.approx(joint - plain)
    assert effect.interval[0] <= effect.difference <= effect.interval[1]


def test_requests_of_one_user_are_one_cluster(scores: Scores, catalog: PreparedDataset) -> None:
    for task in catalog.tasks:
        requests = catalog.task(task).requests("test").requests
        units = [request.user_id or request.request_id for request in requests]
        clusters = scores.clusters(task)
        assert scores.matrix("joint", task).shape == (1, len(requests))
        assert len(np.unique(clusters)) == len(set(units))
        for unit in set(units):
            assert len({c for c, u in zip(clusters, units, strict=True) if u == unit}) == 1


@pytest.mark.parametrize("cap", ["max_steps", "max_time", "steps"])
def test_a_cap_while_the_curve_rises_is_still_improving(cap: str) -> None:
    assert still_improving(Stamp(best_step=91, steps=100, max_steps=100, ended_by=cap))
    assert not still_improving(Stamp(best_step=90, steps=100, max_steps=100, ended_by=cap))


def test_a_rise_is_that_of_the_last_third_of_a_training_that_a_cap_ended() -> None:
    curve = [{"step": step, "search": value} for step, value in ((30, 0.1), (60, 0.2), (95, 0.25))]
    stamp = Stamp(best_step=95, steps=100, ended_by="steps", curve=curve)
    assert rise(stamp, "search") == pytest.approx(0.25)
    assert rise(stamp, "recommendation") == 0
    assert rise(replace(stamp, ended_by="patience"), "search") == 0
    assert rise(replace(stamp, best_step=60), "search") == 0


def test_a_cap_before_a_second_validation_leaves_the_rise_open() -> None:
    """One point is no sign that the score had stopped rising, so no verdict rests on it."""
    curve = [{"step": 30, "search": 0.1}]
    stamp = Stamp(best_step=30, steps=30, ended_by="max_steps", curve=curve)
    assert rise(stamp, "search") == float("inf")
    assert rise(stamp, "recommendation") == 0
    assert rise(replace(stamp, ended_by="patience"), "search") == 0


def test_an_arm_that_patience_ended_has_converged() -> None:
    assert not still_improving(Stamp(best_step=95, steps=100, ended_by="patience"))


def test_evaluations_of_other_requests_are_refused(
    catalog: PreparedDataset, study_folder: Path
) -> None:
    """Requests are paired by their place, so that other ones would give a number all the same."""
    tables = TablesInMemory(catalog.interactions, catalog.queries.reverse(), catalog.qrels)
    other = replace(catalog, tables=tables)
    with pytest.raises(InputError, match="has scores of other requests of search than the dataset"):
        Scores(other, ARMS, StudyFolder(study_folder), 1)
