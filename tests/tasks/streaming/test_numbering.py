"""Texts are numbered in the order in which they come, by hashes that are never taken for texts."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.tasks.streaming import numbering
from twofold.tasks.streaming.files import NotStreamableError
from twofold.tasks.streaming.numbering import DifferentTexts, Digests, Numbering

TEXTS = st.lists(st.text(max_size=2), min_size=1, max_size=20)


def _column(texts: list[str]) -> pl.Series:
    return pl.Series("text", texts, dtype=pl.String)


@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_numbers_are_those_of_a_dictionary(parts: list[list[str]], asked: list[str]) -> None:
    made, known = Numbering("text"), {}  # type: ignore[var-annotated]
    for part in parts:
        expected = [known.setdefault(text, len(known)) for text in part]
        assert made.add(_column(part)).tolist() == expected
    assert made.texts.to_list() == list(known)
    found = made.find(pl.Series([*asked, None], dtype=pl.String)).tolist()
    assert found == [*(known.get(text, -1) for text in asked), -1]


@given(TEXTS)
def test_each_text_finds_the_first_that_equals_it(texts: list[str]) -> None:
    half = len(texts) // 2
    parts = [Digests.of(_column(part)) for part in (texts[:half], texts[half:])]
    first = Digests.joined(parts).first_equal().tolist()
    assert first == [texts.index(text) for text in texts]


@given(st.lists(st.text(max_size=3), min_size=1, max_size=20, unique=True))
def test_different_texts_are_found(texts: list[str]) -> None:
    known = DifferentTexts(Digests.of(_column(texts)))
    order = np.random.default_rng(0).permutation(len(texts))
    assert known.find(_column(texts).gather(order)).tolist() == order.tolist()
    with pytest.raises(NotStreamableError):
        known.find(_column(["another text"]))


def test_a_text_that_stands_twice_is_seen() -> None:
    with pytest.raises(NotStreamableError):
        DifferentTexts(Digests.of(_column(["a", "b", "a"])))


def test_texts_with_the_same_hash_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_length(texts: pl.Series, seed: int = 0) -> numbering.Hashes:
        return (
            texts.hash(seed).to_numpy()
            if seed
            else texts.str.len_chars().cast(pl.UInt64).to_numpy()
        )

    monkeypatch.setattr(numbering, "_hash", by_length)
    made = Numbering("text")
    assert made.add(_column(["a", "bb", "a"])).tolist() == [0, 1, 0]
    with pytest.raises(NotStreamableError):
        made.add(_column(["c"]))
    with pytest.raises(NotStreamableError):
        made.find(_column(["c"]))
    with pytest.raises(NotStreamableError):
        Digests.of(_column(["a", "c"])).first_equal()
    with pytest.raises(NotStreamableError):
        DifferentTexts(Digests.of(_column(["a", "bb"]))).find(_column(["c"]))
