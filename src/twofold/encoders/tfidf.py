"""Words weighted by rarity, their co-occurrence by SVD: an encoder that needs no download."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold.records import InputError

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

_WIDTH = 512
_WORDS = "tfidf_words.json"
_TABLES = "tfidf.safetensors"
_WORD = re.compile(r"\b\w\w+\b")
"""As scikit-learn's vectorizer, which learns the words, finds them."""
_TOO_FEW = (
    "encoder 'tfidf': fewer than two words occur in two texts, items and training queries taken "
    "together; add a title or text to the items, or use no encoder (--encoder none)"
)


class TfidfEncoder:
    """Latent semantic analysis (Deerwester et al., 1990), fitted on the texts of one dataset.

    scikit-learn fits it; a text is weighed here, as a server that only encodes should not spend a
    second of its start, and a fifth of a millisecond of each query, on that.
    """

    def __init__(
        self,
        words: Sequence[str],
        rarity: npt.NDArray[np.float32],
        axes: npt.NDArray[np.float32],
    ) -> None:
        self.width = axes.shape[0]
        self._words, self._rarity = list(words), rarity
        self._by_word = np.ascontiguousarray(axes.T)
        self._places = {word: place for place, word in enumerate(self._words)}

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "TfidfEncoder":
        """Learn words, their rarity, and the axes along which they vary together.

        Raises:
            InputError: too few words to tell texts apart.
        """
        from sklearn.decomposition import TruncatedSVD

        counter = _counter()
        try:
            weighed = counter.fit_transform(texts)
        except ValueError as error:  # no word at all, or none twice
            raise InputError(_TOO_FEW) from error
        width = min(_WIDTH, min(weighed.shape) - 1)
        if width < 1:
            raise InputError(_TOO_FEW)
        svd = TruncatedSVD(width, random_state=0).fit(weighed)
        return cls(
            counter.get_feature_names_out().tolist(),
            counter.idf_.astype(np.float32),
            np.ascontiguousarray(svd.components_, dtype=np.float32),
        )

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `twofold.encoders.encoders.TextEncoder`."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        weighed, used = self._weighed(texts)
        # A product with every word's axes would read 30 MB for the five words of a query.
        return np.asarray(_unit(weighed @ self._by_word[used]), dtype=np.float32)

    def _weighed(self, texts: Sequence[str]) -> tuple[sp.csr_array, npt.NDArray[np.int64]]:
        """Texts by the words that occur in them, and these, (U,); (len(texts), U) weights of
        (1 + log count) * rarity, rows of unit length."""
        counted = [
            Counter(
                self._places[word] for word in _WORD.findall(text.lower()) if word in self._places
            )
            for text in texts
        ]
        starts = np.cumsum([0, *map(len, counted)])
        places = np.array([place for counts in counted for place in counts], np.int64)
        counts = np.array([count for counts in counted for count in counts.values()], np.float64)
        weights = (1 + np.log(counts)) * self._rarity[places]
        rows = np.repeat(np.arange(len(texts)), np.diff(starts))
        norms = np.sqrt(np.bincount(rows, weights**2, len(texts)))
        used, columns = np.unique(places, return_inverse=True)
        weighed = sp.csr_array((weights / norms[rows], columns, starts), (len(texts), len(used)))
        return weighed, used

    def save(self, folder: Path) -> None:
        (folder / _WORDS).write_text(json.dumps(self._words), encoding="utf-8")
        axes = np.ascontiguousarray(self._by_word.T)
        save_file({"rarity": self._rarity, "axes": axes}, folder / _TABLES)

    @classmethod
    def restore(cls, folder: Path) -> "TfidfEncoder":
        """Read what `save` wrote."""
        words = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
        tables = load_file(folder / _TABLES)
        return cls(words, tables["rarity"], tables["axes"])

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether a model folder holds one."""
        return (folder / _TABLES).is_file()


def weighed_words(*columns: Sequence[str]) -> list[sp.csr_array]:
    """Each column's texts by words, (len(column), W), rows of unit length, one rarity for all.

    Raises:
        InputError: too few words to tell texts apart.
    """
    counter = _counter()
    try:
        counter.fit([text for column in columns for text in column])
    except ValueError as error:  # no word at all, or none twice
        raise InputError(_TOO_FEW) from error
    return [sp.csr_array(counter.transform(column)) for column in columns]


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows of unit length; zero stays zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = rows / np.where(norms > 0, norms, 1)
    return found


def _counter() -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
