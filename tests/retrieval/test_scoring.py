"""Scores of given items, and what each part of a request adds to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identifiers.test_trie import identifiers
from tests.model.random_model import BACKBONES, grid, random_model, spaces_of
from tests.retrieval.trained_scores import requests_of, score_in_training
from twofold.identifiers.identifiers import Identifiers, shared
from twofold.retrieval.scoring import Context, explain, score_items


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["shared", "separate", "shared prefix"])
@settings(max_examples=4)
@given(made=identifiers(most=25), seed=st.integers(0, 1000))
def test_given_items_are_scored_as_they_are_ranked(
    backbone: str, kind: str, made: Identifiers, seed: int
) -> None:
    model, rng = (
        random_model(spaces_of(made, seed, kind), backbone, seed),
        np.random.default_rng(seed),
    )
    items = rng.permutation(len(made))[:12]
    for request in requests_of(len(made), rng):
        history = np.array([model.catalog.positions[i] for i in request.history], dtype=np.int64)
        contexts = [Context(history, request.query), Context(history[:1], request.query)]
        scores = score_items(model, contexts, items)
        expected = [score_in_training(model, request, int(item)) for item in items]
        assert scores[0] == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_a_part_adds_what_the_score_loses_without_it() -> None:
    model = random_model(shared(grid(4, 4)), "decoder:tiny", 0)
    context = Context(np.array([1, 7, 3]), "space opera")
    score, parts = explain(model, context, 5)
    assert score == pytest.approx(score_items(model, [context], np.array([5]))[0, 0], abs=1e-5)
    assert {(part.kind, part.place) for part in parts} == {
        *(("history", n) for n in range(3)),
        *(("query", n) for n in range(2)),
    }
    assert [abs(part.score) for part in parts] == sorted(
        (abs(p.score) for p in parts), reverse=True
    )
    by_part = {(part.kind, part.place): part.score for part in parts}
    shorter = [Context(np.array([1, 3]), "space opera"), Context(context.history, "opera")]
    without = score_items(model, shorter, np.array([5]))[:, 0]
    assert by_part["history", 1] == pytest.approx(score - without[0], abs=1e-5)
    assert by_part["query", 0] == pytest.approx(score - without[1], abs=1e-5)


def test_only_what_the_model_reads_of_a_history_is_explained() -> None:
    model = random_model(shared(grid(4, 4)), "decoder:tiny", 0)
    _, parts = explain(model, Context(np.arange(9), None), 5)
    assert sorted(part.place for part in parts) == [4, 5, 6, 7, 8]
