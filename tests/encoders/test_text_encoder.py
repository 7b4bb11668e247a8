"""Text encoders: what every encoder promises, and what a model folder remembers."""

import json
from pathlib import Path

import numpy as np
import pytest

from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.text_encoder import load_encoder, resolve_encoder
from twofold.encoders.vectors import TextEncoder
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
    resolved = resolve_encoder(names[request.param], catalog.catalog.texts, asked)
    assert resolved is not None
    return resolved


def test_vectors_have_unit_length_and_do_not_depend_on_other_texts(encoder: TextEncoder) -> None:
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
    loaded = load_encoder(tmp_path)
    assert loaded is not None
    assert loaded.encode(TEXTS) == pytest.approx(encoder.encode(TEXTS), abs=1e-6)


def test_a_folder_without_an_encoder_has_none(tmp_path: Path) -> None:
    assert load_encoder(tmp_path) is None


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
    assert resolve_encoder("auto", ["", ""], []) is None
    assert resolve_encoder("auto", ["", ""], ["a query"]) is not None
    assert resolve_encoder("auto", ["Alpha", ""], []) is None
    with pytest.raises(InputError, match="fewer than two words"):
        resolve_encoder("tfidf", ["", ""], ["query"])
