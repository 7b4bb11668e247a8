"""Pairs of items in the training data of each task, which H2 says the tasks learn from each other.

*Together*: both items occur in one user's training history. *Relevant*: both items are relevant to
one training query (equal normalised text).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pydantic
import scipy.sparse as sp

from twofold.records import Ints, Task
from twofold.studies.values import Value
from twofold.tasks.prepared import PreparedDataset

_ROWS = 512
"""The number of items whose pairs are counted at once."""

PairClass = Literal["both", "together only", "relevant only", "neither"]
CLASSES: tuple[PairClass, ...] = get_args(PairClass)
_SMALL = 20_000
_WORK_SMALL, _WORK_LARGE = 2_000_000_000, 100_000_000
"""The largest number of pairs that are counted for each task; with more, users or queries are
sampled. For up to `_SMALL` items, even a full matrix fits in memory; for more items, the counted
pairs must fit."""


class Sampled(Value):
    """The shares of histories and queries whose pairs were counted; 1 unless they are too many."""

    histories: float
    queries: float


class PairCounts(Value):
    """The number of pairs of each class, and the share of one task's pairs that are also pairs of
    the other task, compared with random pairs."""

    both: int
    together_only: int = pydantic.Field(alias="together only")
    relevant_only: int = pydantic.Field(alias="relevant only")
    neither: int
    relevant_given_together: float | None
    relevant_at_random: float
    together_given_relevant: float | None
    together_at_random: float
    looked_at: Sampled

    def of(self, name: PairClass) -> int:
        """The number of pairs of one class."""
        pairs: int = getattr(self, name.replace(" ", "_"))
        return pairs


@dataclass(frozen=True)
class Pairs:
    """Symmetric boolean matrices (N, N) without the diagonal.

    Attributes:
        together, relevant: see the module.
        sampled: the shares of the data from which the pairs were counted.
    """

    together: sp.csr_array
    relevant: sp.csr_array
    sampled: Sampled

    @cached_property
    def known_only_to(self) -> dict[Task, sp.csr_array]:
        """By task, the pairs that are only in its training data, (N, N)."""
        return {
            "recommendation": _without(self.together, self.relevant),
            "search": _without(self.relevant, self.together),
        }

    def counts(self) -> PairCounts:
        """The number of pairs of each class, and the redundancy of the tasks."""
        n = self.together.shape[0]
        together, relevant = self.together.nnz // 2, self.relevant.nnz // 2
        both = self.together.multiply(self.relevant).nnz // 2
        possible = n * (n - 1) // 2
        return PairCounts(
            both=both,
            together_only=together - both,
            relevant_only=relevant - both,
            neither=possible - together - relevant + both,
            relevant_given_together=both / together if together else None,
            relevant_at_random=relevant / possible,
            together_given_relevant=both / relevant if relevant else None,
            together_at_random=together / possible,
            looked_at=self.sampled,
        )

    def sample(self, name: PairClass, size: int, seed: int = 0) -> Ints:
        """At most `size` pairs of one of `CLASSES`, (P, 2), the first below the second."""
        rng = np.random.default_rng([seed, CLASSES.index(name)])
        if name == "neither":
            return self._neither(rng, size)
        joined = {
            "both": self.together.multiply(self.relevant),
            "together only": self.known_only_to["recommendation"],
            "relevant only": self.known_only_to["search"],
        }[name]
        joined = sp.csr_array(joined)
        above = np.repeat(np.arange(joined.shape[0], dtype=np.int32), np.diff(joined.indptr))
        places = np.flatnonzero((joined.indices > above) & (joined.data != 0))
        chosen = places[rng.permutation(len(places))[:size]]
        return np.stack([above[chosen], joined.indices[chosen]], axis=1).astype(np.int64)

    def _neither(self, rng: np.random.Generator, size: int) -> Ints:
        n = self.together.shape[0]
        drawn = np.sort(rng.integers(n, size=(4 * size, 2)), axis=1)
        drawn = np.unique(drawn[drawn[:, 0] < drawn[:, 1]], axis=0)
        joined = (self.together + self.relevant).tocsr()
        apart = drawn[~np.asarray(joined[drawn[:, 0], drawn[:, 1]], dtype=bool).ravel()]
        chosen: Ints = apart[rng.permutation(len(apart))[:size]]
        return chosen


def training_pairs(dataset: PreparedDataset) -> Pairs:
    """The pairs in the training data of each task."""
    n = len(dataset.catalog)
    histories = list(dataset.training_histories.values())
    by_query = dataset.task("search").items_by_query
    together, of_users = _joined(histories, n)
    relevant, of_queries = _joined(list(by_query.values()), n)
    return Pairs(together, relevant, Sampled(histories=of_users, queries=of_queries))


def _joined(groups: list[Ints], n: int) -> tuple[sp.csr_array, float]:
    """The pairs of items that share a group, and the share of groups that was counted."""
    order = np.random.default_rng(0).permutation(len(groups))
    work = np.cumsum([len(groups[row]) ** 2 for row in order]) if groups else np.zeros(0)
    limit = _WORK_SMALL if n <= _SMALL else _WORK_LARGE
    taken = [groups[row] for row in order[: max(1, int(np.searchsorted(work, limit)))]]
    rows = np.repeat(np.arange(len(taken)), [len(items) for items in taken])
    columns = np.concatenate([*taken, np.zeros(0, dtype=np.int64)])
    ones = np.ones(len(columns), dtype=np.float32)
    member = sp.csr_array((ones, (rows, columns)), shape=(max(1, len(taken)), n))
    # Block by block: if most items share a group, the counts of all take 8 bytes for each pair.
    transposed, blocks = member.T.tocsr(), []
    for start in range(0, n, _ROWS):
        block = (transposed[start : start + _ROWS] @ member).tocsr()
        block.data = np.ones(block.nnz, np.int8)
        blocks.append(block)
    joined = sp.csr_array(sp.vstack(blocks, format="csr"))
    joined.setdiag(0)
    joined.eliminate_zeros()
    return joined, len(taken) / max(1, len(groups))


def _without(first: sp.csr_array, second: sp.csr_array) -> sp.csr_array:
    return sp.csr_array(first > second)
