"""Word tokenisation in any language, for matching and for the equality of queries.

Invariant: equal texts in different Unicode forms have equal words, and a text with a visible
character has a word. There is no list of stop words: the weight of a word depends on its document
frequency.

Scripts without spaces are split into overlapping groups of characters, as by Lucene's CJK analyzer,
so a part of a sentence matches the sentence without a dictionary.
"""

import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from itertools import pairwise
from unicodedata import normalize

import regex

IGNORED = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # invisible
    "\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufe00-\ufe0f\U000e0000-\U000e007f\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff"  # variants
    "\u0640\u064b-\u0652\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # vowel points
)
"""Characters, for a regular expression, that are ignored: invisible ones, emoji variation
selectors, and the vowel points of Arabic and Hebrew, which few people type. A zero-width space is
one of them: it is pasted into words, or shows where a line may break.
"""
ACCENTS = r"(?<=[\p{Latin}\p{Greek}])\p{Mn}+"
"""The accents of Latin and Greek letters in decomposed text (NFD), for a regular expression. They
are ignored, since many people type without them, and Greek capitals have none. In other scripts a
mark makes another letter.
"""
LETTERS = {
    "ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th",
    "ё": "е", "ß": "ss", "ς": "σ",
    "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه",
}  # fmt: skip
"""Letters that are typed for one another, in lower case."""

_SPELLINGS = {
    "เเ": "แ", "ເເ": "ແ",
    "ൺ": "ണ്", "ൻ": "ന്", "ർ": "ര്", "ൽ": "ല്", "ൾ": "ള്", "ൿ": "ക്", "ৎ": "ত্",
}  # fmt: skip
"""Spellings of the same word: two signs that look like one, in Thai and Lao; letters that older
texts write as two, in Malayalam and Bengali.
"""

SEEN = "[^\\s\\p{Cc}\\p{Cf}\\p{Z}\u034f\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0]"
"""A visible character, as a regular expression for both `regex` and polars."""

_SEEN = regex.compile(SEEN)
_IGNORED = regex.compile(f"[{IGNORED}]")
_ACCENTS = regex.compile(ACCENTS)
_SAME = LETTERS | _SPELLINGS
_SPELLED = regex.compile("|".join(_SAME))
_NO_WORD = str.maketrans(dict.fromkeys("™℠®©\u3164\uffa0", " "))
"""Characters that separate words: two of them are blanks that count as letters in Unicode."""
_MODIFIERS = "ʻʽʾʿ"
"""Letters of Hawaiian and of transliterations, for which people type an apostrophe or nothing."""
_APOSTROPHES = str.maketrans(dict.fromkeys(f"’‘ʼ´`＇{_MODIFIERS}", "'"))
_DIGIT = regex.compile(r"(?V1)[\p{Nd}--[0-9]]")

_LETTER = r"[\p{L}\p{M}\p{N}]"
_HAN = r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Yi}]"
_THAI = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}]"
_SPACED = rf"[{_LETTER}--{_HAN}--{_THAI}]"
_TOKEN = regex.compile(
    rf"""(?V1x)
    (?P<unspaced>[{_LETTER}&&{_HAN}]+|[{_LETTER}&&{_THAI}]+)
    |(?P<spaced>(?<![{_SPACED}])\p{{L}}(?:\+\+|\#)  # c++11 and c# 9
        |{_SPACED}+(?:[+#]+(?!{_LETTER}))?)
    |(?P<symbol>\p{{RI}}{{2}}|[\p{{So}}\p{{Sc}}--[|]])
    |(?P<signs>(?<!\S)[\p{{P}}\p{{S}}]+(?!\S))"""
)
_ASCII_TOKEN = re.compile(
    r"""(?x)
    (?P<spaced>(?<![a-z0-9])[a-z](?:\+\+|\#)|[a-z0-9]+(?:[+#]+(?![a-z0-9]))?)
    |(?P<symbol>\$)
    |(?P<signs>(?<!\S)[!-/:-@\[-`{-~]+(?!\S))"""
)
"""`_TOKEN` for ASCII text, five times as fast."""
_BETWEEN_WORDS = regex.compile(r"[-–—−.·•*=_~|/&,;:\"'()\[\]{}]+")
"""Punctuation that separates words, and is a word only if the text has nothing else."""
_BETWEEN = regex.compile(rf"(?V1)(?<=[{_HAN}{_THAI}])\s+(?=[{_HAN}{_THAI}])")
_HANGUL = regex.compile(r"\p{Hangul}{3,}")
_CHARACTER = regex.compile(r"[\u0e40-\u0e44\u0ec0-\u0ec4]?\X[\p{M}\u0e30\u0e32\u0e45\u0eb0\u0eb2]*")
"""A character with its marks and, in Thai and Lao, with the vowels written before and after it."""
_VISIBLE = regex.compile(r"[\p{L}\p{N}]")
_QUOTES = "\"'“”„‟«»「」"
_DOT = regex.compile(r"(?<![^\s(])\.(?=\p{L})")

