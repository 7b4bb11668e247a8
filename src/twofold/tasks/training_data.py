"""Training examples of histories, of queries and of item texts, and the documents of items.

Invariant: no training example of any task contains a user's validation or test event, or a later
event of that user. Callers read the examples from `PreparedDataset.task`, which creates them once.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twofold.data.dataset import Catalog
from twofold.data.words import words
from twofold.records import Floats, Ints, Task, slice_indices
from twofold.tasks.arrays import TRAIN, Columns, Events, Histories, JudgedQueries
from twofold.training_examples import Example, Examples

_DRAW_SEED = 20241
"""The random seed of the queries that are drawn from item texts."""

_QUERIES = 1 << 20
"""The number of queries that are processed together."""

_NO_PAIR = np.iinfo(np.int64).max
"""A value that is not a pair of a user and an item."""


def columns_of(events: Events, queries: JudgedQueries) -> Columns:
    """The tables of a dataset as arrays, with the training data."""
    users, trained = events.training_histories()
    return Columns(events, trained, users, queries, query_examples(events, queries))


def build_examples(columns: Columns, task: Task) -> Examples:
    """The training examples of one task; empty if the dataset lacks it."""
    return columns.searches if task == "search" else _history_examples(columns.trained)


def _history_examples(histories: Histories) -> Examples:
    """One example for each user: every event but the first is a target, given those before it."""
    several = np.flatnonzero(histories.ends - histories.begins > 1)
    begins, ends = histories.begins[several], histories.ends[several]
    return Examples.of_histories(histories.positions, begins, ends)


def query_examples(events: Events, queries: JudgedQueries) -> Examples:
    """One example for each query: all its relevant items, given its text and its user's history.

    A query that its user typed at or after the first held-out event is left out, and so are the
    user's held-out items as targets: a click on a result is often logged as an interaction too.
    """
    held_out = np.sort(events.held_out_pairs())
    first_held_out = np.append(events.first_held_out(), np.inf)
    rows = np.flatnonzero(queries.splits == TRAIN)
    parts = [
        _QueryRows.of(events, queries, rows[start : start + _QUERIES], first_held_out, held_out)
        for start in range(0, max(1, len(rows)), _QUERIES)
    ]
    rows, counts, targets, begins, before = map(np.concatenate, zip(*parts, strict=True))
    target_ends = np.cumsum(counts)
    return Examples(
        items=events.items,
        begins=begins,
        ends=begins + before,
        order="end",
        targets=targets,
        target_starts=target_ends - counts,
        target_ends=target_ends,
        query_of=queries.text_of[rows],
        queries=queries.texts,
    ).drop_empty()


class _QueryRows(NamedTuple):
    """Training queries: their numbers, their targets, and the earlier events of their users."""

    rows: Ints
    counts: Ints
    targets: Ints
    begins: Ints
    before: Ints

    @staticmethod
    def of(
        events: Events, queries: JudgedQueries, rows: Ints, first_held_out: Floats, held_out: Ints
    ) -> "_QueryRows":
        """Some queries.

        Args:
            events, queries: all events and queries.
            rows: the numbers of these queries, (n,).
            first_held_out: the time of each user's first held-out event; infinity for no user.
            held_out: `Events.held_out_pairs`, sorted.
        """
        times = queries.times[rows]
        # If the events have no times (NaN), the query may be later than a held-out event.
        rows = rows[np.isnan(times) | (times < first_held_out[queries.users[rows]])]
        users, counts = np.asarray(queries.users[rows], np.int64), np.diff(queries.starts)[rows]
        indices = slice_indices(queries.starts[rows], counts)
        pairs = (np.repeat(users, counts) << 32) + queries.items[indices]
        # Sorted lookups are several times as fast, since they read memory in order.
        order = np.argsort(pairs)
        kept = np.ones(len(pairs), dtype=bool)
        places = np.searchsorted(held_out, pairs[order])
        kept[order] = np.append(held_out, _NO_PAIR)[places] != pairs[order]
        return _QueryRows(
            rows=rows,
            counts=np.bincount(np.repeat(np.arange(len(rows)), counts)[kept], minlength=len(rows)),
            targets=queries.items[indices[kept]],
            begins=events.starts[users] * (users >= 0),
            before=events.before(users, queries.times[rows]),
        )


def item_text_examples(catalog: Catalog, snippets: int) -> list[Example]:
    """One search example for each of an item's `item_text_queries`, the item as its target.

    They let search learn items that are not relevant to any training query.
    """
    empty_history, visible = np.zeros(0, dtype=np.int64), np.zeros(1, np.int64)
    return [
        Example(
            history=empty_history,
            query=query,
            targets=np.array([item], dtype=np.int64),
            visible=visible,
        )
        for item, queries in enumerate(item_text_queries(catalog, snippets))
        for query in queries
    ]


def item_text_queries(catalog: Catalog, snippets: int) -> list[list[str]]:
    """Artificial queries for each item: its title, and `snippets` samples of one to four words.

    The samples are the same in every arm and seed. Rare words are drawn more often, since users
    search with them.
    """
    by_text = [sorted(set(words(text))) for text in catalog.texts]
    frequency = Counter(word for item_words in by_text for word in item_words)
    by_item = []
    for item, (title, item_words) in enumerate(zip(catalog.items["title"], by_text, strict=True)):
        rng = np.random.default_rng([_DRAW_SEED, item])
        queries = [title] if title else []
        idf = np.log(len(by_text) / np.array([frequency[word] for word in item_words]) + 1.0)
        for _ in range(snippets if item_words else 0):
            size = min(len(item_words), int(rng.integers(1, 5)))
            queries.append(" ".join(rng.choice(item_words, size, replace=False, p=idf / idf.sum())))
        by_item.append(queries)
    return by_item


def queries_by_item(examples: Examples, items: int) -> Sequence[Sequence[str]]:
    """For each of `items` items, the queries of search examples with it as a target, in order.

    Equal texts are all kept.
    """
    queries: list[list[str]] = [[] for _ in range(items)]
    targets = examples.flat_targets().items
    with_counts = zip(examples.texts(), examples.counts.tolist(), strict=True)
    texts = (text for text, count in with_counts for _ in range(count))
    for item, text in zip(targets.tolist(), texts, strict=True):
        queries[item].append(text)
    return tuple(tuple(of_item) for of_item in queries)


def item_documents(texts: Sequence[str], queries: Sequence[Sequence[str]]) -> list[str]:
    """The document of each item: its text, then the training queries for which it is relevant.

    Args:
        texts: the text of each item, (N,).
        queries: the result of `queries_by_item`.
    """
    return [" ".join([text, *of_item]) for text, of_item in zip(texts, queries, strict=True)]
