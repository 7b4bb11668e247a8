"""The records and types that all packages share.

Requests and runs refer to items by their external `item_id`; training examples
(`twofold.training_examples`) by their position in the catalog.

The errors that callers may catch:

    ValueError
        InputError                         invalid input from the user, or a broken file
            extras.MissingExtraError       a library of an extra is not installed
            additions.placement.UnplaceableError    a new item that the model cannot add
            model.checkpoint.NotFiniteError         a model with weights that are not finite
            training.state.DivergedError            a training that diverges
    Exception
        serving.client.ServerError         a server answered with a problem
        serving.engines.batching.OverloadedError    the queue of requests is full
        serving.engines.reload.ReloadingError       another reload is running
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Task = Literal["search", "recommendation"]
TASKS: tuple[Task, ...] = ("search", "recommendation")


def other_task(task: Task) -> Task:
    """The other one of the two tasks."""
    return "recommendation" if task == "search" else "search"


Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Seen = Literal["exclude", "keep"]
"""Whether a recommendation may be an item of the history."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Qrels = Mapping[str, Mapping[str, int]]
"""request_id -> item_id -> relevance; an item without an entry is not relevant."""


def slice_indices(begins: Ints, counts: Ints) -> Ints:
    """The indices of n slices, concatenated: `counts[i]` consecutive ones from `begins[i]`.

    Args:
        begins, counts: the first index and the number of indices of each slice, (n,).
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Ints = np.arange(total) + np.repeat(begins - (ends - counts), counts)
    return numbers


_LINE_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class InputError(ValueError):
    """Invalid input from the user; the message has the place, the value and the remedy.

    The message is one line: a line break within a value is shown as an escape.
    """

    def __str__(self) -> str:
        return _LINE_BREAK.sub(lambda match: repr(match[0])[1:-1], super().__str__())


@dataclass(frozen=True, slots=True)
class Request:
    """What a retriever answers: a query, a history, or both.

    Attributes:
        request_id: the key of the ranking in a run.
        query: the query's text, or None.
        history: item ids, oldest first.
        exclude: item ids that must not be returned.
        user_id: the user, or None; intervals resample users, as the requests of one user are not
            independent. Models do not read it.
        where: (attribute, values) pairs; an item is returned only if every attribute has one of its
            values.
        time: the time of the request, in seconds since 1970; None if it is not known. Only models
            that were trained with `request_time` read it.
        last_event_time: the time of the last event of the history, in seconds since 1970.
    """

    request_id: str
    _: KW_ONLY
    query: str | None = None
    history: tuple[str, ...] = ()
    exclude: frozenset[str] = frozenset()
    user_id: str | None = None
    where: tuple[tuple[str, frozenset[str]], ...] = ()
    time: float | None = None
    last_event_time: float | None = None

    @property
    def since_last_event(self) -> float | None:
        """The seconds from the last event of the history to the request; None if not known."""
        if self.time is None or self.last_event_time is None:
            return None
        return self.time - self.last_event_time


def require_requests(requests: Sequence[Request]) -> None:
    """Raise InputError if one is not a `Request`, or two have the same `request_id`.

    A run has one ranking for each `request_id`, so that of the earlier request would be lost.
    """
    seen = set()
    for request in requests:
        if not isinstance(request, Request):
            raise InputError(
                f"{request!r:.100} is no request; give a list of twofold.Request(request_id, ...)"
            )
        if request.request_id in seen:
            raise InputError(
                f"request_id '{request.request_id}' occurs twice; give each request its own"
            )
        seen.add(request.request_id)


def require_text(query: object) -> str:
    """A query, which must be a str that can be encoded.

    Raises:
        InputError: it is not a str, or contains an unpaired surrogate.
    """
    if not isinstance(query, str):
        raise InputError(f"the query {query!r:.100} is not a str; give one")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the query {query!r:.100} has an unpaired surrogate, or a byte that is not UTF-8; "
            f"type it again"
        ) from error
    return query


def item_ids_of(history: Iterable[str] | None) -> tuple[str, ...]:
    """The item ids of a history, which may be any iterable of them in an order.

    Raises:
        InputError: the history is a single str, has no order, or an id is not a str.
    """
    if isinstance(history, str | bytes):
        raise InputError(f"the history {history!r:.100} is a single str; give a list of item ids")
    if isinstance(history, set | frozenset) and len(history) > 1:
        raise InputError(
            f"the history is a {type(history).__name__}, which has no order; give a list of item "
            f"ids, oldest first"
        )
    item_ids = tuple(history if history is not None else ())
    for item_id in item_ids:
        if not isinstance(item_id, str):
            raise InputError(
                f"the history has {item_id!r:.100}, which is not a str; give item ids as in the "
                f"items table"
            )
    return item_ids


Where = tuple[tuple[str, frozenset[str]], ...]
"""A filter: (attribute, values) pairs, all of which an item must satisfy; see `Request.where`."""

Filters = Mapping[str, str | Iterable[str]]
"""A filter as a user writes it: attribute -> its value, or several of which an item must have one.
"""


def where_of(filters: Filters | None) -> Where:
    """A filter as pairs of `Request.where`.

    Raises:
        InputError: it is no mapping, an attribute has no value, or a value is not a str.
    """
    if filters is not None and not isinstance(filters, Mapping):
        raise InputError(f'filters is {filters!r:.100}; give such as {{"genre": ["western"]}}')
    pairs = []
    for name, given in (filters or {}).items():
        values = [given] if isinstance(given, str) or not isinstance(given, Iterable) else [*given]
        if not values or not all(isinstance(value, str) for value in values):
            raise InputError(f"filter '{name}' is {given!r:.100}; give a str, or a list of str")
        pairs.append((name, frozenset(values)))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranked items of one request, best first, and their scores."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One item of a ranking with its rank, from 1, and its title."""

    rank: int
    item_id: str
    title: str
    score: float


class RankedItems(list[RankedItem]):
    """The results of a search, best first.

    Attributes:
        no_known_words: the model knows no word of the query, so the ranking uses subwords,
            such as n-grams that a misspelled word shares with others, and the history or
            popularity.
    """

    def __init__(self, items: Iterable[RankedItem] = (), no_known_words: bool = False) -> None:
        super().__init__(items)
        self.no_known_words = no_known_words


@dataclass(frozen=True, slots=True)
class Run:
    """One system's rankings, by request_id."""

    name: str
    rankings: Mapping[str, Ranking] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Run(name={self.name!r}, {len(self)} rankings)"

    def __getitem__(self, request_id: str) -> Ranking:
        return self.rankings[request_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rankings)

    def __len__(self) -> int:
        return len(self.rankings)


class Retriever(Protocol):
    """Anything that answers requests from the full catalog.

    An evaluation sets `Request.time` only if the retriever has a true attribute `reads_time`.
    """

    @property
    def name(self) -> str: ...

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """Rank the `k` best items for each request, never one that the request excludes.

        Equal scores are ordered by `item_id`, descending as strings. Fewer than `k` items are
        returned only if fewer are allowed.
        """
        ...
