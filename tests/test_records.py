"""Records: histories in windows, and rebuilt records that lose no field."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.records import TASKS, Example, Request, Source, other_task


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
    assert windows[0].history.tolist() == whole.cut(most).history.tolist()
    assert windows[0].query == whole.query
    assert all(window.query is None for window in windows[1:])
    for window in windows:
        assert len(window.history) <= most
        seen = [window.history[n - 1] for n in window.visible]
        assert [int(item) + 1 for item in seen] == window.targets.tolist()


def test_cutting_keeps_the_weights_of_the_targets_that_stay() -> None:
    whole = _events(6)
    weighted = Example(
        history=whole.history,
        query=None,
        targets=whole.targets,
        visible=whole.visible,
        weights=np.arange(5, dtype=np.float64),
    )
    cut = weighted.cut(2)
    assert (cut.targets.tolist(), cut.visible.tolist()) == ([4, 5], [1, 2])
    assert cut.weights is not None
    assert cut.weights.tolist() == [3, 4]
    source = Source("search", [weighted, whole.cut(0)]).cut(2)
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
    for example in (dated.cut(3), *dated.windows(3), *dated.by_context()):
        assert isinstance(example, _Dated)
        assert example.day == "monday"


def test_records_are_built_by_name() -> None:
    with pytest.raises(TypeError):
        Example(np.arange(1), None, np.arange(1), np.arange(1))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Request("id", "a query")  # type: ignore[call-arg]


def test_the_other_task_of_the_other_task_is_the_task() -> None:
    for task in TASKS:
        assert other_task(task) != task
        assert other_task(other_task(task)) == task
