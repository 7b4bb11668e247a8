"""What a query and an item's document have in common, added to what the model generates.

A linear layer from what was typed to the codes' scores, beside the deep one, as in wide and deep
learning (Cheng et al., 2016): a model as narrow as ours forgets most names, which a word that
stands in both finds at once. Practice calls the sum of both hybrid search.

Shapes: B requests, N items, W words, E width of a sentence's vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold import artifact
from twofold.encoders.encoders import TextEncoder, Vectors
from twofold.encoders.tfidf import Words

_NAMES = "hybrid.json"
_TABLES = "hybrid.safetensors"
_SQUARE_ROOT = 0.5
"""Of its length, in rarest words, a query's words count together: a cosine thinks nothing of a
second word, a sum is all for long queries; both find less (docs/log.md)."""


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Cosines of a query with every item, by words and by sentence, times a weight.

    Attributes:
        weight: of the cosines' sum in the score of an item's code.
        words: weighs what was typed.
        postings: weights of the words in the items' documents, (W, N), columns of unit length.
        sentence: the model's own sentence encoder; None without one.
        vectors: of the items by it, (N, E), of unit length.
    """

    weight: float
    words: Words
    postings: sp.csr_array
    sentence: TextEncoder | None = None
    vectors: Vectors | None = None

    @property
    def parts(self) -> list[str]:
        """For the stamp."""
        return ["words"] if self.sentence is None else ["words", "sentence"]

    def scores(self, queries: Sequence[str]) -> Vectors:
        """What is added to the scores of the items, (B, N), float32."""
        found = self._of_words(queries)
        if self.sentence is not None and self.vectors is not None:
            found += self.sentence.encode(queries) @ self.vectors.T
        found *= self.weight
        return found

    def _of_words(self, queries: Sequence[str]) -> Vectors:
        """A word's postings one after the other: scipy's product of two sparse matrices walks all
        items thrice for the few that a query's words name."""
        found = np.zeros((len(queries), self.postings.shape[1]), np.float32)
        asked = self.words.weigh(queries, _SQUARE_ROOT) / self.words.rarity.max() ** _SQUARE_ROOT
        rows = np.repeat(np.arange(len(queries)), np.diff(asked.indptr))
        for row, word, weight in zip(rows, asked.indices, asked.data, strict=True):
            own = slice(*self.postings.indptr[word : word + 2])
            found[row, self.postings.indices[own]] += weight * self.postings.data[own]
        return found

    def with_items(self, texts: Sequence[str]) -> "Hybrid":
        """The same with further items, of which nothing but their texts is written."""
        postings = sp.hstack([self.postings, postings_of(self.words, texts)], format="csr")
        vectors = self.vectors
        if self.sentence is not None and vectors is not None:
            vectors = np.vstack([vectors, self.sentence.encode(texts)])
        return replace(self, postings=sp.csr_array(postings), vectors=vectors)

    def save(self, folder: Path) -> None:
        """Write what `load_hybrid` reads; the sentence encoder stands in the folder already."""
        items = self.postings.shape[1]
        names = {"weight": self.weight, "items": items, "words": self.words.words}
        artifact.write_json(folder / _NAMES, names)
        tables = {
            "rarity": self.words.rarity,
            "data": self.postings.data,
            "items": self.postings.indices,
            "starts": self.postings.indptr,
        }
        if self.vectors is not None:
            # Half precision moves a cosine by less than 1e-3, and halves the file.
            tables["vectors"] = self.vectors.astype(np.float16)
        save_file(tables, folder / _TABLES)


def postings_of(words: Words, documents: Sequence[str]) -> sp.csr_array:
    """Documents as `Hybrid.postings` holds them, (W, len(documents)), float32."""
    return sp.csr_array(words.weigh(documents).T.astype(np.float32))


def load_hybrid(folder: Path, sentence: TextEncoder | None) -> Hybrid | None:
    """Read what `Hybrid.save` wrote, if anything.

    Args:
        folder: of the model.
        sentence: the sentence encoder that the folder names.
    """
    if not (folder / _NAMES).is_file():
        return None
    names, tables = artifact.read_json(folder / _NAMES), load_file(folder / _TABLES)
    shape = len(names["words"]), names["items"]
    vectors = tables["vectors"].astype(np.float32) if "vectors" in tables else None
    return Hybrid(
        names["weight"],
        Words(names["words"], tables["rarity"]),
        sp.csr_array((tables["data"], tables["items"], tables["starts"]), shape),
        None if vectors is None else sentence,
        vectors,
    )
