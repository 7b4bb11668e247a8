"""Search is as good in any language: one catalog in ten of them, without any download."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from tests.languages import LANGUAGES, catalog_in
from twofold.baselines.bm25 import BM25
from twofold.baselines.documents import Documents
from twofold.evaluation.measures import Measure, means, score
from twofold.records import Request, Retriever
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

_LONGER = {"max_steps": 120, "text_vocab_size": 600}
_NEAR = 0.05
"""How much of Recall@10 another language may lack."""


def _recall(retriever: Retriever, dataset: PreparedDataset) -> float:
    judged = dataset.task("search").requests("test")
    run = retriever.retrieve(judged.requests, 10)
    return means(score(run, judged.qrels, [Measure.parse("Recall@10")]))["Recall@10"]


def _titles_first(retriever: Retriever, dataset: PreparedDataset) -> float:
    """The share of items that their exact title finds first."""
    items = dataset.catalog.items
    asked = [Request(i, query=t) for i, t in items.select("item_id", "title").iter_rows()]
    run = retriever.retrieve(asked, 1)
    return float(np.mean([run[one.request_id].item_ids == (one.request_id,) for one in asked]))


@cache
def _trained(language: str, config: TrainingConfig) -> tuple[float, float]:
    """Recall@10 of a joint model, and the share of titles that it finds first."""
    dataset = catalog_in(language)
    with TemporaryDirectory() as folder:
        model = train(dataset, "joint", out=Path(folder) / "model", config=config, device="cpu")
    return _recall(model, dataset), _titles_first(model, dataset)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_matched_in_any_language(language: str) -> None:
    dataset = catalog_in(language)
    bm25 = BM25(dataset, "text and queries")
    assert _recall(bm25, dataset) > 1 - _NEAR
    for retriever in (bm25, Documents(dataset, None)):
        assert _titles_first(retriever, dataset) == 1.0


@pytest.mark.parametrize(
    "language",
    [
        name if name in ("Chinese", "Hindi") else pytest.param(name, marks=pytest.mark.slow)
        for name in LANGUAGES
    ],
)
def test_a_model_searches_as_well_in_any_language(
    quick_config: TrainingConfig, language: str
) -> None:
    config = quick_config.model_copy(update=_LONGER)
    (english, _), (recall, titles) = _trained("English", config), _trained(language, config)
    assert recall >= english - _NEAR
    assert titles == 1.0
