"""Tuning on recommendation pairs, and on both tasks; tuning for search is in test_encoders."""

from pathlib import Path

import numpy as np
import pytest

from tests.planted import HISTORY_GROUPS, ITEMS, NO_TITLES, planted_dataset, purity
from twofold import artifact
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.tuning import KIND, TuningConfig, _Pairs, tune_encoder
from twofold.records import TASKS, InputError, Task
from twofold.tasks.prepared import PreparedDataset

CONFIG = TuningConfig(epochs=6, batch=32, learning_rate=3e-3, recommendation_pairs=400)


@pytest.mark.parametrize(("tasks", "least"), [(("recommendation",), 0.7), (TASKS, 0.35)])
def test_items_of_the_same_histories_come_near(
    tasks: tuple[Task, ...],
    least: float,
    catalog: PreparedDataset,
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
) -> None:
    planted = planted_dataset(catalog.catalog.texts[:ITEMS])  # whose words the encoder knows

    def share_found(encoder: SentenceEncoder) -> float:
        return purity(encoder.encode(planted.catalog.texts), HISTORY_GROUPS)

    made = [
        tune_encoder(planted, sentence_encoder, tmp_path / name, None, CONFIG, tasks=tasks)
        for name in ("tuned", "again")
    ]
    assert share_found(sentence_encoder) < 0.3
    assert share_found(made[0]) > least
    assert made[0].fingerprint == made[1].fingerprint
    assert artifact.load(tmp_path / "tuned", KIND)["config"]["tasks"] == list(tasks)


@pytest.mark.parametrize("tasks", [("recommendation",), TASKS])
def test_pairs_are_of_one_history_recent_and_both_tasks_alike(
    catalog: PreparedDataset, tasks: tuple[Task, ...]
) -> None:
    examples = catalog.task("search").examples
    epochs = _Pairs(catalog, tasks, most=10_000)
    pairs = epochs.of_epoch(seed=0, epoch=0)
    queries = [pair for pair in pairs if pair.text in {e.query for e in examples}]
    drawn = pairs[len(queries) :]
    events = sum(len(h) - 1 for h in catalog.training_histories.values())
    if "search" in tasks:
        assert len(queries) == len(examples)
        assert len(drawn) == min(len(examples), events)
    else:
        assert (len(queries), len(drawn)) == (0, events)
    texts = catalog.catalog.texts
    for pair in drawn:
        (answer,) = pair.positives
        ends = np.flatnonzero(pair.relevant == answer)
        assert any(pair.text in {texts[n] for n in pair.relevant[max(0, e - 5) : e]} for e in ends)
    other = epochs.of_epoch(seed=0, epoch=1)
    assert [pair.text for pair in other] != [pair.text for pair in pairs]


def test_items_without_text_make_no_pair(sentence_encoder: SentenceEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no history has two items with a text"):
        tune_encoder(
            planted_dataset(NO_TITLES),
            sentence_encoder,
            tmp_path / "t",
            None,
            tasks=["recommendation"],
        )


def test_tuning_brings_queries_near_their_answers(
    catalog: PreparedDataset, sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    examples = catalog.task("search").examples
    texts = catalog.catalog.texts

    def nearness(encoder: SentenceEncoder) -> float:
        items = encoder.encode(texts)
        queries = encoder.encode([example.query or "" for example in examples])
        scores = queries @ items.T
        relevant = [scores[n, e.targets].mean() for n, e in enumerate(examples)]
        return float(np.mean(relevant) - scores.mean())

    config = TuningConfig(epochs=8, batch=16, learning_rate=1e-3)
    before = sentence_encoder.fingerprint
    tuned = tune_encoder(catalog, sentence_encoder, tmp_path / "tuned", nearness, config)
    assert nearness(tuned) > nearness(sentence_encoder) + 0.05
    assert SentenceEncoder(tuned.name, sentence_encoder.model).fingerprint == before
    again = tune_encoder(catalog, sentence_encoder, tmp_path / "again", nearness, config)
    assert again.fingerprint == tuned.fingerprint


def test_tuning_that_only_harms_is_not_kept(
    catalog: PreparedDataset, sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    values = iter([1.0, 0.5])
    config = TuningConfig(epochs=1, batch=64)
    tuned = tune_encoder(catalog, sentence_encoder, tmp_path / "t", lambda _: next(values), config)
    assert tuned.fingerprint == sentence_encoder.fingerprint
