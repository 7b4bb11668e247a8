"""Training examples: one example, many examples as arrays, and a named source of examples.

Examples refer to items by their position in the catalog (an integer), since arrays have millions of
them.

Shapes: H items of a history, T targets.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from twofold.records import Floats, Ints, slice_indices

Order = Literal["next", "end", "given"]

_PART = 1 << 22
"""The number of targets that are processed together."""


class FlatTargets(NamedTuple):
    """The targets of many examples, one after another.

    Attributes:
        items: catalog positions, (targets,).
        visible: the number of visible history items of each target, (targets,).
        weights: the weight of each target in the loss, (targets,); None if all are equal.
    """

    items: Ints
    visible: Ints
    weights: Floats | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Example:
    """One request with its targets.

    A target is predicted from the first `visible` items of the history, and from the query only if
    all items are visible. So one user's events give one example with a target at every event.

    Attributes:
        history: catalog positions, oldest first, (H,).
        query: the query's text, or None.
        targets: catalog positions, (T,).
        visible: the number of visible history items of each target, (T,).
        weights: the weight of each target in the loss, (T,); None if all are equal.
        since: the seconds from the last visible item to each target, NaN if not known, (T,); None
            if no time is read.
    """

    history: Ints
    query: str | None
    targets: Ints
    visible: Ints
    weights: Floats | None = None
    since: Floats | None = None

    def truncate(self, most: int) -> "Example":
        """The example with the last `most` history items, and the targets that see one of them."""
        before = max(0, len(self.history) - most)
        if not before:
            return self
        kept = self.select_targets(self.visible > before)
        return replace(kept, history=self.history[before:], visible=kept.visible - before)

    def windows(self, most: int) -> "list[Example]":
        """The example in windows of at most `most` items of the history, the last window first.

        Every target is in one window. The last one equals `truncate`; earlier ones have no query.
        """
        rest, windows = self, []
        while len(rest.history) > most:
            windows.append(rest.truncate(most))
            before = len(rest.history) - most
            kept = rest.select_targets(rest.visible <= before)
            rest = replace(kept, history=rest.history[:before], query=None)
        return [*windows, rest]

    def by_context(self) -> "list[Example]":
        """One example for each different `visible` part of the history."""
        examples = []
        for visible in np.unique(self.visible):
            part = self.select_targets(self.visible == visible)
            query = self.query if visible == len(self.history) else None
            examples.append(replace(part, history=self.history[:visible], query=query))
        return examples

    def select_targets(self, kept: npt.NDArray[np.bool_] | Ints) -> "Example":
        """The example with some of its targets.

        Args:
            kept: a mask of the targets, (T,), or their indices.
        """
        return replace(
            self,
            targets=self.targets[kept],
            visible=self.visible[kept],
            weights=None if self.weights is None else self.weights[kept],
            since=None if self.since is None else self.since[kept],
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Examples(Sequence[Example]):
    """Many examples as a few arrays, which may be mapped from files.

    Every history is a slice of `items`. `order` defines the targets and their visible items. With
    `next`, the targets are every item after the first of the history and the item after its end,
    and each one sees the items before it. With `end`, the targets are slices of `targets` and see
    the whole history. With `given`, they are slices of `targets`, and `visible` has the numbers.

    Attributes:
        items: catalog positions, (E,).
        begins, ends: the slice of each example's history in `items`, (n,).
        order: `next`, `end` or `given`; see above.
        targets: catalog positions, (T,); equal to `items` if the order is `next`.
        target_starts, target_ends: the slice of each example's targets in `targets`, (n,).
        visible: the number of visible history items of each target, (T,); None unless the order is
            `given`.
        weights: the weight of each target in the loss, (T,); None if all are equal.
        since: the seconds from the last visible item to each target, NaN if not known, (T,); None
            if no time is read.
        queries: the texts of the queries.
        query_of: the index of each example's query in `queries`, or -1 without one, (n,).
    """

    items: Ints
    begins: Ints
    ends: Ints
    order: Order
    targets: Ints
    target_starts: Ints
    target_ends: Ints
    query_of: Ints
    queries: Sequence[str] = ()
    visible: Ints | None = None
    weights: Floats | None = None
    since: Floats | None = None

    @staticmethod
    def of(examples: Iterable[Example]) -> "Examples":
        """The same examples as arrays."""
        if isinstance(examples, Examples):
            return examples
        listed = list(examples)
        none = [np.zeros(0, dtype=np.int64)]
        target_ends = np.cumsum([len(example.targets) for example in listed], dtype=np.int64)
        ends = np.cumsum([len(example.history) for example in listed], dtype=np.int64)
        numbers: dict[str, int] = {}
        queries = (example.query for example in listed)
        query_of = [-1 if q is None else numbers.setdefault(q, len(numbers)) for q in queries]
        weighted = any(example.weights is not None for example in listed)
        equal = [np.ones(len(e.targets)) if e.weights is None else e.weights for e in listed]
        visible = np.concatenate([*(example.visible for example in listed), *none])
        counts, lengths = np.diff(target_ends, prepend=0), np.diff(ends, prepend=0)
        timed = any(example.since is not None for example in listed)
        never = [np.full(len(e.targets), np.nan) if e.since is None else e.since for e in listed]
        at_end = not weighted and bool((visible == np.repeat(lengths, counts)).all())
        return Examples(
            items=np.concatenate([*(example.history for example in listed), *none]),
            begins=ends - lengths,
            ends=ends,
            order="end" if at_end else "given",
            targets=np.concatenate([*(example.targets for example in listed), *none]),
            target_starts=target_ends - counts,
            target_ends=target_ends,
            query_of=np.array(query_of, dtype=np.int64),
            queries=list(numbers),
            visible=None if at_end else visible,
            weights=np.concatenate(equal) if weighted else None,
            since=np.concatenate(never) if timed else None,
        )

    @staticmethod
    def of_histories(
        items: Ints, begins: Ints, ends: Ints, since: Floats | None = None
    ) -> "Examples":
        """One example for each slice of items, in which all items but the first are targets.

        Args:
            items: catalog positions, (E,).
            begins, ends: the slices, (n,).
            since: the seconds from the previous item to each item, (E,).
        """
        return Examples(
            items=items,
            begins=begins,
            ends=ends - 1,
            order="next",
            targets=items,
            target_starts=begins + 1,
            target_ends=ends,
            query_of=np.full(len(begins), -1),
            since=since,
        )

    def __len__(self) -> int:
        return len(self.begins)

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> "Examples": ...
    def __getitem__(self, row: int | slice) -> "Example | Examples":
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        begin, end = int(self.begins[row]), int(self.ends[row])
        first, last = int(self.target_starts[row]), int(self.target_ends[row])
        visible = np.full(last - first, end - begin, dtype=np.int64)
        if self.visible is not None:
            visible = self.visible[first:last]
        elif self.order == "next":
            visible = np.arange(1, last - first + 1, dtype=np.int64)
        query = int(self.query_of[row])
        return Example(
            history=np.asarray(self.items[begin:end], dtype=np.int64),
            query=None if query < 0 else self.queries[query],
            targets=np.asarray(self.targets[first:last], dtype=np.int64),
            visible=visible,
            weights=None if self.weights is None else self.weights[first:last],
            since=None if self.since is None else self.since[first:last],
        )

    @property
    def lengths(self) -> Ints:
        """The number of items of each history, (n,)."""
        return self.ends - self.begins

    @property
    def counts(self) -> Ints:
        """The number of targets of each example, (n,)."""
        return self.target_ends - self.target_starts

    def take(self, rows: Ints) -> "Examples":
        """The examples of some rows, in the given order; the items and targets are shared."""
        return replace(
            self,
            begins=self.begins[rows],
            ends=self.ends[rows],
            target_starts=self.target_starts[rows],
            target_ends=self.target_ends[rows],
            query_of=self.query_of[rows],
        )

    def flat_histories(self) -> Ints:
        """The items of all histories, concatenated, (sum of `lengths`,)."""
        return np.asarray(self.items[slice_indices(self.begins, self.lengths)], dtype=np.int64)

    def flat_since(self) -> Floats:
        """`since` of the targets of all examples, NaN if no time is read, (targets,)."""
        if self.since is None:
            return np.full(int(self.counts.sum()), np.nan)
        return np.asarray(self.since[slice_indices(self.target_starts, self.counts)])

    def flat_targets(self) -> "FlatTargets":
        """The targets of all examples."""
        counts = self.counts
        indices = slice_indices(self.target_starts, counts)
        if self.visible is not None:
            visible = self.visible[indices]
        elif self.order == "next":
            visible = indices - np.repeat(self.begins, counts)
        else:
            visible = np.repeat(self.lengths, counts)
        weights = None if self.weights is None else self.weights[indices]
        targets = np.asarray(self.targets[indices], dtype=np.int64)
        return FlatTargets(targets, visible, weights)

    def texts(self) -> list[str]:
        """The query of each example, empty without one."""
        return ["" if query < 0 else self.queries[query] for query in self.query_of.tolist()]

    def target_counts(self, size: int) -> Ints:
        """How often each of `size` items is a target, (size,)."""
        counts = np.zeros(size, dtype=np.int64)
        for part in _parts(self.counts):
            starts, ends = self.target_starts[part], self.target_ends[part]
            ordered = len(part) > 0 and bool((starts[1:] >= ends[:-1]).all())
            if ordered and ends[-1] - starts[0] <= 2 * (ends - starts).sum():
                # All targets from the first to the last, minus those between two examples.
                counts += np.bincount(self.targets[starts[0] : ends[-1]], minlength=size)
                indices = slice_indices(ends[:-1], starts[1:] - ends[:-1])
                counts -= np.bincount(self.targets[indices], minlength=size)
            else:
                indices = slice_indices(starts, ends - starts)
                counts += np.bincount(self.targets[indices], minlength=size)
        return counts

    def sample(self, most: int) -> "Examples":
        """All examples, or a fixed random sample with about `most` targets, in their order."""
        counts = self.counts
        if counts.sum() <= most:
            return self
        order = np.random.default_rng(0).permutation(len(counts))
        enough = int(np.searchsorted(np.cumsum(counts[order]), most))
        return self.take(np.sort(order[: max(1, enough)]))

    def drop_empty(self) -> "Examples":
        """The examples that have a target."""
        kept = self.counts > 0
        return self if kept.all() else self.take(np.flatnonzero(kept))

    def truncate(self, most: int) -> "Examples":
        """Every example after `Example.truncate`, without those that then have no target."""
        if not (self.lengths > most).any():
            return self.drop_empty()
        if self.order == "given":
            return Examples.of(example.truncate(most) for example in self).drop_empty()
        begins = np.maximum(self.begins, self.ends - most)
        target_starts = begins + 1 if self.order == "next" else self.target_starts
        return replace(self, begins=begins, target_starts=target_starts).drop_empty()

    def windows(self, most: int) -> "Examples":
        """The windows of every example that have a target; see `Example.windows`."""
        lengths = self.lengths
        if self.order == "end" or not (lengths > most).any():
            return self.truncate(most)
        if self.order == "given":
            parts = (window for example in self for window in example.windows(most))
            return Examples.of(parts).drop_empty()
        counts = np.maximum(1, -(-lengths // most))
        whole = np.repeat(np.arange(len(self)), counts)
        ends = self.ends[whole] - most * slice_indices(np.zeros_like(counts), counts)
        begins = np.maximum(self.begins[whole], ends - most)
        return Examples.of_histories(self.items, begins, ends + 1, self.since)

    def by_context(self) -> "Examples":
        """One example for each visible part of a history; see `Example.by_context`."""
        if self.order == "end":
            return self.drop_empty()
        if self.order == "given":
            return Examples.of(part for example in self for part in example.by_context())
        ends = slice_indices(self.target_starts, self.counts)
        begins = np.repeat(self.begins, self.counts)
        none = np.full(len(ends), -1)
        made = replace(self, order="end", begins=begins, ends=ends, query_of=none)
        return replace(made, target_starts=ends, target_ends=ends + 1)

    def concat(self, others: "Examples") -> "Examples":
        """These examples, then others; neither may have weights."""
        if self.order != "end" or others.order != "end":
            return Examples.of([*self, *others])
        items, targets = len(self.items), len(self.targets)
        query_of = np.where(others.query_of < 0, -1, others.query_of + len(self.queries))
        return replace(
            self,
            items=np.concatenate([self.items, others.items]),
            begins=np.concatenate([self.begins, others.begins + items]),
            ends=np.concatenate([self.ends, others.ends + items]),
            targets=np.concatenate([self.targets, others.targets]),
            target_starts=np.concatenate([self.target_starts, others.target_starts + targets]),
            target_ends=np.concatenate([self.target_ends, others.target_ends + targets]),
            query_of=np.concatenate([self.query_of, query_of]),
            queries=[*self.queries, *others.queries],
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A named set of training examples, such as those of one task."""

    name: str
    examples: Sequence[Example]

    @property
    def columns(self) -> Examples:
        """The examples as arrays."""
        return Examples.of(self.examples)

    @property
    def targets(self) -> int:
        """The number of targets of all examples."""
        return int(self.columns.counts.sum())

    def truncate(self, most: int) -> "Source":
        """The source with every example truncated; see `Example.truncate`."""
        return replace(self, examples=self.columns.truncate(most))

    def windows(self, most: int) -> "Source":
        """The same targets, every example in windows; see `Example.windows`."""
        return replace(self, examples=self.columns.windows(most))

    def by_context(self) -> "Source":
        """The same targets, one example for each context; see `Example.by_context`."""
        return replace(self, examples=self.columns.by_context())


def _parts(counts: Ints) -> Iterator[Ints]:
    """The indices of all examples, in parts with about `_PART` targets."""
    ends = np.cumsum(counts)
    rows = int(ends[-1]) if len(ends) else 0
    borders = np.searchsorted(ends, np.arange(_PART, rows, _PART), side="right")
    yield from np.split(np.arange(len(counts)), borders)
