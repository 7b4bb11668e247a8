"""TF-IDF weights and their SVD."""

import math

import numpy as np
import pytest

from twofold.encoders.tfidf import TfidfEncoder, Words
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset

TEXTS = ["robots in love", "robots at war", "a robot in the war", "It", "love, love and C++"]


def test_a_text_of_unknown_words_has_a_zero_vector(catalog: PreparedDataset) -> None:
    encoder = TfidfEncoder.fit(catalog.catalog.texts)
    assert not encoder.encode(["zzzz qqqq"]).any()
    assert encoder.words.has_known_word("zzzz") is False


def test_weights_are_those_of_the_formula() -> None:
    words = Words.fit(TEXTS)
    row = words.weigh(["love love war it"]).toarray()[0]
    holding = {"love": 2, "war": 2, "it": 1}
    idf = {word: 1 + math.log(6 / (count + 1)) for word, count in holding.items()}
    expected = idf | {"love": (1 + math.log(2)) * idf["love"]}
    length = math.sqrt(sum(weight**2 for weight in expected.values()))
    for word, weight in expected.items():
        assert row[words.words.index(word)] == pytest.approx(weight / length, rel=1e-5)


def test_words_of_most_texts_keep_a_small_weight() -> None:
    words = Words.fit([f"a {word} film" for word in ("red", "blue", "red")])
    assert dict(zip(words.words, words.idf.round(2).tolist(), strict=True)) == pytest.approx(
        {"a": 0.1, "film": 0.1, "red": 0.1, "blue": 1.69}
    )


def test_rare_words_count_more_in_long_texts_alone() -> None:
    names = [f"w{n}" for n in range(40)]
    words = Words.fit([*names, *names[1:20]])
    short, long = " ".join(names[:10]), " ".join(names[:40])
    for text, more in ((short, False), (long, True)):
        plain, sentence = words.weigh([text]), words.weigh([text], sentences=True)
        rare, common = words.words.index("w0"), words.words.index("w1")
        ratios = [row[0, rare] / row[0, common] for row in (plain, sentence)]
        assert ratios[1] == pytest.approx(ratios[0] ** (2 if more else 1), rel=1e-5)


def test_no_word_is_lost() -> None:
    words = Words.fit(TEXTS)
    for text in ("it", "IT", "a", "the", "c++", "at"):
        assert words.has_known_word(text)
        assert words.weigh([text]).nnz == 1


def test_words_of_one_text_are_left_out_of_too_large_vocabularies() -> None:
    assert Words.fit(TEXTS, most=3).words == ["in", "love", "robots", "war"]


def test_one_word_alone_makes_no_axis() -> None:
    for texts in ([], ["", " "], ["one"]):
        with pytest.raises(InputError, match="fewer than two words"):
            TfidfEncoder.fit(texts)


def test_words_of_another_rule_are_refused() -> None:
    with pytest.raises(InputError, match="rule 9"):
        Words(["a"], np.ones(1, np.float32), 9)
    with pytest.raises(InputError, match="rule 4"):
        Words(["a", "hawaiʻi"], np.ones(2, np.float32), 4)
    assert Words(["a", "hawai"], np.ones(2, np.float32), 4).has_known_word("a")
