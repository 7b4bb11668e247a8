"""A retriever with semantic IDs ranks by what the model was trained to generate."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identifiers.test_trie import identifiers
from tests.model.random_model import BACKBONES, CPU, IN_BFLOAT16, grid, random_model, spaces_of
from tests.retrieval.trained_scores import requests_of, score_in_training
from twofold.identifiers.identifiers import Identifiers, shared
from twofold.model.checkpoint import save_model
from twofold.model.kernels import can_pack
from twofold.records import Ranking, Request
from twofold.retrieval.generative import GenerativeRetriever, load_model


def _blue(request: Request) -> Request:
    """The same request with a filter."""
    where = (("kind", frozenset({"blue"})),)
    return dataclasses.replace(request, request_id=f"blue {request.request_id}", where=where)


def _by_item(ranking: Ranking) -> dict[str, float]:
    """Scores by item, which must be in order."""
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    return dict(zip(ranking.item_ids, ranking.scores, strict=True))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["shared", "separate", "shared prefix"])
@settings(max_examples=8)
@given(made=identifiers(most=25), seed=st.integers(0, 1000))
def test_it_ranks_by_what_training_sees(
    backbone: str, kind: str, made: Identifiers, seed: int
) -> None:
    """With filters, with exclusions, and with an item that was removed from the catalog."""
    model = random_model(spaces_of(made, seed, kind), backbone, seed)
    requests = requests_of(len(made), np.random.default_rng(seed))
    retriever, removed = GenerativeRetriever(model, beams=len(made)), f"item-{seed % len(made):03d}"
    retriever.remove([removed])
    both = requests + [_blue(request) for request in requests]
    run = retriever.retrieve(both, len(made))
    for request in both:
        scores = {
            item_id: score_in_training(model, request, item)
            for item, item_id in enumerate(model.catalog.item_ids)
            if item_id not in request.exclude | {removed}
            and (not request.where or item % 4 in (1, 2))
        }
        assert _by_item(run[request.request_id]) == pytest.approx(scores, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
@settings(max_examples=15)
@given(made=identifiers(), seed=st.integers(0, 1000))
def test_a_filter_does_not_reorder_what_passes_it(
    backbone: str, made: Identifiers, seed: int
) -> None:
    retriever = GenerativeRetriever(random_model(shared(made), backbone, seed), beams=len(made))
    requests = requests_of(len(made), np.random.default_rng(seed))
    both = requests + [_blue(request) for request in requests]
    run = retriever.retrieve(both, len(made))
    blue = {f"item-{n:03d}" for n in range(len(made)) if n % 4 in (1, 2)}
    for request in requests:
        whole = _by_item(run[request.request_id])
        passed = {item_id: score for item_id, score in whole.items() if item_id in blue}
        filtered = _by_item(run[_blue(request).request_id])
        assert filtered == pytest.approx(passed, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_other_requests_of_a_batch_do_not_change_an_answer(backbone: str) -> None:
    model = random_model(shared(grid(8, 8, 8, step=3)), backbone, 3)
    retriever = GenerativeRetriever(model, beams=20)
    requests = requests_of(len(model.catalog), np.random.default_rng(0))
    together = retriever.retrieve(requests, 10)
    for request in requests:
        alone = retriever.retrieve([request], 10)[request.request_id]
        assert together[request.request_id].item_ids == alone.item_ids
        assert together[request.request_id].scores == pytest.approx(alone.scores, abs=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_cpu_without_bfloat16_answers_a_model_trained_with_it(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a laptop with the model of a server: it multiplies float32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    model = random_model(shared(grid(8, 8, 8, step=3)), backbone, 3)
    requests = requests_of(len(model.catalog), np.random.default_rng(0))
    answers = []
    for precision in ("float32", "bfloat16"):
        save_model(dataclasses.replace(model, precision=precision), tmp_path / precision, {})
        answers.append(load_model(tmp_path / precision, "cpu").retrieve(requests, 10).rankings)
    assert answers[0] == answers[1]


@pytest.mark.skipif(not can_pack(CPU), reason="this torch was built without oneDNN")
@pytest.mark.parametrize("precision", ["float32", IN_BFLOAT16])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_longer_request_in_the_batch_hardly_changes_a_bit(backbone: str, precision: str) -> None:
    """In bfloat16 a sum in another order would show at the third digit."""
    model = random_model(shared(grid(8, 8, 8, step=3)), backbone, 3)
    model = dataclasses.replace(model, precision=precision)
    model.backbone.pack(precision, model.vocabulary.spaces.codebooks)
    retriever = GenerativeRetriever(model, beams=20)
    ids = tuple(model.catalog.item_ids)
    short = [Request(str(n), query="space opera", history=ids[:n]) for n in range(5)]
    longest = Request("longest", query="slow slow slow dance", history=ids[:60])
    together = retriever.retrieve([*short, longest], 10)
    for request in short:
        alone = retriever.retrieve([request], 10)[request.request_id]
        assert together[request.request_id].scores == pytest.approx(alone.scores, abs=2e-5)
