"""Where rows start: at the items' texts."""

import numpy as np

from tests.planted import (
    TEXT_GROUPS,
    planted_dataset,
    purity,
    with_other_held_out,
)
from twofold.encoders.vectors import Vectors
from twofold.identifiers.identifiers import atomic, shared
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.start import start


def _config() -> TrainingConfig:
    return resolve_config(
        "quick", backbone="decoder:tiny", text_encoder="tfidf", text_vocab_size=400
    )


def _rows(dataset: PreparedDataset, config: TrainingConfig) -> Vectors:
    spaces = shared(atomic(len(dataset.catalog)))
    return start(dataset, spaces, config, seed=0).backbone.code_rows().detach().numpy()


def test_rows_start_at_texts() -> None:
    assert purity(_rows(planted_dataset(), _config()), TEXT_GROUPS) > 0.9


def test_held_out_queries_are_not_read() -> None:
    dataset, config = planted_dataset(), _config()
    assert np.array_equal(_rows(dataset, config), _rows(with_other_held_out(dataset), config))
