"""What a query and an item's document have in common, added to what the model generates.

A linear layer from what was typed to the codes' scores, beside the deep one, as in wide and deep
learning (Cheng et al., 2016): a model as narrow as ours forgets most names, which a word that
stands in both finds at once. Practice calls the sum of both hybrid search.

Shapes: B requests, N items, W words, E width of a sentence's vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold import artifact
from twofold.encoders.text_encoder import TextEncoder
from twofold.encoders.tfidf import Words
from twofold.encoders.vectors import Vectors, unit
from twofold.model.cold_start import KnownQueries
from twofold.records import Ints

_NAMES = "hybrid.json"
_TABLES = "hybrid.safetensors"
_SQUARE_ROOT = 0.5
"""Of its length, in rarest words, a query's words count together: a cosine thinks nothing of a
second word, a sum is all for long queries; both find less (docs/project/log)."""
_BORROWED = 2.0
"""How far a new item goes toward queries, in the way its neighbours went: their mean is shorter
than each. Farther, it takes answers from others (docs/project/log)."""


class Neighbours(NamedTuple):
    """What new items are like.

    Attributes:
        items: catalog positions, (M, K).
        shares: of each, (M, K); they sum to 1.
        texts: vectors of the neighbours' texts by the sentence encoder, (M, K, E); None without.
    """

    items: Ints
    shares: Vectors
    texts: Vectors | None = None


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Cosines of a query with every item, by words and by sentence, times a weight.

    Attributes:
        weight: of the cosines' sum in the score of an item's code.
        words: weighs what was typed.
        postings: weights of the words in the items' documents, (W, N), columns of unit length.
        sentence: the model's own sentence encoder; None without one.
        vectors: of the items by it, (N, E), of unit length.
        known: the queries of training; None in folders of an earlier release.
        trained: how many items training saw, the first ones; None for all.
    """

    weight: float
    words: Words
    postings: sp.csr_array
    sentence: TextEncoder | None = None
    vectors: Vectors | None = None
    known: KnownQueries | None = None
    trained: int | None = None

    @property
    def parts(self) -> list[str]:
        """For the stamp."""
        return ["words"] if self.sentence is None else ["words", "sentence"]

    def scores(self, queries: Sequence[str]) -> Vectors:
        """What is added to the scores of the items, (B, N), float32."""
        found = self._of_words(queries)
        if self.sentence is not None and self.vectors is not None:
            found += self.sentence.encode(queries) @ self.vectors.T
        if self.trained is not None and self.known is not None:
            found[:, self.trained :] += self.known.ahead(queries, self.trained)
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

    def with_items(self, texts: Sequence[str], near: Neighbours) -> "Hybrid":
        """The same with further items, whose documents are their texts and what their neighbours'
        documents hold: nobody has asked for them yet, but for items like them.

        Args:
            texts: of the new items, (M,).
            near: of the catalog before them.
        """
        shares = _columns(near, self.postings.shape[1])
        new = postings_of(self.words, texts) + self.postings @ shares
        lengths = np.sqrt(new.multiply(new).sum(axis=0))
        new = new @ sp.diags_array(1 / np.where(lengths > 0, lengths, 1))
        postings = sp.hstack([self.postings, new.astype(np.float32)], format="csr")
        vectors = self.vectors
        if self.sentence is not None and vectors is not None:
            assert near.texts is not None
            moved = vectors[near.items] - near.texts
            mean = np.einsum("mk,mke->me", near.shares, moved)
            vectors = np.vstack([vectors, unit(self.sentence.encode(texts) + _BORROWED * mean)])
        return replace(
            self,
            postings=sp.csr_array(postings),
            vectors=vectors,
            known=None if self.known is None else self.known.with_items(shares),
            trained=self.trained or self.postings.shape[1],
        )

    def save(self, folder: Path) -> None:
        """Write what `load_hybrid` reads; the sentence encoder stands in the folder already."""
        items = self.postings.shape[1]
        names = {
            "weight": self.weight,
            "items": items,
            "trained": self.trained,
            "words": self.words.words,
        }
        artifact.write_json(folder / _NAMES, names)
        tables = {
            "rarity": self.words.rarity,
            "data": self.postings.data,
            "items": self.postings.indices,
            "starts": self.postings.indptr,
        }
        if self.known is not None:
            tables["known"] = self.known.keys
            tables["answers"] = self.known.answers.indices
            tables["answers-starts"] = self.known.answers.indptr
        if self.vectors is not None:
            # Half precision moves a cosine by less than 1e-3, and halves the file.
            tables["vectors"] = self.vectors.astype(np.float16)
        save_file(tables, folder / _TABLES)


def postings_of(words: Words, documents: Sequence[str]) -> sp.csr_array:
    """Documents as `Hybrid.postings` holds them, (W, len(documents)), float32."""
    return sp.csr_array(words.weigh(documents).T.astype(np.float32))


def _columns(near: Neighbours, items: int) -> sp.csr_array:
    """Shares of the neighbours, (items, M)."""
    new, count = near.items.shape
    places = near.items.reshape(-1), np.repeat(np.arange(new), count)
    return sp.csr_array((near.shares.reshape(-1), places), (items, new))


def _known(tables: Mapping[str, np.ndarray], items: int) -> KnownQueries | None:
    if "known" not in tables:
        return None
    answers = tables["answers"]
    parts = np.ones(len(answers), np.float32), answers, tables["answers-starts"]
    return KnownQueries(tables["known"], sp.csr_array(parts, (len(tables["known"]), items)))


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
        _known(tables, names["items"]),
        names.get("trained"),
    )
