"""When a trained model gets a hybrid part, from which data, and with which weight."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.planted import NO_TITLES, planted_dataset
from tests.training.measured import values_of
from twofold.encoders.item_vectors import query_factors, rocchio
from twofold.encoders.lexical import TrainingQueries
from twofold.encoders.vectors import Vectors
from twofold.model.checkpoint import GenerativeModel
from twofold.model.hybrid import build_hybrid
from twofold.records import Request
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train
from twofold.training.validation import HYBRID_WEIGHTS, first_near_best, values_with
from twofold.training_examples import Example

NOTHING = np.zeros(0, np.int64)


def test_the_weight_is_the_one_that_validation_likes() -> None:
    def likes(weight: float) -> float:
        values = [np.full(9, -abs(tried - weight)) for tried in HYBRID_WEIGHTS]
        return first_near_best(HYBRID_WEIGHTS, np.stack(values))

    assert [likes(weight) for weight in (0.0, 20.0, 1000.0)] == [0.0, 20.0, 320.0]
    equal = first_near_best(HYBRID_WEIGHTS, np.full((len(HYBRID_WEIGHTS), 9), 0.5))
    assert equal == 320.0, "words find titles that no query of validation asks for"


@pytest.mark.parametrize(("requests", "weight"), [(10, 320.0), (4000, 20.0)])
def test_few_requests_do_not_overrule_the_documents(requests: int, weight: float) -> None:
    """A weight of 20 finds .01 more in the mean, of requests that differ by .1."""
    noise = np.random.default_rng(1).normal(0, 0.1, requests)
    noise -= noise.mean()
    values = [np.full(requests, 0.5) if tried == 20 else 0.49 + noise for tried in HYBRID_WEIGHTS]
    assert first_near_best(HYBRID_WEIGHTS, np.stack(values)) == weight


def _weight(model: GenerativeModel) -> float:
    return model.hybrid.weight if model.hybrid else 0.0


def test_only_training_queries_were_asked() -> None:
    dataset = planted_dataset()
    part = build_hybrid(dataset, None)
    assert part is not None
    by_split = {
        split: TrainingQueries.of(queries["text"].to_list(), [NOTHING] * queries.height, 0).keys
        for (split,), queries in dataset.queries.group_by("split")
    }
    np.testing.assert_array_equal(part.known.keys, by_split.pop("train"))
    assert by_split
    assert not np.isin(np.concatenate([*by_split.values()]), part.known.keys).any()
    assert part.known.relevant.sum() == sum(
        len(example.targets) for example in dataset.task("search").examples
    )


@pytest.mark.parametrize(
    ("arm", "identifiers"),
    [
        ("joint", "atomic"),
        ("search", "atomic"),
        ("recommendation", "atomic"),
        ("search", "semantic"),
    ],
)
def test_arms_that_search_have_one(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    arm: str,
    identifiers: str,
) -> None:
    few = {"text_encoder": "none", "max_steps": 2, "identifiers": identifiers}
    config = quick_config.model_copy(update=few)
    trained = train(catalog, arm, out=tmp_path / "m", config=config, device="cpu").model
    assert (trained.stamp.hybrid is not None) == (arm != "recommendation")
    told = (trained.stamp.hybrid or {"weight": 0.0})["weight"]
    loaded = load_model(tmp_path / "m")
    assert told == _weight(trained) == _weight(loaded.model)
    asked = [Request("query", query="dark western film"), Request("history", history=("film-1",))]
    expected = GenerativeRetriever(trained).retrieve(asked, 10)
    for request_id, ranking in loaded.retrieve(asked, 10).rankings.items():
        assert ranking.item_ids == expected[request_id].item_ids
        assert ranking.scores == pytest.approx(expected[request_id].scores, abs=1e-4)
    if arm != "recommendation":
        assert told > 0, "two steps from random weights teach less than the words tell"


def test_none_is_asked_for(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"max_steps": 2, "hybrid": "none"})
    trained = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    assert trained.model.hybrid is None


def test_with_semantic_ids_beams_are_searched_once_for_all_weights(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the value of the weight that is chosen is that of the model's answers."""
    asked: list[int] = []
    candidates = GenerativeRetriever.candidates

    def counted(self: GenerativeRetriever, requests: Sequence[Request], parts: Any) -> Any:
        asked.append(len(requests))
        return candidates(self, requests, parts)

    monkeypatch.setattr(GenerativeRetriever, "candidates", counted)
    config = quick_config.model_copy(
        update={"max_steps": 2, "identifiers": "semantic", "num_beams": 10}
    )
    trained = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu").model
    judged = catalog.task("search").requests("validation")
    assert asked == [len(judged.requests)]
    assert trained.hybrid is not None
    ((chosen,),) = values_with(trained, judged, [trained.hybrid], [1.0], 10)
    exact = values_of(GenerativeRetriever(trained, beams=10), judged)
    assert chosen == pytest.approx(exact)


