"""A model with semantic IDs: what it was trained to say is what it ranks by."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identifiers.test_trie import identifiers
from twofold.additions.fields import new_items_table
from twofold.additions.placement import identifiers_by_vote, with_items
from twofold.data.dataset import Catalog
from twofold.identifiers.identifiers import Identifiers, IdSpaces, shared
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.model.fresh import fresh_backbone
from twofold.model.packing import can_pack
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.records import TASKS, Example, Ranking, Request
from twofold.retrieval.generative import GenerativeRetriever
from twofold.retrieval.scoring import Context, score_items

BACKBONES = ["decoder:tiny", "t5:tiny", "sasrec:tiny"]
TOKENIZER = train_tokenizer(["slow space opera", "space heist", "slow dance"] * 3, 300)


def _model(spaces: IdSpaces, backbone: str, seed: int) -> GenerativeModel:
    items = len(spaces.search)
    ids = [f"item-{n:03d}" for n in range(items)]
    kinds = [("red", "blue", "red|blue", "")[n % 4] for n in range(items)]
    vocabulary = fresh_vocabulary(TOKENIZER, spaces, max_history=5, max_query_tokens=4)
    model = fresh_backbone(backbone, vocabulary, 0.0, seed).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "norm" not in name:
                weights.mul_(4)  # fresh weights hardly distinguish codes
    return GenerativeModel(
        catalog=Catalog.of(pl.DataFrame({"item_id": ids, "title": ids, "kind": kinds})),
        vocabulary=vocabulary,
        backbone=model,
        tasks=TASKS,
        seen="exclude",
        precision="float32",
        tries=tries_of(spaces),
    )


def _spaces(made: Identifiers, seed: int, kind: str) -> IdSpaces:
    """One space, or another one for search, whole or after the first level."""
    if kind == "shared" or (kind == "shared prefix" and made.levels == 1):
        return shared(made)
    rng = np.random.default_rng(seed)
    if kind == "separate":
        other = np.arange(len(made))[rng.permutation(len(made))]
        codes = np.stack(np.divmod(other, 3), axis=1)
        return IdSpaces(made, Identifiers("semantic", codes, (len(made) // 3 + 1, 3)), 0)
    codes = made.codes[:, :1]
    suffix = np.zeros(len(made), np.int64)
    for code in np.unique(codes):
        same = np.flatnonzero(codes[:, 0] == code)
        suffix[same] = rng.permutation(len(same))
    sizes = (made.codebook_sizes[0], int(suffix.max()) + 1)
    return IdSpaces(made, Identifiers("semantic", np.column_stack([codes, suffix]), sizes), 1)


def _requests(items: int, rng: np.random.Generator) -> list[Request]:
    ids = [f"item-{n:03d}" for n in range(items)]
    made = []
    for number, query in enumerate(["space opera", None, "heist", None, "slow slow slow dance"]):
        history = tuple(rng.choice(ids, size=int(rng.integers(0, 8))))
        exclude = frozenset(rng.choice(ids, size=int(rng.integers(0, items))))
        made.append(Request(str(number), query=query, history=history, exclude=exclude))
    return made


def _blue(request: Request) -> Request:
    """The same under a filter."""
    where = (("kind", frozenset({"blue"})),)
    return dataclasses.replace(request, request_id=f"blue {request.request_id}", where=where)


def _by_item(ranking: Ranking) -> dict[str, float]:
    """Scores by item; they must stand in order."""
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    return dict(zip(ranking.item_ids, ranking.scores, strict=True))


def _score(model: GenerativeModel, request: Request, item: int) -> float:
    """Log-probability of an item's codes among the valid continuations, as training sees them."""
    history = np.array([model.catalog.positions[i] for i in request.history], dtype=np.int64)
    example = Example(
        history=history,
        query=request.query,
        targets=np.array([item]),
        visible=np.array([len(history)]),
    )
    sequences = model.vocabulary.encode(example)
    batch = model.vocabulary.collate(sequences)
    with torch.no_grad():
        states, rows = model.backbone.states(batch), model.backbone.code_rows().detach()
    score, codes = 0.0, model.vocabulary.spaces.of(model.vocabulary.task(request.query)).codes
    targets = zip(batch.targets, batch.target_contexts, strict=True)
    for level, (target, context) in enumerate(targets):
        codebook = model.vocabulary.spaces.codebooks[int(batch.context_codebooks[context])]
        alike = (codes[:, :level] == codes[item, :level]).all(axis=1)
        logits = states[context] @ rows[codebook].T
        goes_on = np.unique(codes[alike, level])
        score += float(logits[target] - logits[goes_on].logsumexp(0))
    return score


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["shared", "separate", "shared prefix"])
@settings(max_examples=8, deadline=None)
@given(made=identifiers(most=25), seed=st.integers(0, 1000))
def test_it_ranks_by_what_training_sees(
    backbone: str, kind: str, made: Identifiers, seed: int
) -> None:
    """Filtered, with exclusions, and with an item that was taken out of the catalog."""
    model = _model(_spaces(made, seed, kind), backbone, seed)
    requests = _requests(len(made), np.random.default_rng(seed))
    retriever, removed = GenerativeRetriever(model, beams=len(made)), f"item-{seed % len(made):03d}"
    retriever.remove([removed])
    asked = requests + [_blue(request) for request in requests]
    run = retriever.retrieve(asked, len(made))
    for request in asked:
        scores = {
            item_id: _score(model, request, item)
            for item, item_id in enumerate(model.catalog.item_ids)
            if item_id not in request.exclude | {removed}
            and (not request.where or item % 4 in (1, 2))
        }
        assert _by_item(run[request.request_id]) == pytest.approx(scores, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["shared", "separate", "shared prefix"])
