"""Semantic IDs with a hybrid part: matches are added to items, and bring items the beam lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.model.random_model import BACKBONES, grid, random_model
from twofold.identifiers.identifiers import shared
from twofold.model.checkpoint import GenerativeModel
from twofold.records import Request
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.scoring import Context, explain, score_items

ITEMS = 36


@dataclass
class Matches:
    """A hybrid part whose scores are given: those of each item, alike for every query."""

    given: npt.NDArray[np.float32]
    weight: float = 1.0

    def scores(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.repeat(self.given[None] * np.float32(self.weight), len(queries), axis=0)


def _model(backbone: str, given: npt.NDArray[np.float32] | None) -> GenerativeModel:
    model = random_model(shared(grid(6, 6)), backbone, seed=3)
    hybrid: Any = None if given is None else Matches(given)
    return replace(model, hybrid=hybrid)


def _given(seed: int = 0) -> npt.NDArray[np.float32]:
    """Half of the items match."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0, 4, ITEMS) * (rng.random(ITEMS) < 0.5)).astype(np.float32)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_score_is_log_p_and_the_match(backbone: str) -> None:
    plain, model = _model(backbone, None), _model(backbone, _given())
    requests = [
        Request("a", query="space opera"),
        Request("b", query="slow", history=("item-003",)),
    ]
    found = GenerativeRetriever(model, beams=ITEMS).retrieve(requests, ITEMS)
    alone = GenerativeRetriever(plain, beams=ITEMS).retrieve(requests, ITEMS)
    for one in ("a", "b"):
        log_p = dict(zip(alone[one].item_ids, alone[one].scores, strict=True))
        expected = {item: log_p[item] + _given()[model.catalog.positions[item]] for item in log_p}
        order = sorted(expected, key=lambda item: -expected[item])
        assert list(found[one].item_ids) == order
        assert found[one].scores == pytest.approx([expected[i] for i in order], abs=1e-4)


def test_recommendation_has_no_matches() -> None:
    request = Request("a", history=("item-003", "item-010"))
    answers = [
        GenerativeRetriever(_model("decoder:tiny", given)).retrieve([request], 9)["a"]
        for given in (None, _given())
    ]
    assert answers[0] == answers[1]


def test_what_matches_best_is_found_though_the_beam_lost_it() -> None:
    request = Request("a", query="space opera")
    plain = GenerativeRetriever(_model("decoder:tiny", None), beams=ITEMS)
    last = plain.retrieve([request], ITEMS)["a"].item_ids[-1]
    given = np.zeros(ITEMS, np.float32)
    given[int(last.removeprefix("item-"))] = 100
    model = _model("decoder:tiny", given)
    for beams in (10, ITEMS):
        answer = GenerativeRetriever(model, beams=beams).retrieve([request], 3)["a"]
        assert answer.item_ids[0] == last
        (position,) = [model.catalog.positions[last]]
        context = Context(np.zeros(0, np.int64), "space opera")
        exact = score_items(model, [context], np.array([position]))[0, 0]
        assert answer.scores[0] == pytest.approx(exact, abs=1e-4)
        assert explain(model, context, position)[0] == pytest.approx(exact, abs=1e-4)


def test_what_may_not_come_back_does_not_and_the_rest_keeps_its_order() -> None:
    model = _model("decoder:tiny", _given())
    whole = GenerativeRetriever(model, beams=ITEMS)
    order = whole.retrieve([Request("a", query="slow")], ITEMS)["a"].item_ids
    gone = frozenset(order[:4])
    narrow = GenerativeRetriever(model, beams=10)
    requests = [
        Request("a", query="slow", exclude=gone),
        Request("b", query="slow", where=(("kind", frozenset({"red"})),)),
    ]
    found = narrow.retrieve(requests, 10)
    assert not gone & set(found["a"].item_ids)
    assert len(found["a"].item_ids) == 10
    red = [item for item in order if int(item.removeprefix("item-")) % 4 in (0, 2)]
    assert [item for item in red if item in found["b"].item_ids] == list(found["b"].item_ids)
    narrow.remove([order[0]])
    assert order[0] not in narrow.retrieve([Request("a", query="slow")], 10)["a"].item_ids


def test_few_items_are_left_where_few_are_allowed() -> None:
    model = _model("decoder:tiny", _given())
    ids = model.catalog.item_ids
    request = Request("a", query="slow", exclude=frozenset(ids[:-2]))
    answer = GenerativeRetriever(model).retrieve([request], 10)["a"]
    assert sorted(answer.item_ids) == sorted(ids[-2:])


def test_candidates_do_not_depend_on_the_weight() -> None:
    plain = _model("decoder:tiny", None)
    parts: list[Any] = [Matches(_given(), weight) for weight in (1, 9)]
    light, heavy = (replace(plain, hybrid=part) for part in parts)
    request = Request("a", query="space")
    ((_, one),) = GenerativeRetriever(light, beams=10).candidates([request])
    ((_, other),) = GenerativeRetriever(heavy, beams=10).candidates([request])
    assert set(one.items[0]) == set(other.items[0])
    retriever = GenerativeRetriever(heavy, beams=10)
    assert retriever.best(one, 5, factor=9)[0].item_ids == (
        retriever.retrieve([request], 5)["a"].item_ids
    )
