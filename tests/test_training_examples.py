"""Training examples: histories in windows, arrays of examples, and records that lose no field."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import training_examples
from twofold.training_examples import Example, Examples, Source


def _events(items: int, query: str | None = None) -> Example:
    """A user's events: item n follows item n - 1 and is a target after it."""
    positions = np.arange(items, dtype=np.int64)
    return Example(
        history=positions[:-1], query=query, targets=positions[1:], visible=positions[1:]
    )


@given(st.integers(1, 60), st.integers(1, 20), st.booleans())
def test_windows_hold_every_target_once(items: int, most: int, with_query: bool) -> None:
    whole = _events(items, "query" if with_query else None)
    windows = whole.windows(most)
    targets = np.concatenate([window.targets for window in windows])
    assert sorted(targets.tolist()) == whole.targets.tolist()
    assert windows[0].history.tolist() == whole.truncate(most).history.tolist()
    assert windows[0].query == whole.query
    assert all(window.query is None for window in windows[1:])
    for window in windows:
        assert len(window.history) <= most
        seen = [window.history[n - 1] for n in window.visible]
        assert [int(item) + 1 for item in seen] == window.targets.tolist()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=8), st.booleans())
def test_targets_are_counted_in_any_order(runs: list[tuple[int, int]], in_order: bool) -> None:
    runs = sorted(runs) if in_order else runs
    starts = np.array([start for start, _ in runs], dtype=np.int64)
    ends = starts + np.array([size for _, size in runs], dtype=np.int64)
    nothing = np.zeros(len(runs), dtype=np.int64)
    items = np.random.default_rng(3).integers(5, size=24)
    made = Examples(
        items=items,
        begins=nothing,
        ends=nothing,
        order="end",
        targets=items,
        target_starts=starts,
        target_ends=ends,
        query_of=nothing - 1,
    )
    listed = [items[start : start + size] for start, size in runs]
    expected = np.bincount(np.concatenate([items[:0], *listed]), minlength=5)
    assert made.target_counts(5).tolist() == expected.tolist()


def test_cutting_keeps_the_weights_of_the_targets_that_stay() -> None:
    whole = _events(6)
    weighted = replace(whole, weights=np.arange(5, dtype=np.float64))
    cut = weighted.truncate(2)
    assert (cut.targets.tolist(), cut.visible.tolist()) == ([4, 5], [1, 2])
    assert cut.weights is not None
    assert cut.weights.tolist() == [3, 4]
    source = Source("search", [weighted, whole.truncate(0)]).truncate(2)
    assert [len(example.targets) for example in source.examples] == [2]
    assert source.targets == 2


def test_contexts_hold_every_target_once_and_the_query_where_all_is_seen() -> None:
    whole = Example(
        history=np.arange(3, dtype=np.int64),
        query="query",
        targets=np.array([1, 7, 8, 9]),
        visible=np.array([1, 3, 3, 0]),
    )
    source = Source("search", [whole]).by_context()
    assert [
        (example.history.tolist(), example.query, example.targets.tolist())
        for example in source.examples
    ] == [([], None, [9]), ([0], None, [1]), ([0, 1, 2], "query", [7, 8])]
    assert all((e.visible == len(e.history)).all() for e in source.examples)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Dated(Example):
    """An example with one more field."""

    day: str


def test_a_field_that_is_added_survives_cuts_and_windows() -> None:
    plain = _events(9)
    dated = _Dated(
        history=plain.history,
        query=None,
        targets=plain.targets,
        visible=plain.visible,
        day="monday",
    )
    for example in (dated.truncate(3), *dated.windows(3), *dated.by_context()):
        assert isinstance(example, _Dated)
        assert example.day == "monday"


def test_an_example_is_built_by_name() -> None:
    with pytest.raises(TypeError):
        Example(np.arange(1), None, np.arange(1), np.arange(1))  # type: ignore[call-arg]


@st.composite
def _columns(draw: st.DrawFn) -> Examples:
    """Examples in one of the three orders."""
    lengths = np.array(draw(st.lists(st.integers(2, 12), min_size=1, max_size=6)))
    ends = np.cumsum(lengths)
    items = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 50, size=int(ends[-1]))
    histories = Examples.of_histories(items, ends - lengths, ends)
    order = draw(st.sampled_from(["next", "end", "given"]))
    if order == "next":
        return histories
    listed = [
        Example(
            history=e.history,
            query=["one", "two", None][n % 3],
            targets=e.targets,
            visible=np.full_like(e.visible, len(e.history)) if order == "end" else e.visible,
            weights=None if order == "end" else np.arange(len(e.targets), dtype=np.float64),
        )
        for n, e in enumerate(histories)
    ]
    made = Examples.of(listed)
    assert made.order == order
    return made


def _told(examples: Sequence[Example]) -> list[tuple[object, ...]]:
    return [
        (
            e.history.tolist(),
            e.query,
            e.targets.tolist(),
            e.visible.tolist(),
            None if e.weights is None else e.weights.tolist(),
        )
        for e in examples
    ]


@given(_columns(), st.integers(1, 8))
def test_arrays_of_examples_are_truncated_as_each_example_is(columns: Examples, most: int) -> None:
    listed = list(columns)
    ways: dict[str, list[Example]] = {
        "truncate": [e.truncate(most) for e in listed],
        "windows": [window for e in listed for window in e.windows(most)],
        "by_context": [part for e in listed for part in e.by_context()],
    }
    for way, expected in ways.items():
        source = Source("search", columns)
        made = getattr(source, way)(*([most] if way != "by_context" else []))
        assert _told(made.examples) == _told([e for e in expected if len(e.targets)])


@given(_columns())
def test_arrays_of_examples_hold_what_each_example_does(columns: Examples) -> None:
    listed = list(columns)
    assert _told(Examples.of(listed)) == _told(listed)
    assert _told(columns[1:]) == _told(listed[1:])
    assert _told(columns.concat(columns)) == _told(listed + listed)
    assert columns.flat_histories().tolist() == [n for e in listed for n in e.history]
    targets, visible, _ = columns.flat_targets()
    assert targets.tolist() == [n for e in listed for n in e.targets]
    assert visible.tolist() == [n for e in listed for n in e.visible]
    assert columns.texts() == [e.query or "" for e in listed]
    assert columns.target_counts(60).tolist() == np.bincount(targets, minlength=60).tolist()


def test_targets_are_counted_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = np.arange(10, 110, 10)
    columns = Examples.of_histories(np.arange(100) % 7, ends - 10, ends)
    whole = columns.target_counts(7).tolist()
    monkeypatch.setattr(training_examples, "_PART", 20)
    assert columns.target_counts(7).tolist() == whole
    assert sum(whole) == 90


def test_examples_are_drawn_by_their_targets() -> None:
    ends = np.arange(10, 1010, 10)
    columns = Examples.of_histories(np.arange(1000), ends - 10, ends)
    assert columns.sample(900) is columns
    some = columns.sample(90)
    assert 5 < len(some) <= 10
    assert (np.diff(some.begins) > 0).all()
    assert some.begins.tolist() == columns.sample(90).begins.tolist()
    assert len(columns.sample(1)) == 1
