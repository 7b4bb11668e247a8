"""Histories in pieces: every target stays, sees what came before it, and comes once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twofold.records import Example


@given(st.integers(1, 60), st.integers(1, 20), st.booleans())
def test_windows_hold_every_target_once(items: int, most: int, with_query: bool) -> None:
    history = np.arange(items - 1, dtype=np.int64)
    targets, visible = np.arange(1, items, dtype=np.int64), np.arange(1, items, dtype=np.int64)
    whole = Example(history, "query" if with_query else None, targets, visible)
    windows = whole.windows(most)
    found = np.concatenate([window.targets for window in windows])
    assert sorted(found.tolist()) == targets.tolist()
    assert windows[0].history.tolist() == whole.cut(most).history.tolist()
    assert all(window.query is None for window in windows[1:])
    for window in windows:
        assert len(window.history) <= most
        seen = [window.history[n - 1] for n in window.visible]
        # Item n follows item n - 1 in these histories.
        assert [int(item) + 1 for item in seen] == window.targets.tolist()
