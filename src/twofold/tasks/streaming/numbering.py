"""Numbers for texts. A text is looked up by its hash and compared with the text of that hash."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.records import Ints
from twofold.tasks.streaming.files import NotStreamableError

Hashes = npt.NDArray[np.uint64]


class Numbering:
    """Numbers for the unique texts of a column in pieces, in the order of first occurrence.

    Args:
        name: the name of the column.

    Attributes:
        texts: the unique texts.
    """

    def __init__(self, name: str) -> None:
        self.texts = pl.Series(name, [], dtype=pl.String)
        self._hashes, self._numbers = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)

    def add(self, texts: pl.Series) -> Ints:
        """The number of each text, (n,).

        Raises:
            NotStreamableError: two texts have the same hash.
        """
        hashes, first, of_text = np.unique(_hash(texts), return_index=True, return_inverse=True)
        numbers = self._find(hashes)
        new = np.flatnonzero(numbers < 0)
        new = new[np.argsort(first[new])]
        if len(new):
            numbers[new] = np.arange(len(new)) + len(self.texts)
            more = texts.gather(first[new]).rename(self.texts.name)
            self.texts = pl.concat([self.texts, more], rechunk=True)
            new = np.sort(new)
            places = np.searchsorted(self._hashes, hashes[new])
            self._hashes = np.insert(self._hashes, places, hashes[new])
            self._numbers = np.insert(self._numbers, places, numbers[new])
        return self._checked(numbers[of_text], texts)

    def find(self, texts: pl.Series) -> Ints:
        """The number of each text, or -1 for an unknown text and for null, (n,).

        Raises:
            NotStreamableError: two texts have the same hash.
        """
        numbers = self._find(_hash(texts))
        numbers[texts.is_null().to_numpy()] = -1
        matched = np.flatnonzero(numbers >= 0)
        self._checked(numbers[matched], texts.gather(matched))
        return numbers

    def _find(self, hashes: Hashes) -> Ints:
        if not len(self._hashes):
            return np.full(len(hashes), -1)
        places = _places(self._hashes, hashes)
        return np.where(self._hashes[places] == hashes, self._numbers[places], -1)

    def _checked(self, numbers: Ints, texts: pl.Series) -> Ints:
        if not (self.texts.gather(numbers) == texts).all():
            raise NotStreamableError(f"{self.texts.name}: two values have the same hash")
        return numbers


@dataclass(frozen=True, slots=True)
class Digests:
    """Two hashes of each text of a column; if both are equal, the texts are taken as equal.

    Attributes:
        hashes, others: the hashes of the texts, (n,) each.
    """

    hashes: Hashes
    others: Hashes

    @staticmethod
    def of(texts: pl.Series) -> "Digests":
        """The hashes of texts, none of them null."""
        return Digests(_hash(texts), _hash(texts, 1))

    @staticmethod
    def joined(parts: "list[Digests]") -> "Digests":
        """The concatenated hashes of pieces; the list of pieces is cleared."""
        hashes = np.concatenate([part.hashes for part in parts])
        others = np.concatenate([part.others for part in parts])
        parts.clear()
        return Digests(hashes, others)

    def first_equal(self) -> Ints:
        """The index of the first text that equals each text, (n,).

        Raises:
            NotStreamableError: different texts have the same hash.
        """
        order = np.argsort(self.hashes, kind="stable")
        same = self.hashes[order[1:]] == self.hashes[order[:-1]]
        if (self.others[order[1:]] != self.others[order[:-1]])[same].any():
            raise NotStreamableError("two texts have the same hash")
        new = np.concatenate([[True], ~same])
        first = np.empty(len(order), dtype=np.int64)
        first[order] = order[new][np.cumsum(new) - 1]
        return first


class DifferentTexts:
    """Unique texts, which are looked up by their hashes.

    Args:
        digests: the hashes of the texts.

    Raises:
        NotStreamableError: two texts have the same hash.
    """

    def __init__(self, digests: Digests) -> None:
        self._order = np.argsort(digests.hashes, kind="stable")
        self._hashes, self._others = digests.hashes[self._order], digests.others
        if (self._hashes[1:] == self._hashes[:-1]).any():
            raise NotStreamableError("a query_id occurs twice, or two have the same hash")

    def find(self, texts: pl.Series) -> Ints:
        """The number of each text, (n,).

        Raises:
            NotStreamableError: a text is unknown.
        """
        wanted = Digests.of(texts)
        places = _places(self._hashes, wanted.hashes)
        numbers = self._order[places]
        unknown = self._hashes[places] != wanted.hashes
        if (unknown | (self._others[numbers] != wanted.others)).any():
            raise NotStreamableError("qrels: a query_id is not in queries")
        return numbers


def _hash(texts: pl.Series, seed: int = 0) -> Hashes:
    return texts.hash(seed).to_numpy()


def _places(known: Hashes, wanted: Hashes) -> Ints:
    """The index of each wanted hash in the sorted known ones; any index if it is missing, (n,).

    Sorted lookups are several times as fast, since they read memory in order.
    """
    order = np.argsort(wanted)
    places = np.empty(len(wanted), dtype=np.int64)
    places[order] = np.minimum(np.searchsorted(known, wanted[order]), len(known) - 1)
    return places
