"""Words weighted by rarity, their co-occurrence by SVD: an encoder that needs no download."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from twofold.records import InputError

_WIDTH = 512
_WORDS = "tfidf_words.json"
_TABLES = "tfidf.safetensors"
_TOO_FEW = (
    "encoder 'tfidf': fewer than two words occur in two texts, items and training queries taken "
    "together; add a title or text to the items, or use no encoder (--encoder none)"
)


class TfidfEncoder:
    """Latent semantic analysis (Deerwester et al., 1990), fitted on the texts of one dataset."""

    def __init__(
        self,
        words: Sequence[str],
        rarity: npt.NDArray[np.float32],
        axes: npt.NDArray[np.float32],
    ) -> None:
        self.width = axes.shape[0]
        self._words, self._rarity, self._axes = list(words), rarity, axes
        self._counter = _counter()
        self._counter.vocabulary = self._words
        self._counter.idf_ = rarity.astype(np.float64)

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "TfidfEncoder":
        """Learn words, their rarity, and the axes along which they vary together.

        Raises:
            InputError: too few words to tell texts apart.
        """
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
        found = self._counter.transform(texts) @ self._axes.T
        return np.asarray(normalize(found), dtype=np.float32)

    def save(self, folder: Path) -> None:
        (folder / _WORDS).write_text(json.dumps(self._words), encoding="utf-8")
        save_file({"rarity": self._rarity, "axes": self._axes}, folder / _TABLES)

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


def _counter() -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
