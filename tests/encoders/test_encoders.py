"""Text encoders: what a vector promises, what a model folder remembers, what tuning changes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.text_encoder import TextEncoder, load_encoder, resolve_encoder
from twofold.encoders.tfidf import TfidfEncoder
from twofold.encoders.tuning import TuningConfig, tune_encoder
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset

TEXTS = ["dark western film", "robots in love", "a wedding", "dark robots"]


@pytest.fixture(params=["tfidf", "sentence", "both"])
def encoder(
    request: pytest.FixtureRequest, catalog: PreparedDataset, sentence_encoder: SentenceEncoder
) -> TextEncoder:
    names = {"tfidf": "tfidf", "sentence": sentence_encoder.name}
    names["both"] = f"tfidf+{sentence_encoder.name}"
    asked = catalog.queries["text"].to_list()
    found = resolve_encoder(names[request.param], catalog.catalog.texts, asked)
    assert found is not None
    return found


def test_vectors_are_of_unit_length_and_the_same_in_any_company(encoder: TextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, encoder.width)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert alone == pytest.approx(vectors, abs=1e-5)
    assert not encoder.encode([""]).any()
    assert encoder.encode([]).shape == (0, encoder.width)


def test_a_model_folder_remembers_its_encoder(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    found = load_encoder(tmp_path)
    assert found is not None
    assert found.encode(TEXTS) == pytest.approx(encoder.encode(TEXTS), abs=1e-6)


def test_a_folder_without_an_encoder_has_none(tmp_path: Path) -> None:
    assert load_encoder(tmp_path) is None


def test_unknown_words_say_nothing(catalog: PreparedDataset) -> None:
    encoder = TfidfEncoder.fit(catalog.catalog.texts)
    assert not encoder.encode(["zzzz qqqq"]).any()


def test_another_encoder_at_the_same_place_is_refused(
    sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    sentence_encoder.save(tmp_path)
    path = sentence_encoder.path_in(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0"}))
    with pytest.raises(InputError, match="another text encoder"):
        load_encoder(tmp_path)


def test_an_encoder_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="encoder 'nobody/nothing'"):
        resolve_encoder("nobody/nothing", TEXTS, [])


def test_without_words_auto_has_no_encoder_and_tfidf_says_why() -> None:
    assert resolve_encoder("auto", ["", ""], ["a query"]) is None
    assert resolve_encoder("auto", ["Alpha", "Beta"], []) is None
    with pytest.raises(InputError, match="fewer than two words"):
        resolve_encoder("tfidf", ["", ""], ["query"])


def test_tuning_brings_queries_near_their_answers(
    catalog: PreparedDataset, sentence_encoder: SentenceEncoder, tmp_path: Path
) -> None:

    examples = catalog.task("search").examples
    texts = catalog.catalog.texts

    def nearness(encoder: SentenceEncoder) -> float:
        items = encoder.encode(texts)
        queries = encoder.encode([example.query or "" for example in examples])
        scores = queries @ items.T
        right = [scores[n, e.targets].mean() for n, e in enumerate(examples)]
        return float(np.mean(right) - scores.mean())

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


WORDS = ("robot", "Robots", "in", "love", "a", "İstanbul", "straße", "r2", "d2-x", "_", "é\u0301t")


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=5))
def test_words_are_weighed_as_scikit_learn_does(texts: list[str]) -> None:
    known = ["robot robots love", "robot r2 d2 straße", "love istanbul İstanbul", "r2 robots love"]
    reference = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
    reference.fit([*known, *known])
    encoder = TfidfEncoder.fit([*known, *known])
    expected = normalize(reference.transform([*texts, "x"]) @ encoder._by_word)
    np.testing.assert_allclose(encoder.encode([*texts, "x"]), expected, atol=1e-6)
