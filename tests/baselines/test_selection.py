"""Every baseline is made and answers, and validation, not test, tunes it."""

from pathlib import Path

import pytest

from twofold.baselines.item_knn import ItemKNN
from twofold.baselines.selection import every_baseline, quick_baselines
from twofold.encoders import lexical
from twofold.encoders.sentence import SentenceEncoder
from twofold.evaluation.measures import Measure
from twofold.records import Retriever
from twofold.tasks.evaluate import evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig


def test_every_baseline_is_made_and_answers(
    catalog: PreparedDataset,
    sentence_encoder: SentenceEncoder,
    quick_config: TrainingConfig,
    tmp_path: Path,
) -> None:
    config = quick_config.model_copy(update={"text_encoder": sentence_encoder.name, "max_steps": 8})
    names = set()
    for baseline in every_baseline(catalog, tmp_path, config, "cpu", 1):
        chosen = baseline.make()
        evaluation = evaluate(chosen.retriever, catalog, [baseline.task])
        assert evaluation.unanswered[baseline.task] <= len(evaluation.qrels[baseline.task]) / 4
        names.add(chosen.retriever.name)
    assert names >= {"item-kNN", "history mean", "SASRec", "bi-encoder", "bi-encoder (untuned)"}
    assert "frozen encoder" in names
    assert names >= {"BM25 (text)", "popularity (search)"}


def test_baselines_that_take_seconds_are_the_usual_ones_with_default_settings(
    catalog: PreparedDataset,
) -> None:
    chosen = {baseline.name: baseline.make() for baseline in quick_baselines(catalog)}
    named = {"popularity search", "popularity recommendation", "item-kNN", "BM25 text"}
    assert named <= set(chosen)
    assert len(chosen) == 8
    for name, each in chosen.items():
        assert set(each.settings) <= {"with_ngrams"}, name
        assert each.candidates == 1 + name.startswith("BM25")


def test_the_best_on_validation_is_chosen(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    makers = {b.name: b.make for b in every_baseline(catalog, tmp_path, quick_config)}
    chosen = makers["item-kNN"]()
    ndcg = Measure("nDCG", 10)

    def value(retriever: Retriever) -> float:
        evaluation = evaluate(retriever, catalog, ["recommendation"], "validation", [ndcg])
        return evaluation.means()["recommendation"][str(ndcg)]

    assert chosen.candidates == 12
    grid = [(20, 0.0), (50, 10.0), (100, 50.0), (300, 50.0)]
    assert value(chosen.retriever) >= max(value(ItemKNN(catalog, n, s)) for n, s in grid)
    assert value(chosen.retriever) == value(ItemKNN(catalog, **chosen.settings))


def test_bm25_is_tried_with_ngrams_unless_texts_are_long(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    makers = {b.name: b.make for b in every_baseline(catalog, tmp_path, quick_config)}
    assert makers["BM25 text"]().candidates == 7
    characters = sum(map(len, catalog.catalog.texts))
    monkeypatch.setattr(lexical, "_MOST_CHARACTERS_WITH_NGRAMS", characters - 1)
    chosen = makers["BM25 text"]()
    assert chosen.candidates == 6
    assert "with_ngrams" not in chosen.settings
    quick = {baseline.name: baseline.make for baseline in quick_baselines(catalog)}
    assert quick["BM25 text"]().candidates == 1