_JOINT = "[-‐.'&·•*]"
_COMPOUND = regex.compile(
    rf"""(?V1x)(?<!{_SPACED}{_JOINT}?)(?:
    {_SPACED}+(?:{_JOINT}{_SPACED}+){{1,3}}(?!{_JOINT}?{_SPACED})
    |{_SPACED}{{1,4}}/{_SPACED}{{1,4}}(?!{_JOINT}?{_SPACED}|/))"""
)
"""Words that a sign without spaces joins, such as `wi-fi`. A slash often stands between two words,
so it joins short ones alone, such as `ac/dc`."""
_BETWEEN_PARTS = regex.compile("[-‐.'&·•*/]")

_SHORT = regex.compile(r"(?<=\p{L})'(?=(?:t|d|m|re|ve|ll)(?!['\p{L}]))")
_OWN = regex.compile(r"(?<=\p{L})'s(?!['\p{L}\p{N}])")
_INITIALS = regex.compile(r"(?<![\p{L}\p{M}\p{N}])(?:\p{L}\.){2,}(?!\p{L}\p{L})\p{L}?")


NGRAM = "#"
"""The first character of an n-gram; no word begins with it."""
_NGRAM = 4
"""The number of characters of an n-gram. With words and 4-grams, BM25 is better than with words and
prefixes of five characters, or with either alone (docs/project/log)."""


def fold(text: str) -> str:
    """One form of a text: NFKC in lower case, without accents, with one apostrophe and digit."""
    if text.isascii():
        return text.casefold().replace("`", "'")
    text = normalize("NFKC", text.translate(_NO_WORD).translate(_APOSTROPHES))
    text = _IGNORED.sub("", normalize("NFKC", text.casefold()))
    text = normalize("NFC", _ACCENTS.sub("", normalize("NFD", text)))
    text = _SPELLED.sub(lambda match: _SAME[match[0]], text)
    # `regex` may have digits of a later Unicode version than Python: they stay unchanged.
    return str(_DIGIT.sub(lambda match: str(unicodedata.digit(match[0], match[0])), text))


def words(text: str) -> list[str]:
    """The words of a text in order, for matching: `"Don't learn C++!"` -> `dont learn c++`.

    Unicode forms, case, accents, possessives, and letters that are typed for one another make no
    difference. `l'homme` is two words, `U.S.A.` is one, an emoji is one. Scripts without spaces are
    split into characters with their vowels and marks, each of them twice, and into pairs. A Korean
    word is kept whole and also split into pairs.
    """
    folded = _without_endings(fold(text))
    pieces = [word for token in _tokens(folded) for word in _parts(token)]
    return pieces or _signs(folded)


def compounds(text: str) -> list[tuple[str, ...]]:
    """The parts of each compound of a text: `"Wi-Fi in AC/DC's van"` -> `("wi", "fi")` and `("ac",
    "dc")`.

    Many people type a compound as one word. 3.5 is none, since 35 is another number.
    """
    folded = _without_endings(fold(text))
    if not _BETWEEN_PARTS.search(folded):
        return []
    every = (tuple(_BETWEEN_PARTS.split(each)) for each in _COMPOUND.findall(folded))
    return [
        parts
        for parts in every
        if not any(one[-1].isdigit() and two[0].isdigit() for one, two in pairwise(parts))
    ]


def _without_endings(folded: str) -> str:
    """A folded text with `dont` for `don't`, without possessives, and with `usa` for `u.s.a.`."""
    if "'" in folded:
        folded = _OWN.sub("", _SHORT.sub("", folded))
    if "." in folded:
        folded = _INITIALS.sub(lambda match: match[0].replace(".", ""), folded)
    return folded


