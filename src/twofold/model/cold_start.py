"""Queries that training saw: new items stand ahead there, for nobody has passed them over yet.

Shapes: B requests, Q queries, N items.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.data.text import query_key
from twofold.encoders.vectors import Vectors
from twofold.records import Ints

_CHANCE, _LIKE_ANSWERS = 0.08, 0.2
"""What a new item has ahead of others, in cosines, where a query was asked in training: it was not
passed over there, as they were; and what more where a neighbour of it is an answer
(docs/project/decisions/0019-cold-start-boost-for-new-items.md)."""

Keys = npt.NDArray[np.uint64]


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

    def with_items(self, neighbours: sp.csr_array) -> "KnownQueries":
        """The same with new items, which stand where one of their neighbours does.

        Args:
            neighbours: what each is like, (N, M).
        """
        like = (self.answers @ neighbours > 0).astype(np.float32)
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


def _keys(queries: Sequence[str]) -> Keys:
    """Hashes, (B,)."""
    texts = [query_key(query).encode() for query in queries]
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)
