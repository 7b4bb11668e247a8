"""The few records that everything flows through.

Requests and runs name items by their external `item_id`, examples by their position in the catalog
(an integer), as arrays hold millions of them.

The errors that callers may catch:

    ValueError
        InputError                         a mistake in what the user gave, or a broken file
            extras.MissingExtraError       a library of an extra is not installed
            additions.placement.UnplaceableError    a new item that the model has no place for
            model.checkpoint.NotFiniteError         a model whose training diverged
            training.state.DivergedError            a training that diverges
    Exception
        serving.client.ServerError         a server answered with a problem
        serving.engines.batching.OverloadedError    the queue of requests is full
        serving.engines.reload.ReloadingError       another reload is running

Shapes: H items of a history, T targets.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
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


_LINE_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class InputError(ValueError):
    """A mistake in what the user gave: the message names the place, the value and the remedy.

    As text it is one line: a line break within a value is shown as an escape.
    """

    def __str__(self) -> str:
        return _LINE_BREAK.sub(lambda match: repr(match[0])[1:-1], super().__str__())


@dataclass(frozen=True, slots=True)
class Request:
    """What a retriever answers: a query, a history, or both.

    Attributes:
        request_id: the key of the answer in a run.
        query: the query's text, or None.
        history: item ids, oldest first.
        exclude: item ids that may not come back.
        user_id: the user, or None; intervals resample users, as the requests of one user are not
            independent. Models do not read it.
        where: (attribute, values) pairs; an item comes back only if each of the attributes has one
            of its values.
    """

    request_id: str
    _: KW_ONLY
    query: str | None = None
    history: tuple[str, ...] = ()
    exclude: frozenset[str] = frozenset()
    user_id: str | None = None
    where: tuple[tuple[str, frozenset[str]], ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Example:
    """One context and the targets that it should generate.

    A target sees the first `visible` items of the history, and the query only if it sees all of
    them. So one user's events give one example with a target at every event.

    Attributes:
        history: catalog positions, oldest first, (H,).
        query: the query's text, or None.
        targets: catalog positions, (T,).
        visible: for each target the number of history items that it sees, (T,).
        weights: the weight of each target in the loss, (T,); None where all are equal.
    """

    history: Ints
    query: str | None
    targets: Ints
    visible: Ints
    weights: Floats | None = None

    def cut(self, most: int) -> "Example":
        """The example with the last `most` items of the history, and the targets that see one."""
        before = max(0, len(self.history) - most)
        if not before:
            return self
        kept = self._with_targets(self.visible > before)
        return replace(kept, history=self.history[before:], visible=kept.visible - before)

    def windows(self, most: int) -> "list[Example]":
        """The example in windows of at most `most` items of the history, the last window first.

        Every target is in one of them. The last is that of `cut`; earlier ones have no query.
        """
        rest, windows = self, []
        while len(rest.history) > most:
            windows.append(rest.cut(most))
            before = len(rest.history) - most
            kept = rest._with_targets(rest.visible <= before)
            rest = replace(kept, history=rest.history[:before], query=None)
        return [*windows, rest]

    def by_context(self) -> "list[Example]":
        """One example for each part of the history that some target sees."""
        examples = []
        for visible in np.unique(self.visible):
            part = self._with_targets(self.visible == visible)
            query = self.query if visible == len(self.history) else None
            examples.append(replace(part, history=self.history[:visible], query=query))
        return examples

    def _with_targets(self, kept: npt.NDArray[np.bool_]) -> "Example":
        """The example with some of its targets; `kept` is (T,)."""
        return replace(
            self,
            targets=self.targets[kept],
            visible=self.visible[kept],
            weights=None if self.weights is None else self.weights[kept],
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A named stream of training examples, such as one of the tasks."""

    name: str
    examples: Sequence[Example]

    @property
    def targets(self) -> int:
        """The number of targets of all examples."""
        return sum(len(example.targets) for example in self.examples)

    def cut(self, most: int) -> "Source":
        """The source with every example cut; see `Example.cut`."""
        examples = (example.cut(most) for example in self.examples)
        return replace(self, examples=[example for example in examples if len(example.targets)])

    def windows(self, most: int) -> "Source":
        """The same targets, every example in windows; see `Example.windows`."""
        examples = (window for example in self.examples for window in example.windows(most))
        return replace(self, examples=[example for example in examples if len(example.targets)])

    def by_context(self) -> "Source":
        """The same targets, an example for each context; see `Example.by_context`."""
        examples = [part for example in self.examples for part in example.by_context()]
        return replace(self, examples=examples)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The items that answer one request, best first, and their scores."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One item of an answer with its rank, from 1, and its title."""

    rank: int
    item_id: str
    title: str
    score: float


class RankedItems(list[RankedItem]):
    """The items that answer a search, best first.

    Attributes:
        no_known_words: the model knows no word of the query, so the items rest on the history and,
            without one, on parts of words and on popularity.
    """

    def __init__(self, items: Iterable[RankedItem] = (), no_known_words: bool = False) -> None:
        super().__init__(items)
        self.no_known_words = no_known_words


@dataclass(frozen=True, slots=True)
class Run:
    """One system's rankings, by request_id."""

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
