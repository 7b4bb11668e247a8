"""TF-IDF weights of words, and an SVD of them: a text encoder that needs no download."""

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold.data.words import (
    NGRAM,
    RULE,
    document_terms,
    joined,
    ngrams,
    reads_alike,
    terms,
    words,
)
from twofold.encoders.vectors import singular_vectors, svd_flip, unit
from twofold.records import InputError

_WIDTH = 512
_AT_ONCE = 1024
"""The number of texts that are encoded at once: there are several float64 copies of their sums."""
_WORDS = "tfidf_words.json"
_TABLES = "tfidf.safetensors"
_MOST_WORDS = 50_000
"""In larger vocabularies, words that occur in only one text are left out: an encoder with 512 axes
and this many words is a file of 100 MB.
"""
_COMMON, _LEAST = 0.5, 0.1
"""Words in more than this share of the texts get this IDF: they do not discriminate."""
_SHORT, _LONG = 15, 30
"""In texts with more words than the first number, rare words get more weight, and from the second
number on their IDF counts twice. Both replace a list of stop words, which would lose titles
(docs/project/log/2026-11-quality.md).
"""
_TOO_FEW = (
    "encoder 'tfidf': the items and training queries have fewer than two words or texts; add a "
    "title or text to the items, or use no encoder (--text-encoder none)"
)


