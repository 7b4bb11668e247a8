"""Sentence embeddings on disk: each text is encoded once, by whatever process."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twofold.encoders import sentence
from twofold.encoders.embedding_cache import EmbeddingCache
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.text_encoder import encode_ahead, sentence_encoder_of
from twofold.records import InputError, Request
from twofold.studies.study import study
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import resolve_config
from twofold.training.train import train

TEXTS = [f"{word} {number}" for word in ("film", "robot", "wedding") for number in range(200)]


@pytest.fixture
def counted(
    sentence_encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[str]:
    """The texts that the encoder's model computes, with an empty cache on disk."""
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    computed: list[str] = []
    encode = sentence_encoder.model.encode

    def count(texts: Sequence[str], **settings: Any) -> Any:
        computed.extend(texts)
        return encode(texts, **settings)

    monkeypatch.setattr(sentence_encoder.model, "encode", count)
    return computed


def _another_process(encoder: SentenceEncoder) -> SentenceEncoder:
    """The same encoder with nothing in memory."""
    return SentenceEncoder(encoder.name, encoder.model, is_fixed=True)


def test_texts_are_encoded_once_by_all_processes(
    sentence_encoder: SentenceEncoder, counted: list[str]
) -> None:
    first = _another_process(sentence_encoder).encode([*TEXTS, "", *TEXTS[:3]])
    assert sorted(counted) == sorted(TEXTS)
    counted.clear()
    again = _another_process(sentence_encoder).encode([*TEXTS, "", *TEXTS[:3]])
    assert not counted
    assert again.tobytes() == first.tobytes()
    directly = _another_process(sentence_encoder).model.encode(TEXTS, normalize_embeddings=True)
    assert first[: len(TEXTS)] == pytest.approx(directly, abs=1e-5)


def test_an_interrupted_encoding_continues(
    sentence_encoder: SentenceEncoder, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence, "_BETWEEN_LINES", 0.0)
    encode, calls = sentence_encoder.model.encode, iter([True, False])

    def interrupted(texts: Sequence[str], **settings: Any) -> Any:
        if not next(calls):
            raise KeyboardInterrupt
        return encode(texts, **settings)

    monkeypatch.setattr(sentence_encoder.model, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _another_process(sentence_encoder).encode(TEXTS)
    monkeypatch.setattr(sentence_encoder.model, "encode", encode)
    _another_process(sentence_encoder).encode(TEXTS)
    assert sorted(counted) == sorted(TEXTS)


@pytest.mark.usefixtures("counted")
def test_queries_of_a_few_requests_and_changing_weights_are_not_cached(
    sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    _another_process(sentence_encoder).encode(TEXTS[:20])
    SentenceEncoder(sentence_encoder.name, sentence_encoder.model).encode(TEXTS)
    assert not list(tmp_path.rglob("*.parquet"))


def test_another_encoder_has_embeddings_of_its_own(
    sentence_encoder: SentenceEncoder, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _another_process(sentence_encoder).encode(TEXTS)
    counted.clear()
    monkeypatch.setattr(sentence_encoder.model, "max_seq_length", 2)
    _another_process(sentence_encoder).encode(TEXTS)
    assert sorted(counted) == sorted(TEXTS)


@pytest.mark.usefixtures("counted")
def test_progress_is_logged_with_the_time_left(
    sentence_encoder: SentenceEncoder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sentence, "_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO)
    _another_process(sentence_encoder).encode(TEXTS)
    told = [
        re.search(r": (\d+) of 600 texts, \d+:\d\d:\d\d left$", line) for line in caplog.messages
    ]
    assert [int(line[1]) for line in told if line] == [*range(64, 600, 64), 600]


def test_texts_are_encoded_ahead_for_a_sentence_encoder_alone(
    sentence_encoder: SentenceEncoder, counted: list[str], tmp_path: Path
) -> None:
    for name in ("none", "auto", "tfidf"):
        encode_ahead(name, TEXTS)
    assert not counted
    SentenceEncoder.load.cache_clear()
    encode_ahead(f"tfidf+{sentence_encoder.name}", TEXTS)
    _another_process(sentence_encoder).encode(TEXTS)
    assert not counted
    assert list(tmp_path.rglob("*.parquet"))


@pytest.mark.usefixtures("counted")
def test_a_folder_that_cannot_be_written_is_told_once(
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    vectors = _another_process(sentence_encoder).encode(TEXTS)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert len([line for line in caplog.messages if "not cached" in line]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_on_a_full_disk_texts_are_encoded_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = pl.DataFrame.write_parquet

    def fill(frame: pl.DataFrame, path: Path, **options: Any) -> None:
        path.write_bytes(b"a part")
        write(frame, "/dev/full", **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fill)
    cache = EmbeddingCache(tmp_path / "encoder", 2)
    for text in ("a", "b"):
        cache.write({text: np.ones(2, np.float32)})
    assert [line for line in caplog.messages if "No space left" in line] == caplog.messages
    assert len(caplog.messages) == 1
    assert not list(cache.folder.iterdir())


def test_a_broken_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "encoder", 2)
    cache.write({"a": np.ones(2, np.float32)})
    (file,) = cache.folder.iterdir()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(InputError, match="delete the folder"):
        EmbeddingCache(tmp_path / "encoder", 2).read(["a"])


def test_a_study_encodes_all_texts_before_its_trainings(
    catalog: PreparedDataset,
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(_name: str, texts: Sequence[str]) -> None:
        raise InputError(f"{len(set(texts))} texts")

    config = resolve_config("quick", text_encoder=sentence_encoder.name)
    monkeypatch.setattr("twofold.studies.study.encode_ahead", stop)
    known = {*catalog.catalog.texts, *catalog.queries["text"]}
    with pytest.raises(InputError, match=f"^{len(known)} texts$"):
        study(catalog, out=tmp_path / "study", config=config, workers=1, threads=1)


def test_an_evaluation_encodes_its_queries_at_once(
    catalog: PreparedDataset, sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    settings = ("hybrid=none", "max_steps=2", "backbone=decoder:tiny")
    config = resolve_config("quick", settings=settings, text_encoder=sentence_encoder.name)
    model = train(catalog, "search", out=tmp_path / "model", config=config, device="cpu")
    requests = [Request(text, query=text) for text in (f"another {text}" for text in TEXTS)]
    calls: list[int] = []
    sentence = sentence_encoder_of(model.model.vocabulary.encoder)
    assert sentence is not None
    compute = sentence.model.encode

    def count(texts: Sequence[str], **options: Any) -> Any:
        calls.append(len(texts))
        return compute(texts, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentence.model, "encode", count)
        for shard in model.shards(requests, 10, 64):
            model.retrieve(shard, 10)
    assert calls == [64] * 9 + [24]
