"""The features of the forecast, computed from the data before any training.

Sizes, overlap and divergence are those of the data report. Two cheap probes measure on
validation requests how much counts of the added task's data help: *pairs*, by neighbours of items,
and *popularity*, by counts alone. No test request is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from twofold.data.words import words
from twofold.encoders.item_vectors import incidence, keep_largest
from twofold.records import Floats, Ints, Task, other_task
from twofold.tasks.popularity import jensen_shannon, popularity_distribution
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests

DESCRIPTIONS: Mapping[str, str] = {
    "is_search": "the helped task",
    "log_items": "the number of items",
    "log_own_targets": "the task's training targets per item",
    "log_added_targets": "the other task's training targets per item",
    "overlap": "the share of training targets whose item the other task trains on",
    "divergence": "the divergence of the tasks' popularity distributions",
    "agreement": "the correlation of the tasks' item similarities",
    "text": "the share of items with text",
    "pairs_over_popularity": "the ratio of recall by item pairs to recall by popularity",
    "pairs_gain": "the relative gain in recall from the other task's pairs",
    "popularity_gain": "the relative gain in recall from the other task's counts",
}
"""What each feature measures.

`divergence` is the Jensen-Shannon divergence of the training distributions. A `gain` is the
increase of a probe's Recall@10 on validation by the added task's counts, as a share of the recall
with own data. `pairs_over_popularity` is log10 of the recall by own pairs over the recall by own
popularity. Only the first two features change with the size of the catalog alone; recall itself
would too."""

FEATURES = tuple(DESCRIPTIONS)
"""The names of the features, in order."""

_REQUESTS, _LAST, _DEPTH = 400, 20, 10
"""The largest numbers of validation requests, items of a history, and ranked items."""
_USERS, _EVENTS, _PAIRS = 5000, 100, 500_000
"""The largest numbers of histories, of last events of each, and of pairs of a query and a relevant
item, from which the similarities of items are computed."""
_FURTHER = 0.3
"""The weight of neighbours of neighbours, and of the other task's; direct neighbours have 1."""
_UNKNOWN = 0.3
"""The weight of an item that is not a training target of the helped task."""
_NEAREST, _BLOCK = 50, 1000
"""The number of neighbours kept for an item, and the items whose neighbours are found at once."""
_LEAST_FOUND, _LEAST_COMPARED = 0.02, 0.01
"""The smallest recall by which a gain, or a ratio of recalls, is divided."""


def features(dataset: PreparedDataset, task: Task, *, text: bool) -> Floats:
    """The values of `FEATURES` for one task, the helped one, (features,).

    Args:
        dataset: a dataset with both tasks.
        task: the helped task.
        text: whether models read the items' texts.
    """
    probe = dataset.cached(("probe", text), lambda: Probe(dataset, text))
    added, size = other_task(task), len(dataset.catalog)
    own, other = (dataset.task(each).popularity for each in (task, added))
    divergence = jensen_shannon(*(popularity_distribution(each) for each in (own, other)))
    values = {
        "is_search": float(task == "search"),
        "log_items": np.log10(size),
        "log_own_targets": np.log10(max(1, own.sum()) / size),
        "log_added_targets": np.log10(max(1, other.sum()) / size),
        "overlap": own[other > 0].sum() / max(1, own.sum()),
        "divergence": divergence,
        "agreement": probe.agreement,
        "text": np.mean([bool(each) for each in dataset.catalog.texts]) if text else 0.0,
        **probe.measured(task),
    }
    return np.array([values[name] for name in FEATURES], dtype=np.float64)


