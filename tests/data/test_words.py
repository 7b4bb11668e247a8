"""What a word is, in any language, and which queries count as the same."""

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import strip_accents_unicode

from twofold.data import words as module
from twofold.data.words import (
    SEEN,
    compounds,
    fold,
    has_word,
    is_blank,
    ngrams,
    query_key,
    terms,
    words,
)

SAMPLES = [
    "Space-Operas about the İstanbul of 1969!", "कुर्सी मेज", "红色台灯", "赤いランプ", "빨간 의자",
    "أحمر كرسي", "น้ำเงิน", "Straße café", "C++ c#", "🤖 robots", "зелёный лён", "ﷺ", "x²",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Space-Operas!", "space opera"),
        ("  MOVIES   about  cities ", "movy about city"),
        ("boss, bus & his kiss", "boss bus his kiss"),
        ("Tim Burton's", "tim burton"),
        ("don't", "dont"),
        ("İstanbul", "istanbul"),
        ("ISPARTA ılıca", "isparta ilica"),
        ("红色 台灯", "红色台灯"),
        ("!!!", "!!!"),
        (" ?? ", "??"),
        ("🤖", "🤖"),
        ("", ""),
    ],
)
def test_case_punctuation_and_plural_make_no_difference(text: str, key: str) -> None:
    assert query_key(text) == key


@pytest.mark.parametrize(
    "queries",
    [
        ("दिन", "दीन", "दान", "देन", "दाना", "धन"),
        ("ปู", "ปี", "ปา", "ป่า", "ป้า"),
        ("c", "c++", "c#", "f#"),
        ("net", ".net"),
        ("!!!", "???", "🤖", "🎃", "♥"),
        ("红", "红色", "色红"),
        ("عرب", "عربي"),
    ],
)
def test_different_queries_have_different_keys(queries: tuple[str, ...]) -> None:
    assert len(set(map(query_key, queries))) == len(queries)


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_unicode_forms_have_the_same_words(text: str, form: str) -> None:
    other = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    assert words(other) == words(text)
    assert query_key(other) == query_key(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fire and the system of a bill", "fire and the system of a bill"),
        ("It, Her, M, Up", "it her m up"),
        ("Don't learn C++!", "dont learn c++"),
        ("C++11 or C#", "c++ 11 or c#"),
        ("notepad++", "notepad++ notepad"),
        ("Burton's l'homme", "burton l homme"),
        ("E.T. in the U.S.A.", "et in the usa"),
        ("J.R.R. Tolkien", "jrr tolkien"),
        ("Straße STRASSE", "strasse strasse"),
        ("Beyoncé, Sigur Rós: Ágætis byrjun", "beyonce sigur ros agaetis byrjun"),
        ("Łódź SØREN Cœur ǿ", "lodz soren coeur o"),
        ("мой Киёв й कि", "мой киев й कि"),
        ("зелёный", "зеленый"),
        ("ISTANBUL İstanbul ılık", "istanbul istanbul ilik"),
        ("اَحْمَر أحمر", "احمر احمر"),
        ("٢٠٠٣ ２００３", "2003 2003"),
        ("क्\u200dष कुर्सी", "क्ष कुर्सी"),
        ("Foo™ bar\u00adbaz", "foo barbaz"),
        ("la\u200bmp oa\u034fk แ\u200bดง", "lamp oak แด ง แด ง แดง"),
        ("oak\u3164lamp", "oak lamp"),
        ("红色灯", "红 色 灯 红 色 灯 红色 色灯"),
        ("iPhone手机", "iphone 手 机 手 机 手机"),
        ("빨간램프", "빨간램프 빨간 간램 램프"),
        ("แดง", "แด ง แด ง แดง"),
        ("I ♥ 🇩🇪 👍🏽", "i ♥ 🇩🇪 👍"),
        ("!!! live - at 5$", "!!! live at 5 $"),
        ("-", "-"),
    ],
)
def test_words_of_a_text(text: str, expected: str) -> None:
    assert words(text) == expected.split()


@pytest.mark.parametrize("whole", ["红色橡木台灯", "赤いガラスのランプ", "โคมไฟไม้สีแดง"])
def test_a_part_of_a_text_without_spaces_shares_its_words(whole: str) -> None:
    assert set(words(whole[3:8])) <= set(words(whole))


@given(st.text(max_size=20))
def test_any_text_has_words_and_a_key(text: str) -> None:
    assert all(words(text))
    assert not any(" " in word for word in words(text))
    assert query_key(text) == query_key(text.strip())
    if has_word(text):
        assert words(text)
        assert query_key(text)


