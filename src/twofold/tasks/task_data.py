"""A task of a dataset, read once: what it learns from and what it is judged on.

Invariant: whatever is returned is made on first use, kept, and shared by all callers, so nobody may
change it; arrays of counts are read-only.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from twofold.data.words import query_key
from twofold.records import Example, InputError, Ints, Source, Split, Task
from twofold.tasks.examples import (
    JudgedRequests,
    build_examples,
    build_requests,
    item_text_examples,
)

if TYPE_CHECKING:
    from twofold.tasks.prepared import PreparedDataset

_NEED: dict[Task, str] = {
    "search": "a training query with a right answer (queries and qrels)",
    "recommendation": "a user with two or more training events (interactions)",
}
"""What a task needs in order to have a training example."""


class TaskData:
    """One task of a dataset; `PreparedDataset.task` holds one for each.

    Args:
        dataset: the dataset that the task belongs to.
        task: search or recommendation; one that the dataset lacks has no example and no request.
    """

    def __init__(self, dataset: "PreparedDataset", task: Task) -> None:
        self.task = task
        self._dataset = dataset
        self._requests: dict[Split, JudgedRequests] = {}

    @cached_property
    def examples(self) -> Sequence[Example]:
        """The training examples."""
        return tuple(build_examples(self._dataset, self.task))

    def require_examples(self) -> None:
        """Raise InputError where the task has no training example."""
        if not self.examples:
            raise InputError(
                f"{self._dataset.source}: no usable training example for {self.task}; it needs "
                f"{_NEED[self.task]}"
            )

    def source(self, item_text_queries: int = 0) -> Source:
        """The training examples as a source named after the task.

        Args:
            item_text_queries: in search, the number of examples added for each item from its text,
                next to one from its title; 0 adds none.

        Raises:
            InputError: there is no training example.
        """
        self.require_examples()
        if self.task == "recommendation" or not item_text_queries:
            return Source(self.task, self.examples)
        of_texts = item_text_examples(self._dataset.catalog, item_text_queries)
        return Source(self.task, (*self.examples, *of_texts))

    def requests(self, split: Split) -> JudgedRequests:
        """The requests of a split with their right answers."""
        if split not in self._requests:
            self._requests[split] = build_requests(self._dataset, self.task, split)
        return self._requests[split]

    @cached_property
    def popularity(self) -> Ints:
        """How often each item occurs in the training data, (N,).

        Every training event counts in recommendation, every (query, right answer) in search.
        """
        size = len(self._dataset.catalog)
        if self.task == "recommendation":
            return item_counts(self._dataset.training_histories.values(), size)
        return item_counts((example.targets for example in self.examples), size)

    @cached_property
    def test_popularity(self) -> Ints:
        """How often each item is a target of the test requests, (N,)."""
        positions = self._dataset.catalog.positions
        targets = [
            np.array([positions[item_id] for item_id in relevant], dtype=np.int64)
            for relevant in self.requests("test").qrels.values()
        ]
        return item_counts(targets, len(self._dataset.catalog))

    @cached_property
    def answers_by_query(self) -> Mapping[str, Ints]:
        """The right answers of each training query, by its normalised text: positions, (A,)."""
        targets: dict[str, list[Ints]] = {}
        for example in self.examples:
            targets.setdefault(query_key(example.query or ""), []).append(example.targets)
        return {query: np.unique(np.concatenate(items)) for query, items in targets.items()}

    @cached_property
    def queries_by_item(self) -> Sequence[Sequence[str]]:
        """The training queries that want each item, in order; equal texts are all kept."""
        queries: list[list[str]] = [[] for _ in range(len(self._dataset.catalog))]
        for example in self.examples:
            for item in example.targets:
                queries[item].append(example.query or "")
        return tuple(tuple(own) for own in queries)


def item_documents(dataset: "PreparedDataset") -> list[str]:
    """The document of each item: its text, then the training queries that want it."""
    queries = dataset.task("search").queries_by_item
    texts = dataset.catalog.texts
    return [" ".join([text, *own]) for text, own in zip(texts, queries, strict=True)]


def item_counts(groups: Iterable[Ints], size: int) -> Ints:
    """How often each of `size` items occurs in the groups of positions, (size,); read-only."""
    items = np.concatenate([*groups, np.zeros(0, dtype=np.int64)])
    counts: Ints = np.bincount(items, minlength=size)
    counts.flags.writeable = False
    return counts
