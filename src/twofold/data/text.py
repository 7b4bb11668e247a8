"""When two queries count as the same: case, punctuation and plural make no difference."""

import re
import unicodedata

_WORD = re.compile(r"\w+", re.UNICODE)


def normalise_query(text: str) -> str:
    """Lower-case words without punctuation, plurals cut: `"Space-Operas!"` -> `"space opera"`."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return " ".join(_singular(word) for word in _WORD.findall(folded))


def query_key(text: str) -> str:
    """What the same queries have in common; one without any word is only itself."""
    return normalise_query(text) or text.casefold().strip()


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