class Words:
    """TF-IDF weights of a text's words: (1 + log of the count) x IDF, scaled to unit length.

    Attributes:
        terms_per_word: the number of terms of a known word; 1 without n-grams.

    Args:
        words: the W known words.
        idf: the IDF of each word, (W,): see `fit`.
        rule: the rule of `twofold.data.words` by which the texts were split into words.
        with_ngrams: whether the terms are words and their n-grams, instead of words alone.
        with_compounds: whether a compound of a document is also a word of it, as `wifi` for
            `Wi-Fi`, and a query's compound is one where it has a part that is not known.

    Raises:
        InputError: another release, with a rule that reads these words otherwise, made them.
    """

    def __init__(
        self,
        words: Sequence[str],
        idf: npt.NDArray[np.float32],
        rule: int = RULE,
        *,
        with_ngrams: bool = False,
        with_compounds: bool = False,
    ) -> None:
        if not reads_alike(rule, words):
            raise InputError(
                f"the words were made by rule {rule}, and this release has rule {RULE}; use the "
                f"release that trained the model, or train anew"
            )
        self.words, self.idf = list(words), idf
        self.with_ngrams, self.with_compounds = with_ngrams, with_compounds
        self._are_words = self._is_word(self.words)
        whole = [word for word in self.words if word[0] != NGRAM] if with_ngrams else []
        self.terms_per_word = 1 + sum(len(ngrams(word)) for word in whole) / max(1, len(whole))
        self._places = {word: place for place, word in enumerate(self.words)}

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        most: int | None = None,
        *,
        with_ngrams: bool = False,
        with_compounds: bool = False,
    ) -> "Words":
        """Learn the words of documents, and their IDF: 1 + log(texts / texts with the word).

        A word in more than half of the texts keeps a small weight.

        Args:
            texts: the documents.
            most: with more words than this, those that occur in a single text are left out.
            with_ngrams, with_compounds: see the class.

        Raises:
            InputError: there is no word.
        """
        kinds = {"with_ngrams": with_ngrams, "with_compounds": with_compounds}
        counts = Counter(term for text in texts for term in set(_document_terms(text, **kinds)))
        if most is not None and len(counts) > most:
            counts = Counter({word: count for word, count in counts.items() if count > 1})
        if not counts:
            raise InputError(_TOO_FEW)
        frequent = sorted(counts)
        df = np.array([counts[word] for word in frequent])
        idf = 1 + np.log((len(texts) + 1) / (df + 1))
        idf[df > _COMMON * len(texts)] = _LEAST
        return cls(frequent, idf.astype(np.float32), **kinds)

    def has_known_word(self, query: str) -> bool:
        """Whether at least one word of a query is known."""
        return any(word in self._places for word in [*words(query), *self._joined(query)])

    def _joined(self, query: str) -> list[str]:
        """The known compounds of a query that have an unknown part. The others match as words."""
        return joined(query, self._places) if self.with_compounds else []

    def _terms(self, text: str, are_documents: bool) -> list[str]:
        if are_documents:
            return _document_terms(text, self.with_ngrams, self.with_compounds)
        return [*terms(text, with_ngrams=self.with_ngrams), *self._joined(text)]

    def with_terms_of(self, texts: Sequence[str]) -> "Words":
        """These words and, after them, the terms of documents that are not known.

        A new term counts as much as the rarest known one. Known terms keep their places, their
        IDF and `terms_per_word`, so what they match keeps its score.
        """
        every = {term for text in texts for term in self._terms(text, are_documents=True)}
        new = sorted(every - self._places.keys())
        if not new:
            return self
        extended = copy(self)
        extended.words = [*self.words, *new]
        extended.idf = np.append(self.idf, np.full(len(new), self.idf.max(), np.float32))
        extended._are_words = np.append(self._are_words, self._is_word(new))
        first = len(self.words)
        extended._places = self._places | {term: first + n for n, term in enumerate(new)}
        return extended

    def _is_word(self, terms: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which terms are words, and not n-grams, (len(terms),)."""
        return np.array([term[0] != NGRAM or not self.with_ngrams for term in terms], bool)

    def counts(self, texts: Sequence[str], *, are_documents: bool = False) -> sp.csr_array:
        """How often each known term is in each text, (len(texts), W), float64.

        Args:
            texts: the texts.
            are_documents: whether they are documents, and not queries; see `with_compounds`.
        """
        # Arrays of numbers: a counter for each of many long texts takes ten times as much memory.
        each, often = array("q"), array("d")
        starts = [0]
        for text in texts:
            every = self._terms(text, are_documents)
            counted = Counter(self._places[term] for term in every if term in self._places)
            each.extend(counted)
            often.extend(counted.values())
            starts.append(len(each))
        places, counts = np.array(each, np.int64), np.array(often, np.float64)
        return sp.csr_array((counts, places, starts), (len(texts), len(self.words)))

    def weigh(
        self,
        texts: Sequence[str],
        power: float = 1.0,
        sentences: bool = False,
        *,
        are_documents: bool = False,
    ) -> sp.csr_array:
        """TF-IDF weights, (len(texts), W), float64, each row divided by its norm to a `power`.

        With power 1 rows have unit length. A text without a known word has an empty row.

        Args:
            texts: the texts.
            power: the power of the norm.
            sentences: whether rare words get more weight in long texts.
            are_documents: as in `counts`.
        """
        counted = self.counts(texts, are_documents=are_documents)
        places, starts = counted.indices, counted.indptr
        weights = (1 + np.log(counted.data)) * self.idf[places]
        rows = np.repeat(np.arange(len(texts)), np.diff(starts))
        if sentences and len(places):
            length = np.bincount(rows[self._are_words[places]], minlength=len(texts))
            share = np.clip((length - _SHORT) / (_LONG - _SHORT), 0, 1)[rows]
            weights *= (self.idf[places] / self.idf.max()) ** share
        norms = np.sqrt(np.bincount(rows, weights**2, len(texts)))
        shape = len(texts), len(self.words)
        return sp.csr_array((weights / norms[rows] ** power, places, starts), shape)


def _document_terms(text: str, with_ngrams: bool, with_compounds: bool) -> list[str]:
    """The terms of a document; those of a query depend on the words that are known."""
    return (document_terms if with_compounds else terms)(text, with_ngrams=with_ngrams)


class TfidfEncoder:
    """Latent semantic analysis (Deerwester et al., 1990), fitted on the texts of one dataset.

    Args:
        words: the known words and their IDF.
        axes: the direction of each of E axes in the space of words, (E, W).
    """

    def __init__(self, words: Words, axes: npt.NDArray[np.float32]) -> None:
        self.width = axes.shape[0]
        self.words = words
        self._by_word = np.ascontiguousarray(axes.T)

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "TfidfEncoder":
        """Learn words, their IDF, and the leading axes of the texts.

        Raises:
            InputError: there are too few words for an axis.
        """
        fitted = Words.fit(texts, _MOST_WORDS)
        weighed = fitted.weigh(texts, sentences=True)
        width = min(_WIDTH, min(weighed.shape) - 1)
        if width < 1:
            raise InputError(_TOO_FEW)
        axes = singular_vectors(weighed, width, iterations=5)[2]
        return cls(fitted, np.ascontiguousarray(svd_flip(axes), dtype=np.float32))

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `TextEncoder`."""
        parts = [texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE)]
        none = np.zeros((0, self.width), np.float32)
        return np.concatenate([none, *map(self._encoded, parts)])

    def _encoded(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        weighed = self.words.weigh(texts, sentences=True)
        # A product with the axes of all words would read 30 MB for the five words of a query.
        used, columns = np.unique(weighed.indices, return_inverse=True)
        shape = len(texts), len(used)
        compact = sp.csr_array((weighed.data, columns, weighed.indptr), shape)
        return unit(compact @ self._by_word[used]).astype(np.float32)

    def save(self, folder: Path) -> None:
        named = {"rule": RULE, "words": self.words.words}
        (folder / _WORDS).write_text(json.dumps(named, ensure_ascii=False), encoding="utf-8")
        axes = np.ascontiguousarray(self._by_word.T)
        save_file({"rarity": self.words.idf, "axes": axes}, folder / _TABLES)

    @classmethod
    def restore(cls, folder: Path) -> "TfidfEncoder":
        """Read what `save` wrote."""
        named = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
        tables = load_file(folder / _TABLES)
        return cls(Words(named["words"], tables["rarity"], named["rule"]), tables["axes"])

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether a model folder contains one."""
        return (folder / _TABLES).is_file()
