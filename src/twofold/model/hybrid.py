"""What a query and an item's document have in common, added to what the model generates.

A linear layer from what was typed to the codes' scores, beside the deep one, as in wide and deep
learning (Cheng et al., 2016): a model as narrow as ours forgets most names, which a word that
stands in both finds at once. Practice calls the sum of both hybrid search.

Shapes: B requests, N items, W words, E width of a sentence's vector.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold import artifact
from twofold.data.text import query_key
from twofold.encoders.encoders import TextEncoder, Vectors, unit
from twofold.encoders.tfidf import Words
from twofold.records import Ints

_NAMES = "hybrid.json"
_TABLES = "hybrid.safetensors"
_SQUARE_ROOT = 0.5
"""Of its length, in rarest words, a query's words count together: a cosine thinks nothing of a
second word, a sum is all for long queries; both find less (docs/log.md)."""
_BORROWED = 2.0
"""How far a new item goes toward queries, in the way its neighbours went: their mean is shorter
than each. Farther, it takes answers from others (docs/log.md)."""
_CHANCE, _LIKE_ANSWERS = 0.06, 0.4
"""What a new item has ahead of others, in cosines, where a query was asked in training: it was not
passed over there, as they were; and what more where a neighbour of it is an answer
(docs/decisions/0019-a-chance-for-new-items.md)."""

Keys = npt.NDArray[np.uint64]


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


class KnownQueries(NamedTuple):
    """The queries of training and what they want.

    Attributes:
        keys: eight bytes of a hash of each query, (Q,), sorted; the same for what the split counts
            as the same query.
        answers: of each query the items, and of new items those whose neighbours are, (Q, N).
    """

    keys: Keys
    answers: sp.csr_array

    @classmethod
    def of(cls, queries: Sequence[str], answers: Sequence[Ints], items: int) -> "KnownQueries":
        """From queries, which may repeat, and catalog positions of their answers."""
        keys, places = np.unique(_keys(queries), return_inverse=True)
        rows = np.repeat(places, [len(found) for found in answers])
        columns = np.concatenate([*answers, np.zeros(0, np.int64)])
        ones = np.ones(len(rows), np.float32)
        return cls(keys, sp.csr_array((ones, (rows, columns)), (len(keys), items)))

    def with_items(self, near: Neighbours) -> "KnownQueries":
        """The same with new items, which stand where one of their neighbours does."""
        like = (self.answers @ _columns(near, self.answers.shape[1]) > 0).astype(np.float32)
        return KnownQueries(self.keys, sp.csr_array(sp.hstack([self.answers, like], format="csr")))

    def ahead(self, queries: Sequence[str], trained: int) -> Vectors:
        """How far each item beyond the `trained` is ahead, (B, N - trained), in cosines."""
        found = np.zeros((len(queries), self.answers.shape[1] - trained), np.float32)
        keys = _keys(queries)
        places = np.searchsorted(self.keys, keys)
        for row, place in enumerate(places):
            if place < len(self.keys) and self.keys[place] == keys[row]:
                items = self.answers.indices[slice(*self.answers.indptr[place : place + 2])]
                found[row] = _CHANCE
                found[row, items[items >= trained] - trained] += _LIKE_ANSWERS
        return found


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
        borrowed = self.postings @ _columns(near, self.postings.shape[1])
        new = postings_of(self.words, texts) + borrowed
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
            known=None if self.known is None else self.known.with_items(near),
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


def _keys(queries: Sequence[str]) -> Keys:
    """Hashes, (B,)."""
    texts = [query_key(query).encode() for query in queries]
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


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
