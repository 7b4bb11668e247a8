"""What a word is, in any language: for matching, and for saying that two queries are the same.

Invariant: equal texts in different Unicode forms have equal words, and a text with anything visible
in it has a word. There is no list of words to ignore: how rare a word is says how much it counts.

Scripts without spaces are cut into overlapping groups of characters, as Lucene's CJK analyzer does;
so a part of a sentence finds the sentence without a dictionary.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import regex

IGNORED = (
    "\u00ad\u061c\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"  # invisible
    "\ufe00-\ufe0f\U000e0000-\U000e007f\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff"  # variants
    "\u0640\u064b-\u0652\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # vowel points
)
"""Characters, as in brackets of a regular expression, that make no difference: invisible ones,
variants of emoji, and the vowel points of Arabic and Hebrew, which few people type."""
LETTERS = {
    "i\u0307": "i", "ı": "i", "ё": "е", "ß": "ss", "ς": "σ",
    "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه",
}  # fmt: skip
"""Letters that people type for one another, after lower case."""

SEEN = "[^\\s\\p{Cc}\\p{Cf}\\p{Z}\u034f\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0]"
"""A character that can be seen, as a regular expression of `regex` and of polars alike."""

_SEEN = regex.compile(SEEN)
_IGNORED = regex.compile(f"[{IGNORED}]")
_LETTERS = regex.compile("|".join(LETTERS))
_NO_WORD = str.maketrans(dict.fromkeys("™℠®©\u200b", " "))
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´`＇", "'"))
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
"""The same for text of ASCII alone, five times faster."""
_BETWEEN_WORDS = regex.compile(r"[-–—−.·•*=_~|/&,;:\"'()\[\]{}]+")
"""Signs that separate words and are none, unless nothing else is there."""
_BETWEEN = regex.compile(rf"(?V1)(?<=[{_HAN}{_THAI}])\s+(?=[{_HAN}{_THAI}])")
_HANGUL = regex.compile(r"\p{Hangul}{3,}")
_CHARACTER = regex.compile(r"[\u0e40-\u0e44\u0ec0-\u0ec4]?\X[\p{M}\u0e30\u0e32\u0e45\u0eb0\u0eb2]*")
"""A character with its marks and, in Thai and Lao, with the vowels written before and after it."""
_VISIBLE = regex.compile(r"[\p{L}\p{N}]")
_QUOTES = "\"'“”„‟«»「」"
_DOT = regex.compile(r"(?<![^\s(])\.(?=\p{L})")

_SHORT = regex.compile(r"(?<=\p{L})'(?=(?:t|d|m|re|ve|ll)(?!['\p{L}]))")
_OWN = regex.compile(r"(?<=\p{L})'s(?!['\p{L}\p{N}])")
_INITIALS = regex.compile(r"(?<![\p{L}\p{M}\p{N}])(?:\p{L}\.){2,}(?!\p{L}\p{L})\p{L}?")


class WordRule(NamedTuple):
    """How texts are cut into words; a model folder names the rule that it was made by.

    Attributes:
        words: the words of a text, to match it with others.
        key: what all queries that count as the same have in common.
    """

    words: Callable[[str], list[str]]
    key: Callable[[str], str]


def words(text: str) -> list[str]:
    """The words of a text in order, for matching: `"Don't learn C++!"` -> `dont learn c++`.

    Unicode forms, case, possessives, and letters that people type for one another make no
    difference. `l'homme` is two words, `U.S.A.` is one, an emoji is one. Scripts without spaces are
    cut into characters with their vowels and marks, each of them twice, and into pairs. A Korean
    word comes whole and in pairs.
    """
    folded = _fold(text)
    if "'" in folded:
        folded = _OWN.sub("", _SHORT.sub("", folded))
    if "." in folded:
        folded = _INITIALS.sub(lambda match: match[0].replace(".", ""), folded)
    pieces = [word for token in _tokens(folded) for word in _parts(token)]
    return pieces or _signs(folded)


def query_key(text: str) -> str:
    """What the same queries have in common: `"Space-Operas!"` -> `"space opera"`.

    Case, punctuation, plural and the spaces of Chinese make no difference; `c`, `c++` and `c#`
    differ, and a query without any word is the same as itself alone.
    """
    folded = _BETWEEN.sub("", _fold(text).replace("'", ""))
    marked = _DOT.sub("\ue000", folded)  # the dot of .net
    kept = [token for token in _tokens(marked) if token.lastgroup != "signs"]
    singulars = [
        ("." if marked[token.start() - 1 : token.start()] == "\ue000" else "") + _singular(token[0])
        for token in kept
    ]
    return " ".join(singulars or _signs(folded)) or text.strip()


def _signs(text: str) -> list[str]:
    """The pieces of a text without any word, as they stand but for quotation marks around them:
    who quotes `"!!!"` means `!!!`."""
    return [piece.strip(_QUOTES) or piece for piece in text.split()]


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen: it holds blanks and invisible characters alone."""
    return _SEEN.search(text) is None


def has_word(text: str) -> bool:
    """Whether a text has a letter or a digit."""
    return _VISIBLE.search(text) is not None


def _fold(text: str) -> str:
    """One form of a text: Unicode's NFKC, lower case, one kind of apostrophe and digit."""
    if text.isascii():
        return text.casefold().replace("`", "'")
    text = unicodedata.normalize("NFKC", text.translate(_NO_WORD).translate(_APOSTROPHES))
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", text.casefold()))
    text = _LETTERS.sub(lambda match: LETTERS[match[0]], text)
    # `regex` may know digits of a later Unicode than Python does: they stay as they are.
    return str(_DIGIT.sub(lambda match: str(unicodedata.digit(match[0], match[0])), text))


def _tokens(folded: str) -> "Iterator[regex.Match[str]] | Iterator[re.Match[str]]":
    return (_ASCII_TOKEN if folded.isascii() else _TOKEN).finditer(folded)


def _parts(token: "regex.Match[str] | re.Match[str]") -> Iterator[str]:
    """The words that one token of a text stands for."""
    text, kind = token[0], token.lastgroup
    if kind == "spaced" and text.isascii() and text[-1].isalnum():
        yield text
    elif kind == "unspaced":
        characters = _CHARACTER.findall(text)
        # A character says what a thing is, where a pair may lie across two words: it counts more.
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


_FORMER_WORD, _FORMER_KEY_WORD = re.compile(r"\b\w\w+\b"), re.compile(r"\w+")


def _former_words(text: str) -> list[str]:
    """Words of two letters or more; those of folders of rule 1 lack English stop words as well."""
    return _FORMER_WORD.findall(text.lower())


def _former_key(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    key = " ".join(_singular(word) for word in _FORMER_KEY_WORD.findall(folded))
    return key or text.casefold().strip()


RULE = 2
"""The number of the present rule, which new folders name."""
RULES = {1: WordRule(_former_words, _former_key), RULE: WordRule(words, query_key)}
"""Every rule by its number; folders that name none were made by rule 1."""
