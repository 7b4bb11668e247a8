"""Semantic IDs with hybrid parts: matches are added to items, and bring items the beam lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.model.random_model import BACKBONES, grid, random_model
from twofold.identifiers.identifiers import shared
from twofold.model.checkpoint import GenerativeModel
from twofold.model.encoded import EncodedExample
from twofold.records import TASKS, Request, Task
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.scoring import Context, explain, score_items

ITEMS = 36


@dataclass
class Matches:
    """A hybrid part whose scores are given: those of each item, alike for every request."""

    given: npt.NDArray[np.float32]
    weight: float = 1.0

    def matches(self, requests: Sequence[EncodedExample]) -> npt.NDArray[np.float32]:
        return np.repeat(self.given[None] * np.float32(self.weight), len(requests), axis=0)


def _model(
    backbone: str, given: npt.NDArray[np.float32] | None, task: Task = "search"
) -> GenerativeModel:
    model = random_model(shared(grid(6, 6)), backbone, seed=3)
    return model if given is None else _with_part(model, task, Matches(given))


def _with_part(model: GenerativeModel, task: Task, part: Matches) -> GenerativeModel:
    changes: dict[str, Any] = {"hybrid" if task == "search" else "history_match": part}
    return replace(model, **changes)


_ASKED: dict[Task, dict[str, Any]] = {
    "search": {"query": "space opera"},
    "recommendation": {"history": ("item-003",)},
}


def _request(task: Task, **changes: Any) -> Request:
    """A request of a task, for what both tasks have alike."""
    return Request("a", **{**_ASKED[task], **changes})


def _given(seed: int = 0) -> npt.NDArray[np.float32]:
    """Half of the items match."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0, 4, ITEMS) * (rng.random(ITEMS) < 0.5)).astype(np.float32)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_score_is_log_p_and_the_match(backbone: str, task: Task) -> None:
    plain, model = _model(backbone, None), _model(backbone, _given(), task)
    requests = [
        _request(task),
        replace(_request(task, history=("item-003", "item-010")), request_id="b"),
    ]
    found = GenerativeRetriever(model, beams=ITEMS).retrieve(requests, ITEMS)
    alone = GenerativeRetriever(plain, beams=ITEMS).retrieve(requests, ITEMS)
    for one in ("a", "b"):
        log_p = dict(zip(alone[one].item_ids, alone[one].scores, strict=True))
        expected = {item: log_p[item] + _given()[model.catalog.positions[item]] for item in log_p}
        order = sorted(expected, key=lambda item: -expected[item])
        assert list(found[one].item_ids) == order
        assert found[one].scores == pytest.approx([expected[i] for i in order], abs=1e-4)


@pytest.mark.parametrize(("task", "other"), [TASKS, TASKS[::-1]])
def test_the_other_task_has_no_matches(task: Task, other: Task) -> None:
    answers = [
        GenerativeRetriever(_model("decoder:tiny", given, other)).retrieve([_request(task)], 9)["a"]
        for given in (None, _given())
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("task", TASKS)
def test_what_matches_best_is_found_though_the_beam_lost_it(task: Task) -> None:
    request = _request(task)
    plain = GenerativeRetriever(_model("decoder:tiny", None), beams=ITEMS)
    last = plain.retrieve([request], ITEMS)["a"].item_ids[-1]
    given = np.zeros(ITEMS, np.float32)
    given[int(last.removeprefix("item-"))] = 100
    model = _model("decoder:tiny", given, task)
    for beams in (10, ITEMS):
        answer = GenerativeRetriever(model, beams=beams).retrieve([request], 3)["a"]
        assert answer.item_ids[0] == last
        (position,) = [model.catalog.positions[last]]
        history = np.array([3] if request.history else [], np.int64)
        context = Context(history, request.query)
        exact = score_items(model, [context], np.array([position]))[0, 0]
        assert answer.scores[0] == pytest.approx(exact, abs=1e-4)
        assert explain(model, context, position)[0] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_what_may_not_come_back_does_not_and_the_rest_keeps_its_order(task: Task) -> None:
    model = _model("decoder:tiny", _given(), task)
    whole = GenerativeRetriever(model, beams=ITEMS)
    order = whole.retrieve([_request(task)], ITEMS)["a"].item_ids
    gone = frozenset(order[:4])
    narrow = GenerativeRetriever(model, beams=10)
    requests = [
        _request(task, exclude=gone),
        replace(_request(task, where=(("kind", frozenset({"red"})),)), request_id="b"),
    ]
    found = narrow.retrieve(requests, 10)
    assert not gone & set(found["a"].item_ids)
    assert len(found["a"].item_ids) == 10
    red = [item for item in order if int(item.removeprefix("item-")) % 4 in (0, 2)]
    assert [item for item in red if item in found["b"].item_ids] == list(found["b"].item_ids)
    narrow.remove([order[0]])
    assert order[0] not in narrow.retrieve([_request(task)], 10)["a"].item_ids


@pytest.mark.parametrize("task", TASKS)
def test_few_items_are_left_where_few_are_allowed(task: Task) -> None:
    model = _model("decoder:tiny", _given(), task)
    ids = model.catalog.item_ids
    request = _request(task, exclude=frozenset(ids[:-2]))
    answer = GenerativeRetriever(model).retrieve([request], 10)["a"]
    assert sorted(answer.item_ids) == sorted(ids[-2:])


@pytest.mark.parametrize("task", TASKS)
def test_candidates_do_not_depend_on_the_weight(task: Task) -> None:
    model, request = _model("decoder:tiny", None), _request(task)
    alone = GenerativeRetriever(model, beams=10)
    parts = [Matches(_given(), weight) for weight in (1, 9)]
    ((_, (one, other)),) = alone.candidates([request], parts)
    assert set(one.items[0]) == set(other.items[0])
    heavy = GenerativeRetriever(_with_part(model, task, parts[1]), beams=10)
    assert alone.best(one, 5, factor=9)[0].item_ids == heavy.retrieve([request], 5)["a"].item_ids
    found = alone.retrieve([request], 10)["a"]
    assert alone.best(one, 10, factor=0) == [found], "without matches, those of the beam search"