@dataclass(frozen=True)
class Probe:
    """A retriever from counts of the training data.

    Attributes:
        dataset: a dataset with both tasks.
        text: whether an item's text counts as a query for which the item is relevant.
    """

    dataset: PreparedDataset
    text: bool

    @cached_property
    def near_in_histories(self) -> sp.csr_array:
        """The cosine of two items by the users in whose histories they are, (N, N)."""
        histories = self.dataset.training_histories
        chosen = np.random.default_rng(0).permutation(len(histories))[:_USERS]
        recent = [histories.at(number)[-_EVENTS:] for number in chosen]
        return _near(sp.csr_array(incidence(recent, self._size).T))

    @cached_property
    def near_in_queries(self) -> sp.csr_array:
        """The cosine of two items by the words of queries for which they are relevant, (N, N)."""
        return _near(self._wanted)

    @cached_property
    def agreement(self) -> float:
        """The correlation of the two cosines over all pairs of items."""
        one, other = self.near_in_histories, self.near_in_queries
        pairs = self._size * (self._size - 1)
        means = one.sum() / pairs, other.sum() / pairs
        covariance = one.multiply(other).sum() / pairs - means[0] * means[1]
        variances = [
            each.multiply(each).sum() / pairs - mean**2
            for each, mean in zip((one, other), means, strict=True)
        ]
        return float(covariance / np.sqrt(max(variances[0] * variances[1], 1e-24)))

    def measured(self, task: Task) -> dict[str, float]:
        """The features from the recall of both probes on validation, with and without the added
        task's counts."""
        judged = self.dataset.task(task).requests("validation").sample(_REQUESTS)
        own, other = (self.dataset.task(t).popularity for t in (task, other_task(task)))
        scores = self._histories(judged) if task == "recommendation" else self._queries(judged)
        by_pairs = [self._recall(judged, scored, 1e-3 * _share(own)) for scored in scores]
        nothing = sp.csr_array(scores[0].shape)
        by_counts = [self._recall(judged, nothing, _share(each)) for each in (own, own + other)]
        own_pairs, own_counts = (max(each[0], _LEAST_COMPARED) for each in (by_pairs, by_counts))
        return {
            "pairs_over_popularity": np.log10(own_pairs / own_counts),
            "pairs_gain": _gain(by_pairs),
            "popularity_gain": _gain(by_counts),
        }

    def _histories(self, judged: JudgedRequests) -> tuple[sp.csr_array, sp.csr_array]:
        """Scores of items by the neighbours of the history's items, (R, N) each: from the task's
        own data, and from the data of both tasks."""
        at = self.dataset.catalog.positions
        histories = [
            np.array([at[item] for item in request.history[-_LAST:]], dtype=np.int64)
            for request in judged.requests
        ]
        asked = incidence(histories, self._size)
        near = _scaled(asked @ self.near_in_histories)
        of_task = near + _FURTHER * _scaled(near @ self.near_in_histories)
        added = _scaled(asked @ self.near_in_queries) + _scaled(near @ self.near_in_queries)
        return of_task, of_task + _FURTHER * self._known(added, "recommendation")

    def _queries(self, judged: JudgedRequests) -> tuple[sp.csr_array, sp.csr_array]:
        """Scores of items by the words of the query, (R, N) each, as by `_histories`: the relevant
        items of the words, and these items' neighbours."""
        column = self._columns
        asked = incidence(
            [
                np.array([column[w] for w in set(words(r.query or "")) if w in column], np.int64)
                for r in judged.requests
            ],
            max(1, len(column)),
        )
        wanted = asked @ _unit_rows(self._wanted).T.tocsr()
        near = _scaled(wanted)
        of_task = near + _FURTHER * _scaled(near @ self.near_in_queries)
        return of_task, of_task + _FURTHER * self._known(
            _scaled(near @ self.near_in_histories), "search"
        )

    def _known(self, scores: sp.csr_array, task: Task) -> sp.csr_array:
        """The scores with a lower weight for items that are not targets of the task."""
        weight: Floats = np.where(self.dataset.task(task).popularity > 0, 1.0, _UNKNOWN)
        return sp.csr_array(scores.multiply(weight[None, :]))

    def _recall(self, judged: JudgedRequests, scores: sp.csr_array, usual: Floats) -> float:
        """Recall@10 of scores (R, N) plus `usual` (N,); excluded items are left
        out."""
        at, recalls = self.dataset.catalog.positions, []
        for number, request in enumerate(judged.requests):
            row = scores[[number]].toarray()[0] + usual
            row[[at[item] for item in request.exclude]] = -np.inf
            first = set(np.argpartition(-row, min(_DEPTH, len(row) - 1))[:_DEPTH].tolist())
            right = {at[item] for item in judged.qrels[request.request_id]}
            recalls.append(len(first & right) / max(1, len(right)))
        return float(np.mean(recalls)) if recalls else 0.0

    @property
    def _size(self) -> int:
        return len(self.dataset.catalog)

    @cached_property
    def _columns(self) -> dict[str, int]:
        """The number of each word."""
        vocabulary = {word for texts, _ in self._documents for word in texts}
        return {word: n for n, word in enumerate(sorted(vocabulary))}

    @cached_property
    def _documents(self) -> Sequence[tuple[set[str], Ints]]:
        """Words and their relevant items, from training queries and from the items' texts."""
        asked = [
            (set(words(example.query or "")), example.targets)
            for example in self.dataset.task("search").examples.sample(_PAIRS)
        ]
        texts = self.dataset.catalog.texts if self.text else ()
        return [*asked, *((set(words(each)), np.array([n])) for n, each in enumerate(texts))]

    @cached_property
    def _wanted(self) -> sp.csr_array:
        """The tf-idf weight of each word for each item, (N, words)."""
        rows, columns = [], []
        for known, items in self._documents:
            for word in known:
                rows += items.tolist()
                columns += [self._columns[word]] * len(items)
        shape = (self._size, max(1, len(self._columns)))
        counted = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        counted.sum_duplicates()
        counted.data = np.log1p(counted.data)
        documents = np.asarray((counted > 0).sum(axis=0)).ravel()
        idf = np.log(1 + self._size / np.maximum(1, documents))
        return sp.csr_array(counted.multiply(idf[None, :]))


def _near(items: sp.csr_array) -> sp.csr_array:
    """Cosines of rows (N, D) with their `_NEAREST` neighbours, (N, N), without the diagonal."""
    rows = _unit_rows(items)
    columns, blocks = rows.T.tocsc(), []
    for start in range(0, rows.shape[0], _BLOCK):
        block = sp.csr_array(rows[start : start + _BLOCK] @ columns)
        itself = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)) + start
        block.data[block.indices == itself] = 0
        block.eliminate_zeros()
        blocks.append(keep_largest(block, _NEAREST))
    return sp.csr_array(sp.vstack(blocks, format="csr"))


def _unit_rows(matrix: sp.csr_array) -> sp.csr_array:
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = sp.dia_array((1 / np.maximum(lengths, 1e-12)[None, :], [0]), shape=(len(lengths),) * 2)
    return sp.csr_array(scale @ matrix)


def _scaled(scores: sp.csr_array) -> sp.csr_array:
    """Each row divided by its largest value."""
    largest = np.asarray(scores.max(axis=1).todense()).ravel()
    scale = sp.dia_array((1 / np.maximum(largest, 1e-12)[None, :], [0]), shape=(len(largest),) * 2)
    return sp.csr_array(scale @ scores)


def _share(counts: Ints) -> Floats:
    shares: Floats = counts / max(1, counts.sum())
    return shares


def _gain(recalls: Sequence[float]) -> float:
    """The relative increase from the first to the second recall, clipped to -1 to 3."""
    return float(np.clip((recalls[1] - recalls[0]) / max(recalls[0], _LEAST_FOUND), -1, 3))
