"""When a trained model gets the hybrid part of recommendation, and with which weight."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from tests.planted import planted_dataset
from tests.training.measured import values_of
from twofold.data.formats import Table
from twofold.data.validation import validate
from twofold.encoders.item_vectors import SimilarityKind, similarities
from twofold.model.hybrid import HistoryMatch, history_matches, with_second
from twofold.records import Floats, Ints
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.top_k import RankCounter
from twofold.tasks.evaluate import evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train
from twofold.training.validation import HISTORY_WEIGHTS, chosen_match, values_with


@pytest.fixture
def two_steps(quick_config: TrainingConfig) -> TrainingConfig:
    return quick_config.model_copy(update={"max_steps": 2, "item_init": "random"})


@pytest.mark.parametrize(
    ("arm", "identifiers"),
    [("recommendation", "atomic"), ("joint", "atomic"), ("recommendation", "semantic")],
)
def test_a_model_that_has_learned_little_gains_by_it(
    arm: str, identifiers: str, two_steps: TrainingConfig, tmp_path: Path
) -> None:
    dataset = planted_dataset()
    config = two_steps.model_copy(update={"identifiers": identifiers, "num_beams": 10})
    trained = train(dataset, arm, out=tmp_path / "m", config=config, device="cpu").model
    match = trained.history_match
    assert match is not None
    assert trained.stamp.history_match == match.description
    loaded = load_model(tmp_path / "m").model
    assert loaded.stamp.history_match == match.description
    values = [
        evaluate(GenerativeRetriever(model), dataset, ["recommendation"]).means()
        for model in (loaded, loaded.generative)
    ]
    with_match, alone = (own["recommendation"]["nDCG@10"] for own in values)
    assert with_match > alone + 0.2
    assert loaded.generative.history_match is None


@pytest.mark.parametrize(
    ("arm", "changed"),
    [
        ("recommendation", {"hybrid": "none"}),
        ("recommendation", {"hybrid": "none", "identifiers": "semantic"}),
        ("search", {}),
    ],
)
def test_it_is_not_tried(
    arm: str, changed: dict[str, str], two_steps: TrainingConfig, tmp_path: Path
) -> None:
    config = two_steps.model_copy(update=changed)
    model = train(planted_dataset(), arm, out=tmp_path / "m", config=config, device="cpu").model
    assert model.history_match is None
    assert model.stamp.history_match is None


@pytest.mark.parametrize("identifiers", ["atomic", "semantic"])
def test_one_pass_measures_all_matches_as_the_model_would_answer(
    catalog: PreparedDataset,
    model_folder: Path,
    semantic_folder: Path,
    identifiers: str,
) -> None:
    """With few beams, so that a match also adds items that the beam search missed."""
    model = load_model({"atomic": model_folder, "semantic": semantic_folder}[identifiers]).model
    judged = catalog.task("recommendation").requests("validation").sample(20)
    tables = similarities(catalog.task("recommendation").examples, len(catalog.catalog))
    first, weights = history_matches(tables), [0.0, 0.5, 6.0]
    parts = [*first, with_second(first[0], tables)[0]]
    for part, of_part in zip(parts, values_with(model, judged, parts, weights, 10), strict=True):
        for weight, values in zip(weights, of_part, strict=True):
            match = replace(part, weight=weight) if weight else None
            own = GenerativeRetriever(replace(model, history_match=match), beams=10)
            np.testing.assert_allclose(values, values_of(own, judged), atol=1e-6)


def _chosen(
    tables: dict[SimilarityKind, sp.csr_array],
    measured: Callable[[Sequence[HistoryMatch]], Floats],
) -> HistoryMatch | None:
    second = partial(with_second, tables=tables)
    return chosen_match(history_matches(tables), [second], measured)


def _measured(
    gains: dict[tuple[object, ...], float], requests: int = 50
) -> Callable[[Sequence[HistoryMatch]], Floats]:
    """Made-up values of 50 requests, of which a share has the measure 1, and the others 0.

    Args:
        gains: this share, by kind and decay of the first similarity, and then by kind, decay and
            share of a second one; it is that of a weight of 2 or more.
        requests: the number of requests.
    """

    def measured(matches: Sequence[HistoryMatch]) -> Floats:
        values = np.zeros((len(matches), len(HISTORY_WEIGHTS), requests))
        for of_match, match in zip(values, matches, strict=True):
            first, *second = match.by
            names = (
                first.kind,
                first.decay,
                *(x for s in second for x in (s.kind, s.decay, s.share)),
            )
            gained = round(requests * gains.get(names, 0.0))
            of_match[HISTORY_WEIGHTS.index(2.0) :, :gained] = 1.0
        return values

    return measured


_ALONE: dict[tuple[object, ...], float] = {("following", 0.5): 0.4, ("shared users", 1.0): 0.3}


@pytest.mark.parametrize(
    ("gains", "second"),
    [
        ({}, None),
        ({("following", 0.5, "texts", 1.0, 0.5): 0.42}, None),  # a gain of one request in fifty
        ({("following", 0.5, "texts", 1.0, 0.5): 0.6}, ("texts", 1.0, 0.5)),
        ({("following", 0.5, "texts", 0.5, 1.0): 0.6}, ("texts", 0.5, 1.0)),
        ({("following", 0.5, "shared users", 1.0, 0.5): 0.6}, ("shared users", 1.0, 0.5)),
        # With what is worse alone, a second similarity is not tried.
        ({("shared users", 1.0, "texts", 1.0, 1.0): 1.0}, None),
    ],
)
def test_a_second_similarity_is_added_to_the_best_where_it_gains(
    gains: dict[tuple[object, ...], float], second: tuple[object, ...] | None
) -> None:
    table = sp.csr_array(np.eye(3, dtype=np.float32))
    tables: dict[SimilarityKind, sp.csr_array] = {
        "following": table,
        "shared users": table,
        "texts": table,
    }
    match = _chosen(tables, _measured(_ALONE | gains))
    assert match is not None
    assert match.weight == 2.0
    assert (match.by[0].kind, match.by[0].decay) == ("following", 0.5)
    assert [(one.kind, one.decay, one.share) for one in match.by[1:]] == (
        [second] if second else []
    )


def test_two_similarities_are_chosen_that_gain_only_together() -> None:
    table = sp.csr_array(np.eye(3, dtype=np.float32))
    tables: dict[SimilarityKind, sp.csr_array] = {"following": table, "shared users": table}
    assert _chosen(tables, _measured({})) is None
    match = _chosen(tables, _measured({("following", 0.3, "shared users", 1.0, 1.0): 0.5}))
    assert match is not None
    assert [one.kind for one in match.by] == ["following", "shared users"]


def test_the_weight_is_the_best_one_and_none_where_the_gain_is_uncertain() -> None:
    """A weight within one standard error of the best is worse on other requests."""
    table = sp.csr_array(np.eye(3, dtype=np.float32))
    tables: dict[SimilarityKind, sp.csr_array] = {"following": table, "shared users": table}

    def chosen(requests: int) -> float | None:
        """A tenth of the requests gain .5 by a weight of 2, and an eighth by a weight of 4."""

        def measured(matches: Sequence[HistoryMatch]) -> Floats:
            values = np.zeros((len(matches), len(HISTORY_WEIGHTS), requests))
            values[:, HISTORY_WEIGHTS.index(2.0), : requests // 10] = 0.5
            values[:, HISTORY_WEIGHTS.index(4.0), : requests // 8] = 0.5
            return values

        match = _chosen(tables, measured)
        return match.weight if match else None

    assert [chosen(requests) for requests in (10, 40, 200)] == [None, 4.0, 4.0]


def _made(histories: Ints, items: int) -> PreparedDataset:
    """A dataset without texts, from the items of each user, (users, events), oldest first."""
    rows = [
        (f"u{user}", f"i{item}", f"{place}")
        for user, history in enumerate(histories)
        for place, item in enumerate(history)
    ]
    frames = {
        "items": pl.DataFrame({"item_id": [f"i{item}" for item in range(items)], "title": ""}),
        "interactions": pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"),
    }
    tables = {name: [Table(Path(f"{name}.csv"), frame)] for name, frame in frames.items()}
    return split_dataset(validate(tables), "made")


def test_repeats_are_counted_where_items_of_the_history_may_return(
    two_steps: TrainingConfig, tmp_path: Path
) -> None:
    """Each user returns to two items after six events, which are too many for the counts of what
    follows what.
    """
    rng = np.random.default_rng(0)
    histories = []
    for _ in range(40):
        kept = rng.integers(200, size=2)
        histories.append(
            [kept[place % 2] if place % 6 > 3 else rng.integers(200) for place in range(18)]
        )
    dataset = _made(np.array(histories), 200)
    assert dataset.protocol.seen == "keep"
    config = two_steps.model_copy(update={"item_texts": "none"})
    model = train(dataset, "recommendation", out=tmp_path / "m", config=config).model
    assert model.history_match is not None
    assert model.history_match.repeats > 0
    assert model.stamp.history_match == model.history_match.description


def test_popularity_counts_where_histories_tell_nothing(
    two_steps: TrainingConfig, tmp_path: Path
) -> None:
    """Each event is drawn by the popularity of its item alone."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 401)
    shares /= shares.sum()
    histories = [rng.choice(400, 5, replace=False, p=shares) for _ in range(300)]
    dataset = _made(np.array(histories), 400)
    config = two_steps.model_copy(update={"item_texts": "none"})
    model = train(dataset, "recommendation", out=tmp_path / "m", config=config).model
    match = load_model(tmp_path / "m").model.history_match
    assert match is not None
    assert match.popularity is not None
    assert match.description == model.stamp.history_match
    events = dataset.task("recommendation").popularity
    assert match.popularity.argmax() == events.argmax()


