"""Cold start: new items get a score boost at the queries that training saw.

The model learned at those queries that other items do not answer them; of items that were added
later it learned nothing, so without a boost they would rank below every item that it knows.

Shapes: B requests, Q training queries, N items, M new items.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.data.words import RULE, RULES
from twofold.encoders.vectors import Vectors
from twofold.records import Ints

_BOOST, _NEIGHBOUR_BOOST = 0.08, 0.2
"""A new item's boost at a training query, in cosines, and a further one where a neighbour of the
item answers the query (docs/project/decisions/0019-cold-start-boost-for-new-items.md)."""

Keys = npt.NDArray[np.uint64]


class TrainingQueries(NamedTuple):
    """The queries of training and their answers.

    Attributes:
        keys: eight bytes of a hash of each query's normalised text, (Q,), sorted. Queries that the
            split counts as the same have one key.
        answers: which items answer each query, (Q, N); a new item counts as an answer where a
            neighbour of it is one.
        rule: the rule of `twofold.data.words` that says which queries are the same.
    """

    keys: Keys
    answers: sp.csr_array
    rule: int = RULE

    @classmethod
    def of(cls, queries: Sequence[str], answers: Sequence[Ints], items: int) -> "TrainingQueries":
        """From queries, which may repeat, and for each the catalog positions of its answers."""
        keys, places = np.unique(_keys(queries, RULE), return_inverse=True)
        rows = np.repeat(places, [len(positions) for positions in answers])
        columns = np.concatenate([*answers, np.zeros(0, np.int64)])
        ones = np.ones(len(rows), np.float32)
        return cls(keys, sp.csr_array((ones, (rows, columns)), (len(keys), items)))

    def with_items(self, neighbours: sp.csr_array) -> "TrainingQueries":
        """The same queries for a catalog with new items.

        Args:
            neighbours: the share of each item in the new items' neighbourhoods, (N, M).
        """
        answers = (self.answers @ neighbours > 0).astype(np.float32)
        return self._replace(answers=sp.csr_array(sp.hstack([self.answers, answers], format="csr")))

    def boosts(self, queries: Sequence[str], trained: int) -> Vectors:
        """The boost of each item that was added after the `trained` ones, (B, N - trained)."""
        boosts = np.zeros((len(queries), self.answers.shape[1] - trained), np.float32)
        keys = _keys(queries, self.rule)
        places = np.searchsorted(self.keys, keys)
        for row, place in enumerate(places):
            if place < len(self.keys) and self.keys[place] == keys[row]:
                items = self.answers.indices[slice(*self.answers.indptr[place : place + 2])]
                boosts[row] = _BOOST
                boosts[row, items[items >= trained] - trained] += _NEIGHBOUR_BOOST
        return boosts


def _keys(queries: Sequence[str], rule: int) -> Keys:
    """A hash of each query, (B,)."""
    texts = [RULES[rule].key(query).encode() for query in queries]
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)
