"""TF-IDF weights and their SVD."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from twofold.encoders.tfidf import TfidfEncoder
from twofold.tasks.prepared import PreparedDataset


def test_a_text_of_unknown_words_has_a_zero_vector(catalog: PreparedDataset) -> None:
    encoder = TfidfEncoder.fit(catalog.catalog.texts)
    assert not encoder.encode(["zzzz qqqq"]).any()


WORDS = ("robot", "Robots", "in", "love", "a", "İstanbul", "straße", "r2", "d2-x", "_", "é\u0301t")


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=5))
def test_words_are_weighed_as_scikit_learn_does(texts: list[str]) -> None:
    known = ["robot robots love", "robot r2 d2 straße", "love istanbul İstanbul", "r2 robots love"]
    reference = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
    reference.fit([*known, *known])
    encoder = TfidfEncoder.fit([*known, *known])
    expected = normalize(reference.transform([*texts, "x"]) @ encoder._by_word)
    np.testing.assert_allclose(encoder.encode([*texts, "x"]), expected, atol=1e-6)