def test_texts_are_compared_where_the_model_reads_them(
    catalog: PreparedDataset,
    two_steps: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def values_with(_: RankCounter, parts: list[HistoryMatch], weights: list[float]) -> Floats:
        values = np.zeros((len(parts), len(weights), 50))
        values[["texts" in [one.kind for one in part.by] for part in parts], -1] = 1.0
        return values

    monkeypatch.setattr(RankCounter, "values_with", values_with)
    for texts in ("auto", "none"):
        config = two_steps.model_copy(update={"item_texts": texts})
        model = train(catalog, "recommendation", out=tmp_path / texts, config=config).model
        by = (model.stamp.history_match or {}).get("by", [])
        assert [one["kind"] for one in by[1:]] == (["texts"] if texts == "auto" else [])


def test_an_uncertain_gain_is_left_out(
    catalog: PreparedDataset,
    two_steps: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gain that one request in fifty has."""

    def values_with(_: RankCounter, parts: list[object], weights: list[float]) -> Floats:
        values = np.zeros((len(parts), len(weights), 50))
        values[-1, -1, 0] = 1.0
        return values

    monkeypatch.setattr(RankCounter, "values_with", values_with)
    model = train(catalog, "recommendation", out=tmp_path / "m", config=two_steps).model
    assert model.history_match is None
    assert model.stamp.history_match == {"weight": 0.0}
