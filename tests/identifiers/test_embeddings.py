"""Item vectors: each strategy finds the groups of its side, and reads no held-out row."""

from pathlib import Path

import numpy as np
import pytest

from tests.planted import (
    HISTORY_GROUPS,
    ITEMS,
    NO_TITLES,
    QUERY_GROUPS,
    TEXT_GROUPS,
    planted_dataset,
    purity,
    with_other_held_out,
)
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.tuning import TuningConfig
from twofold.identifiers.embeddings import STRATEGIES, id_embeddings
from twofold.identifiers.identifiers import Strategy
from twofold.records import InputError, Ints
from twofold.tasks.prepared import PreparedDataset, TablesInMemory

TUNING = TuningConfig(epochs=1, batch=32, learning_rate=1e-3)


@pytest.fixture(scope="module")
def planted() -> PreparedDataset:
    return planted_dataset()


@pytest.mark.parametrize(
    ("strategy", "groups"),
    [
        ("text", TEXT_GROUPS),
        ("search", QUERY_GROUPS),
        ("recommendation", HISTORY_GROUPS),
    ],
)
def test_a_strategy_finds_the_groups_of_its_own_side(
    planted: PreparedDataset, strategy: Strategy, groups: Ints
) -> None:
    assert purity(id_embeddings(planted, strategy, width=16), groups) > 0.9


@pytest.mark.parametrize("strategy", ["multi-task", "fused-concatenated", "fused-summed"])
def test_both_sides_show_in_what_is_made_of_both(
    planted: PreparedDataset, strategy: Strategy
) -> None:
    vectors = id_embeddings(planted, strategy, width=16)
    scores = vectors @ vectors.T
    history = HISTORY_GROUPS[:, None] == HISTORY_GROUPS
    query = QUERY_GROUPS[:, None] == QUERY_GROUPS
    neither = scores[~history & ~query].mean()
    both = scores[history & query & ~np.eye(ITEMS, dtype=bool)].mean()
    assert neither + 0.1 < scores[history & ~query].mean() < both
    assert neither + 0.1 < scores[query & ~history].mean() < both


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("with_sentence", [False, True])
def test_held_out_rows_change_nothing(
    strategy: Strategy,
    with_sentence: bool,
    planted: PreparedDataset,
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
) -> None:
    name = sentence_encoder.name if with_sentence else None
    vectors, changed = (
        id_embeddings(dataset, strategy, 8, name, tmp_path / side, TUNING)
        for side, dataset in (("as-is", planted), ("changed", with_other_held_out(planted)))
    )
    assert len(vectors) == ITEMS
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths == pytest.approx(np.ones(ITEMS), abs=1e-4)
    assert np.array_equal(vectors, changed)


def test_an_item_without_a_training_query_keeps_its_text() -> None:
    dataset = planted_dataset()
    kept = dataset.qrels.filter(dataset.qrels["item_id"] != "i0")
    without = PreparedDataset(
        dataset.catalog,
        TablesInMemory(dataset.interactions, dataset.queries, kept),
        dataset.protocol,
        dataset.source,
    )
    assert id_embeddings(without, "search", 16)[0].any()


def test_tuned_encoders_are_made_once(
    catalog: PreparedDataset, sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    first = id_embeddings(catalog, "search", 8, sentence_encoder.name, tmp_path, TUNING)
    made = (tmp_path / "search" / "manifest.json").stat().st_mtime_ns
    again = id_embeddings(catalog, "search", 8, sentence_encoder.name, tmp_path, TUNING)
    assert np.array_equal(first, again)
    assert (tmp_path / "search" / "manifest.json").stat().st_mtime_ns == made
    other = with_other_held_out(catalog)
    with pytest.raises(InputError, match="tuned on other data"):
        id_embeddings(other, "search", 8, sentence_encoder.name, tmp_path, TUNING)


def test_a_missing_task_is_named_with_the_strategies_that_work() -> None:
    events = planted_dataset(NO_TITLES, queries=False)
    for strategy in STRATEGIES:
        if strategy == "recommendation":
            assert id_embeddings(events, strategy).any()
            continue
        with pytest.raises(InputError, match=f"'{strategy}' need .*; use recommendation$"):
            id_embeddings(events, strategy)
    queries = planted_dataset(interactions=False)
    with pytest.raises(InputError, match=r"two or more training events.*; use text or search$"):
        id_embeddings(queries, "multi-task")
    with pytest.raises(InputError, match="no such strategy; choose one of text, search"):
        id_embeddings(queries, "content")  # type: ignore[arg-type]
