"""Guesses the encoding of a text that is not UTF-8."""

import re
from collections.abc import Callable

_SAMPLE = 1 << 16


def likely_encodings(data: bytes) -> list[str]:
    """The encodings that can decode `data`, the one with the most common characters first.

    The names are those of Python and of iconv.
    """
    likely = {name: _share_of_usual(data, name) for name in _USUAL}
    fits = [name for name, share in likely.items() if share is not None]
    return sorted(fits, key=lambda name: -(likely[name] or 0.0))


def _share_of_usual(data: bytes, encoding: str) -> float | None:
    """The share of non-ASCII characters that are common; None if decoding fails."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    beyond = re.findall(r"[^\x00-\x7f]+", text[:_SAMPLE])
    usual = _USUAL[encoding]
    return sum(usual(run) for run in beyond) / max(1, sum(map(len, beyond)))


def _western(run: str) -> int:
    """Accented letters and typographic characters, which are single between ASCII letters."""
    return len(re.findall(r"[À-ÖØ-öø-ÿŒœŠšŽžŸ‘’“”…–—€£«»°¿¡]", run)) if len(run) < 3 else 0


def _cyrillic(run: str) -> int:
    """Lower-case letters, and capitals at the beginning of a word."""
    return len(re.findall(r"[а-яёіїєґў«»—№]|(?<![а-яА-Я])[А-ЯЁІЇЄҐЎ]", run))


def _first_level(encoding: str, first: int, last: int) -> Callable[[str], int]:
    """Characters of the part of a code table with the common ones, by their first byte."""

    def usual(run: str) -> int:
        leads = (character.encode(encoding, "ignore")[:1] for character in run)
        return sum(1 for lead in leads if lead and first <= lead[0] <= last)

    return usual


def _japanese(run: str) -> int:
    return len(re.findall("[ぁ-ヿ、。ー]", run)) + _first_level("shift_jis", 0x88, 0x97)(run)


def _korean(run: str) -> int:
    return len(re.findall("[가-힣]", run))


_USUAL: dict[str, Callable[[str], int]] = {
    "windows-1252": _western,
    "windows-1251": _cyrillic,
    "euc-kr": _korean,  # before Chinese, whose code table has the same bytes
    "gb18030": _first_level("gb2312", 0xB0, 0xD7),
    "shift_jis": _japanese,
    "big5": _first_level("big5", 0xA4, 0xC6),
}
"""Common encodings other than UTF-8, each with a function that counts common characters."""
