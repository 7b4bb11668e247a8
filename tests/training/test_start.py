"""Where rows start: at texts, between texts and the training queries that want the items."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.planted import (
    NO_TITLES,
    QUERY_GROUPS,
    TEXT_GROUPS,
    planted_dataset,
    purity,
    with_other_held_out,
)
from twofold.encoders.encoders import Vectors
from twofold.identifiers.identifiers import atomic, shared
from twofold.records import Example, InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.start import start, with_queries
from twofold.training.train import train

NOTHING = np.zeros(0, np.int64)


def _config(rows: str = "text", encoder: str = "tfidf") -> TrainingConfig:
    return resolve_config(
        "quick", backbone="decoder:tiny", encoder=encoder, rows=rows, text_tokens=400
    )


def _rows(dataset: PreparedDataset, config: TrainingConfig) -> Vectors:
    spaces = shared(atomic(len(dataset.catalog)))
    return start(dataset, spaces, config, seed=0)[1].code_rows().detach().numpy()


def test_rows_start_at_texts_and_may_start_nearer_to_what_is_asked() -> None:
    assert purity(_rows(planted_dataset(), _config()), TEXT_GROUPS) > 0.9
    silent = planted_dataset(titles=NO_TITLES)
    assert purity(_rows(silent, _config()), QUERY_GROUPS) < 0.5
    assert purity(_rows(silent, _config(rows="queries")), QUERY_GROUPS) > 0.9


def test_held_out_queries_are_not_read() -> None:
    dataset, config = planted_dataset(), _config(rows="queries")
    assert np.array_equal(_rows(dataset, config), _rows(with_other_held_out(dataset), config))


@given(
    arrays.arrays(np.float32, (4, 3), elements=st.floats(-1, 1, width=32)),
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=32)),
    st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=5, max_size=5),
)
def test_vectors_are_moved_as_one_would_by_hand(
    items: Vectors, queries: Vectors, wants: list[set[int]]
) -> None:
    examples = [
        Example(NOTHING, "asked", np.array(sorted(answers)), np.zeros(len(answers), np.int64))
        for answers in wants
    ]
    found = with_queries(items, queries, examples)
    for item in range(4):
        asking = [queries[number] for number in range(5) if item in wants[number]]
        moved = items[item].astype(np.float64)
        together = np.sum([[0.0] * 3, *asking], axis=0)
        size = np.linalg.norm(together)
        if size > 0:
            moved = moved + 0.6 * together / size
        length = np.linalg.norm(moved)
        if length > 1e-3 and not 0 < size < 1e-3:  # else rounding decides
            assert found[item] == pytest.approx(moved / length, abs=1e-4)


def test_without_an_encoder_there_is_nothing_to_start_from() -> None:
    with pytest.raises(InputError, match="rows=queries: needs an encoder"):
        _rows(planted_dataset(), _config(encoder="none", rows="queries"))


def test_rows_stay_where_they_start_at_a_rate_of_next_to_nothing(tmp_path: Path) -> None:
    dataset = planted_dataset()
    changes = {"updates": 20, "rows_rate": 1e-12, "weight_decay": 0.0, "precision": "float32"}
    config = _config().model_copy(update=changes)
    trained = train(dataset, "joint", out=tmp_path / "m", config=config, device="cpu", threads=1)
    assert trained.model.stamp["best_update"] > 0
    backbone = start(dataset, shared(atomic(len(dataset.catalog))), config, seed=0)[1]
    before, after = backbone.state_dict(), trained.model.backbone.state_dict()
    moved = {
        name for name in before if name in after and not torch.allclose(before[name], after[name])
    }
    assert "query_map.weight" in moved
    assert not {name for name in moved if "embed_tokens" in name}