def test_one_pass_measures_all_weights_as_the_model_would_answer(
    catalog: PreparedDataset, retriever: GenerativeRetriever
) -> None:
    part = build_hybrid(catalog, retriever.model.vocabulary.encoder)
    assert part is not None
    judged = catalog.task("search").requests("validation")
    weights = [5.0, 40.0]
    (values,) = values_with(retriever.model, judged, [replace(part, weight=1.0)], weights, 10)
    for weight, expected in zip(weights, values, strict=True):
        model = replace(retriever.model, hybrid=replace(part, weight=weight))
        assert values_of(GenerativeRetriever(model), judged) == pytest.approx(expected)


def test_without_words_there_is_none(retriever: GenerativeRetriever) -> None:
    silent = planted_dataset(titles=NO_TITLES)
    wordless = silent.with_tables(queries=silent.queries.with_columns(text=pl.lit(" ")))
    assert build_hybrid(silent, retriever.model.vocabulary.encoder) is not None
    assert build_hybrid(wordless, retriever.model.vocabulary.encoder) is None


@given(
    arrays.arrays(np.float32, (4, 3), elements=st.floats(-1, 1, width=32)),
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=32)),
    st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=5, max_size=5),
)
def test_vectors_are_moved_as_one_would_by_hand(
    items: Vectors, queries: Vectors, wants: list[set[int]]
) -> None:
    examples = [
        Example(
            history=NOTHING,
            query="asked",
            targets=np.array(sorted(answers)),
            visible=np.zeros(len(answers), np.int64),
        )
        for answers in wants
    ]
    moved_items = rocchio(items, query_factors(examples, len(items), queries))
    for item in range(4):
        asking = [queries[number] for number in range(5) if item in wants[number]]
        moved = items[item].astype(np.float64)
        together = np.sum([[0.0] * 3, *asking], axis=0)
        size = np.linalg.norm(together)
        if size > 0:
            moved = moved + 0.6 * together / size
        length = np.linalg.norm(moved)
        if length > 1e-2 and not 0 < size < 1e-2:  # else rounding decides
            assert moved_items[item] == pytest.approx(moved / length, abs=1e-4)


def test_after_training_it_changes_no_weight_and_no_checkpoint(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    def trained(hybrid: str) -> GenerativeModel:
        config = quick_config.model_copy(update={"hybrid": hybrid})
        return train(catalog, "search", out=tmp_path / hybrid, config=config, device="cpu").model

    without, after = trained("none"), trained("after")
    assert after.hybrid is not None
    assert after.stamp.hybrid == after.hybrid.description
    assert after.stamp.curve == without.stamp.curve
    assert after.stamp.best_step == without.stamp.best_step
    weights = without.backbone.state_dict()
    for name, weight in after.backbone.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_without_item_texts_there_are_no_documents(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"item_texts": "none", "max_steps": 2})
    model = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu").model
    assert model.hybrid is None
