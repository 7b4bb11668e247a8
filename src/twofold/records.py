"""The few records that everything flows through.

Items are named by their external `item_id` in requests and runs, and by their position in the
catalog (an integer) in examples, where millions of them are held in arrays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Task = Literal["search", "recommendation"]
TASKS: tuple[Task, ...] = ("search", "recommendation")


def other_task(task: Task) -> Task:
    """The task that is joined with this one."""
    return "recommendation" if task == "search" else "search"


Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Qrels = Mapping[str, Mapping[str, int]]
"""request_id -> item_id -> relevance; an item that is not named is not relevant."""


class InputError(ValueError):
    """A user's mistake: the message names the place, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a retriever answers: a query, a history (oldest first), or both.

    `exclude` names items that may not come back, and `where` attributes of those that may: all of
    the named ones must hold one of their values. `user_id` is the unit that errors are correlated
    within; it says nothing to a model.
    """

    request_id: str
    query: str | None = None
    history: tuple[str, ...] = ()
    exclude: frozenset[str] = frozenset()
    user_id: str | None = None
    where: tuple[tuple[str, frozenset[str]], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One context and the targets that it should generate.

    A target may see the first `visible` items of the history; only a target that sees all of
    them sees the query. So one user's events give one example with a target at every event.

    Attributes:
        history: catalog positions, oldest first, shape (H,).
        query: what was typed, if anything.
        targets: catalog positions, shape (T,).
        visible: for each target the number of history items before it, shape (T,).
        weights: of the targets in the loss, shape (T,); all alike where None.
    """

    history: Ints
    query: str | None
    targets: Ints
    visible: Ints
    weights: Floats | None = None

    def cut(self, most: int) -> "Example":
        """The same with the last `most` items of the history, and the targets that see them."""
        before = max(0, len(self.history) - most)
        if not before:
            return self
        seen = self.visible > before
        weights = None if self.weights is None else self.weights[seen]
        return Example(
            self.history[before:],
            self.query,
            self.targets[seen],
            self.visible[seen] - before,
            weights,
        )

    def windows(self, most: int) -> "list[Example]":
        """The whole of it in windows of `most` items of the history, every target in one of them.

        The last window is what `cut` gives; an earlier one holds no query.
        """
        rest, found = self, []
        while len(rest.history) > most:
            found.append(rest.cut(most))
            before = len(rest.history) - most
            seen = rest.visible <= before
            weights = None if rest.weights is None else rest.weights[seen]
            rest = Example(
                rest.history[:before], None, rest.targets[seen], rest.visible[seen], weights
            )
        return [*found, rest]

    def by_context(self) -> "list[Example]":
        """One example for each part of the history that some target sees."""
        examples = []
        for visible in np.unique(self.visible):
            chosen = self.visible == visible
            examples.append(
                replace(
                    self,
                    history=self.history[:visible],
                    query=self.query if visible == len(self.history) else None,
                    targets=self.targets[chosen],
                    visible=self.visible[chosen],
                    weights=None if self.weights is None else self.weights[chosen],
                )
            )
        return examples


@dataclass(frozen=True, slots=True)
class Source:
    """A named stream of training examples: one of the tasks, or item text."""

    name: str
    examples: Sequence[Example]

    @property
    def targets(self) -> int:
        return sum(len(example.targets) for example in self.examples)

    def cut(self, most: int) -> "Source":
        """The last `most` items of every history, and the targets that see one of them or a
        query."""
        examples = (example.cut(most) for example in self.examples)
        return Source(self.name, [example for example in examples if len(example.targets)])

    def windows(self, most: int) -> "Source":
        """The same targets, in windows of at most so many items of a history."""
        examples = (piece for example in self.examples for piece in example.windows(most))
        return Source(self.name, [example for example in examples if len(example.targets)])

    def by_context(self) -> "Source":
        """One example for each context: each part of a history that some target sees."""
        return Source(self.name, [one for example in self.examples for one in example.by_context()])


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer to one request, best first: item ids and their scores."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One item of an answer, as a person reads it."""

    rank: int
    item_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Run:
    """One system's ranked answers, by request_id."""

    name: str
    rankings: Mapping[str, Ranking] = field(default_factory=dict)

    def __getitem__(self, request_id: str) -> Ranking:
        return self.rankings[request_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rankings)

    def __len__(self) -> int:
        return len(self.rankings)


class Retriever(Protocol):
    """Anything that answers requests from the full catalog."""

    @property
    def name(self) -> str: ...

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """Rank the `k` best items for each request, never one that the request excludes.

        Equal scores are ordered by `item_id`, descending as strings. Fewer than `k` items come
        back only where fewer are allowed.
        """
        ...