def ngrams(word: str) -> list[str]:
    """The groups of four characters of a word with its borders, marked: `rocks` -> `#_roc #rock
    #ocks #cks_`.

    Other forms of a word, compounds and misspellings share some of them. A word of one or two
    characters has none, and no n-gram equals a word.
    """
    if len(word) < _NGRAM - 1:
        return []
    bordered = f"_{word}_"
    return [f"{NGRAM}{bordered[n : n + _NGRAM]}" for n in range(len(bordered) - _NGRAM + 1)]


def terms(text: str, *, with_ngrams: bool) -> list[str]:
    """The words of a text and, with `with_ngrams`, the n-grams of each after them."""
    whole = words(text)
    return [*whole, *(ngram for word in whole for ngram in ngrams(word))] if with_ngrams else whole


def document_terms(text: str, *, with_ngrams: bool) -> list[str]:
    """The terms of a document: those of `terms` and its compounds in one word, `wifi` for `Wi-Fi`.

    Those of a query are `terms` and `joined`.
    """
    return [*terms(text, with_ngrams=with_ngrams), *map("".join, compounds(text))]


def joined(query: str, known: Container[str]) -> list[str]:
    """The known compounds of a query that have an unknown part. The others match as words.

    Args:
        query: the query.
        known: the terms of the documents, made by `document_terms`.
    """
    every = ((parts, "".join(parts)) for parts in compounds(query))
    return [
        word for parts, word in every if word in known and not all(part in known for part in parts)
    ]


def query_key(text: str) -> str:
    """A key that is equal for equal queries: `"Space-Operas!"` -> `"space opera"`.

    Case, accents, punctuation, plural and spaces in Chinese make no difference; `c`, `c++` and `c#`
    differ, and a query without any word equals only itself.
    """
    folded = _BETWEEN.sub("", fold(text).replace("'", ""))
    marked = _DOT.sub("\ue000", folded)  # the dot of .net
    kept = [token for token in _tokens(marked) if token.lastgroup != "signs"]
    singulars = [
        ("." if marked[token.start() - 1 : token.start()] == "\ue000" else "") + _singular(token[0])
        for token in kept
    ]
    return " ".join(singulars or _signs(folded)) or text.strip()


def _signs(text: str) -> list[str]:
    """The pieces of a text without any word, without quotation marks around them: a quoted `"!!!"`
    equals `!!!`.
    """
    return [piece.strip(_QUOTES) or piece for piece in text.split()]


def is_blank(text: str) -> bool:
    """Whether a text has only whitespace and invisible characters."""
    return _SEEN.search(text) is None


def has_word(text: str) -> bool:
    """Whether a text has a letter or a digit."""
    return _VISIBLE.search(text) is not None


def _tokens(folded: str) -> "Iterator[regex.Match[str]] | Iterator[re.Match[str]]":
    return (_ASCII_TOKEN if folded.isascii() else _TOKEN).finditer(folded)


def _parts(token: "regex.Match[str] | re.Match[str]") -> Iterator[str]:
    """The words of one token of a text."""
    text, kind = token[0], token.lastgroup
    if kind == "spaced" and text.isascii() and text[-1].isalnum():
        yield text
    elif kind == "unspaced":
        characters = _CHARACTER.findall(text)
        # A character counts twice, since a pair may span two words.
        yield from characters * 2
        yield from map("".join, pairwise(characters))
    elif kind == "signs":
        if not _BETWEEN_WORDS.fullmatch(text):
            yield from _signs(text)
    else:
        yield text
        plain = text.rstrip("+#")
        if kind == "spaced" and 1 < len(plain) < len(text):
            yield plain
        for run in _HANGUL.findall(text):
            yield from map("".join, pairwise(run))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


RULE = 5
"""The version of these rules, which model folders store: raise it with every change of them."""


def reads_alike(rule: int, known: Iterable[str]) -> bool:
    """Whether an earlier rule splits texts as this one does, where `known` are a model's words.

    Rule 4 took the modifier letters for letters, and differs in no other text.
    """
    return rule == RULE or (rule == 4 and set(_MODIFIERS).isdisjoint(set().union(*known)))