@settings(max_examples=4, deadline=None)
@given(made=identifiers(most=25), seed=st.integers(0, 1000))
def test_given_items_are_scored_as_they_are_ranked(
    backbone: str, kind: str, made: Identifiers, seed: int
) -> None:
    model, rng = _model(_spaces(made, seed, kind), backbone, seed), np.random.default_rng(seed)
    items = rng.permutation(len(made))[:12]
    for request in _requests(len(made), rng):
        history = np.array([model.catalog.positions[i] for i in request.history], dtype=np.int64)
        contexts = [Context(history, request.query), Context(history[:1], request.query)]
        found = score_items(model, contexts, items)
        expected = [_score(model, request, int(item)) for item in items]
        assert found[0] == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
@settings(max_examples=15, deadline=None)
@given(made=identifiers(), seed=st.integers(0, 1000))
def test_a_filter_does_not_reorder_what_passes_it(
    backbone: str, made: Identifiers, seed: int
) -> None:
    retriever = GenerativeRetriever(_model(shared(made), backbone, seed), beams=len(made))
    requests = _requests(len(made), np.random.default_rng(seed))
    asked = requests + [_blue(request) for request in requests]
    run = retriever.retrieve(asked, len(made))
    blue = {f"item-{n:03d}" for n in range(len(made)) if n % 4 in (1, 2)}
    for request in requests:
        whole = _by_item(run[request.request_id])
        passed = {item_id: score for item_id, score in whole.items() if item_id in blue}
        filtered = _by_item(run[_blue(request).request_id])
        assert filtered == pytest.approx(passed, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_neighbours_in_a_batch_do_not_change_an_answer(backbone: str) -> None:
    codes = np.stack(np.unravel_index(np.arange(0, 512, 3), (8, 8, 8)), axis=1)
    model = _model(shared(Identifiers("semantic", codes, (8, 8, 8))), backbone, 3)
    retriever = GenerativeRetriever(model, beams=20)
    requests = _requests(len(codes), np.random.default_rng(0))
    together = retriever.retrieve(requests, 10)
    for request in requests:
        alone = retriever.retrieve([request], 10)[request.request_id]
        assert together[request.request_id].item_ids == alone.item_ids
        assert together[request.request_id].scores == pytest.approx(alone.scores, abs=1e-4)


@pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="this torch was built without oneDNN")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_longer_neighbour_hardly_changes_a_bit(backbone: str, precision: str) -> None:
    """In bfloat16 a sum in another order would show at the third digit."""
    codes = np.stack(np.unravel_index(np.arange(0, 512, 3), (8, 8, 8)), axis=1)
    model = _model(shared(Identifiers("semantic", codes, (8, 8, 8))), backbone, 3)
    model = dataclasses.replace(model, precision=precision)
    model.backbone.pack(precision, model.vocabulary.spaces.codebooks)
    retriever = GenerativeRetriever(model, beams=20)
    ids = tuple(model.catalog.item_ids)
    short = [Request(str(n), query="space opera", history=ids[:n]) for n in range(5)]
    longest = Request("longest", query="slow slow slow dance", history=ids[:60])
    together = retriever.retrieve([*short, longest], 10)
    for request in short:
        alone = retriever.retrieve([request], 10)[request.request_id]
        beside = together[request.request_id]
        assert beside.scores == pytest.approx(alone.scores, abs=2e-5)


def test_a_new_item_leaves_one_level_codes_to_their_owners() -> None:
    """A code of a semantic ID is no catalog position, also where one level distinguishes all."""
    drawn = np.random.default_rng(0).permutation(64)[:20]
    model = _model(shared(Identifiers("semantic", drawn[:, None], (64,))), "decoder:tiny", 0)
    requests = [Request(str(n), query="space opera", history=(f"item-{n:03d}",)) for n in range(5)]
    before = GenerativeRetriever(model).retrieve(requests, 20)
    new = new_items_table(model.catalog, [{"item_id": "new", "title": "item-003", "kind": "red"}])
    nearest, shares = np.array([[3, 4]]), np.array([[0.9, 0.1]], np.float32)
    grown = with_items(
        model, new, identifiers_by_vote(model.vocabulary.spaces, ["new"], nearest, shares)
    )
    after = GenerativeRetriever(grown).retrieve(requests, 21)
    for request in requests:
        answer = after[request.request_id].item_ids
        assert [item for item in answer if item != "new"] == list(
            before[request.request_id].item_ids
        )
        assert "new" in answer