@given(st.text(max_size=20))
def test_terms_are_words_and_their_ngrams_which_are_no_words(text: str) -> None:
    found = terms(text, with_ngrams=True)
    assert found[: len(words(text))] == words(text) == terms(text, with_ngrams=False)
    assert not any(term[0] == "#" and len(term) == 5 for term in words(text))
    assert all(term[0] == "#" and len(term) == 5 for term in found[len(words(text)) :])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wi-Fi and AC/DC's X‑Men", ["wi fi", "ac dc", "x men"]),
        ("Sinéad O’Connor, WALL·E, R&B", ["o connor", "wall e", "r b"]),
        ("XR-200 or WH-1000XM4", ["xr 200", "wh 1000xm4"]),
        ("Action/Adventure/Sci-Fi", ["sci fi"]),
        ("M*A*S*H by node.js", ["m a s h", "node js"]),
        ("3.5mm, 2020-01-02, 9/11, 24/7", []),
        ("a-b-c-d-e, - x -, don't, U.S.A., c#/c++", []),
        ("日本-中国", []),
    ],
)
def test_words_that_signs_join_are_compounds(text: str, expected: list[str]) -> None:
    assert [" ".join(parts) for parts in compounds(text)] == expected


@given(st.text("aB1-'./& é", max_size=20))
def test_the_parts_of_compounds_are_words(text: str) -> None:
    assert {part for parts in compounds(text) for part in parts} <= set(words(text))


def test_ngrams_of_a_word() -> None:
    assert ngrams("rocks") == ["#_roc", "#rock", "#ocks", "#cks_"]
    assert ngrams("u2") == []


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_text_of_ascii_alone_has_the_same_tokens(text: str) -> None:
    folded = text.casefold()
    quick, whole = (
        [(token.lastgroup, token[0]) for token in pattern.finditer(folded)]
        for pattern in (module._ASCII_TOKEN, module._TOKEN)
    )
    assert quick == whole


def test_whether_a_text_has_a_word() -> None:
    assert all(map(has_word, SAMPLES))
    assert not any(map(has_word, ["", " ", "!!!", "🤖", "\u200b", "(-)"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Αθήνα μαΐου", "ΑΘΗΝΑ ΜΑΙΟΥ"),
        ("แดง", "เเดง"),
        ("ແດງ", "ເເດງ"),
        ("അവൻ", "അവന്\u200d"),
        ("উৎসব", "উত্\u200dসব"),
        ("hòa thủy khỏe", "hoà thuỷ khoẻ"),
        ("Phở bò Đà Nẵng", "pho bo da nang"),
        ("Mötley Crüe", "MOTLEY CRUE"),
        ("Hawaiʻi Oʻahu", "hawai'i o’ahu"),
        ("Qurʾan ʿAlī Saʿdī", "qur'an ali sa’di"),
    ],
)
def test_two_spellings_have_the_same_words(one: str, other: str) -> None:
    assert words(other) == words(one)
    assert query_key(other) == query_key(one)


@given(
    st.text(
        st.characters(max_codepoint=0x17F, categories=("Ll", "Lu"), exclude_characters="ŉ"),
        min_size=1,
    )
)
def test_accents_of_latin_letters_are_those_of_scikit_learn(text: str) -> None:
    assert fold(text) == fold(strip_accents_unicode(text))


def test_an_invisible_character_does_not_split_a_word() -> None:
    assert words("La\u200bmp oa\u034fk\u3164") == ["lamp", "oak"]
    assert query_key("La\u200bmps!") == "lamp"


def test_a_digit_of_a_later_unicode_is_a_word() -> None:
    assert words("room \U0001e4f1")[1:] == ["\U0001e4f1"]
    assert query_key("room \U0001e4f1") != query_key("room \U0001e4f2")


@pytest.mark.parametrize(
    "text", ["", " ", "\u200b", "\ufeff\u2060", "\u3164 \u00a0", "\u00ad\u200d"]
)
def test_a_text_in_which_nothing_can_be_seen_is_blank(text: str) -> None:
    assert is_blank(text)


@given(st.text())
def test_a_text_with_a_letter_is_not_blank_and_polars_says_the_same(text: str) -> None:
    assert not is_blank(text + "a")
    assert is_blank(text) is not pl.Series([text]).str.contains(SEEN)[0]


@pytest.mark.parametrize("sign", ["!!!", "🍎", "???"])
def test_quotation_marks_around_signs_are_not_part_of_them(sign: str) -> None:
    assert words(f'"{sign}"') == words(sign) == words(f"«{sign}»")
    assert query_key(f'"{sign}"') == query_key(sign)
    assert words('"') == ['"']
