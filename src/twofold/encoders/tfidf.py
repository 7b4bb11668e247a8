"""TF-IDF weights of words, and an SVD of them: a text encoder that needs no download."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold.encoders.vectors import unit
from twofold.records import InputError

_WIDTH = 512
_WORDS = "tfidf_words.json"
_TABLES = "tfidf.safetensors"
_WORD = re.compile(r"\b\w\w+\b")
"""The words of a text, as scikit-learn's vectorizer, which learns them, splits it."""
_TOO_FEW = (
    "encoder 'tfidf': fewer than two words occur in two texts, items and training queries taken "
    "together; add a title or text to the items, or use no encoder (--text-encoder none)"
)


class Words:
    """TF-IDF weights of a text's words: (1 + log of the count) x rarity, to unit length.

    scikit-learn learns the rarities. Texts are weighed here, as scikit-learn would cost a server a
    second of its start and a fifth of a millisecond of each query.

    Args:
        words: the W known words.
        rarity: their inverse document frequencies, (W,).
    """

    def __init__(self, words: Sequence[str], rarity: npt.NDArray[np.float32]) -> None:
        self.words, self.rarity = list(words), rarity
        self._places = {word: place for place, word in enumerate(self.words)}

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "Words":
        """Learn the words that occur in two texts, and their rarity.

        Raises:
            InputError: there is no such word.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        counter = TfidfVectorizer(stop_words="english", min_df=2)
        try:
            counter.fit(texts)
        except ValueError as error:  # no word at all, or none twice
            raise InputError(_TOO_FEW) from error
        return cls(counter.get_feature_names_out().tolist(), counter.idf_.astype(np.float32))

    def weigh(self, texts: Sequence[str], power: float = 1.0) -> sp.csr_array:
        """TF-IDF weights, (len(texts), W), float64, each row divided by its norm to a `power`.

        With power 1 rows have unit length. A text without a known word has an empty row.
        """
        counted = [
            Counter(
                self._places[word] for word in _WORD.findall(text.lower()) if word in self._places
            )
            for text in texts
        ]
        starts = np.cumsum([0, *map(len, counted)])
        places = np.array([place for counts in counted for place in counts], np.int64)
        counts = np.array([count for counts in counted for count in counts.values()], np.float64)
        weights = (1 + np.log(counts)) * self.rarity[places]
        rows = np.repeat(np.arange(len(texts)), np.diff(starts))
        norms = np.sqrt(np.bincount(rows, weights**2, len(texts)))
        shape = len(texts), len(self.words)
        return sp.csr_array((weights / norms[rows] ** power, places, starts), shape)


class TfidfEncoder:
    """Latent semantic analysis (Deerwester et al., 1990), fitted on the texts of one dataset.

    Args:
        words: the known words and their rarity.
        axes: the direction of each of E axes in the space of words, (E, W).
    """

    def __init__(self, words: Words, axes: npt.NDArray[np.float32]) -> None:
        self.width = axes.shape[0]
        self._words = words
        self._by_word = np.ascontiguousarray(axes.T)

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "TfidfEncoder":
        """Learn words, their rarity, and the leading axes of the texts.

        Raises:
            InputError: there are too few words for an axis.
        """
        from sklearn.decomposition import TruncatedSVD

        words = Words.fit(texts)
        weighed = words.weigh(texts)
        width = min(_WIDTH, min(weighed.shape) - 1)
        if width < 1:
            raise InputError(_TOO_FEW)
        svd = TruncatedSVD(width, random_state=0).fit(weighed)
        return cls(words, np.ascontiguousarray(svd.components_, dtype=np.float32))

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `TextEncoder`."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        weighed = self._words.weigh(texts)
        # A product with the axes of every word would read 30 MB for the five words of a query.
        used, columns = np.unique(weighed.indices, return_inverse=True)
        shape = len(texts), len(used)
        own = sp.csr_array((weighed.data, columns, weighed.indptr), shape)
        return unit(own @ self._by_word[used]).astype(np.float32)

    def save(self, folder: Path) -> None:
        (folder / _WORDS).write_text(json.dumps(self._words.words), encoding="utf-8")
        axes = np.ascontiguousarray(self._by_word.T)
        save_file({"rarity": self._words.rarity, "axes": axes}, folder / _TABLES)

    @classmethod
    def restore(cls, folder: Path) -> "TfidfEncoder":
        """Read what `save` wrote."""
        words = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
        tables = load_file(folder / _TABLES)
        return cls(Words(words, tables["rarity"]), tables["axes"])

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether a model folder contains one."""
        return (folder / _TABLES).is_file()
