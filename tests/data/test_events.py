"""Rows that say the same are one event, and what may be a copy is counted."""

import pytest

from tests.conftest import WriteFolder
from twofold.data.dataset import Dataset
from twofold.data.sources import read_source

NOON = 1_715_774_400


def _read(write_folder: WriteFolder, rows: str, header: str = "user_id,item_id") -> Dataset:
    return read_source(write_folder(interactions=f"{header}\n{rows}", queries=None, qrels=None))


@pytest.mark.parametrize("copies", [2, 3])
def test_equal_rows_are_one_event(write_folder: WriteFolder, copies: int) -> None:
    events = [("u", "a", NOON), ("u", "b", NOON), ("v", "a", NOON), ("u", "a", NOON + 1)]
    rows = "".join(f"{u},{i},{t}\n" for u, i, t in events for _ in range(copies))
    dataset = _read(write_folder, rows, "user_id,item_id,timestamp")
    assert dataset.interactions.rows() == [(u, i, float(t)) for u, i, t in events]
    (note,) = dataset.notes
    assert note.rows_left_out == 4 * (copies - 1)
    assert "interactions.csv line 3: user 'u' has item 'a' at the same time" in str(note)


def test_equal_times_in_other_words_are_one_event(write_folder: WriteFolder) -> None:
    rows = "u,a,2024-05-15T12:00:00Z\nu,a,2024-05-15T14:00:00+02:00\nu,b,2024-05-15T12:00:00Z\n"
    dataset = _read(write_folder, rows, "user_id,item_id,timestamp")
    assert dataset.interactions["item_id"].to_list() == ["a", "b"]


def test_other_columns_do_not_make_another_event(write_folder: WriteFolder) -> None:
    rows = f"u,a,{NOON},view\nu,a,{NOON},click\nu,b,{NOON},view\n"
    dataset = _read(write_folder, rows, "user_id,item_id,timestamp,event")
    assert dataset.interactions.height == 2
    assert dataset.notes[0].count == 1


def test_without_times_repeats_are_kept_and_reported(write_folder: WriteFolder) -> None:
    dataset = _read(write_folder, "u,a\nv,a\nu,a\nu,b\nu,a\n")
    assert dataset.interactions.height == 5
    (note,) = dataset.notes
    assert (note.count, note.effect) == (1, "kept")
    assert "line 4: user 'u' has item 'a' twice in a row" in str(note)


def test_a_log_that_stands_twice_without_times_is_reported(write_folder: WriteFolder) -> None:
    dataset = _read(write_folder, "u,a\nu,b\nv,a\n" * 2)
    assert dataset.interactions.height == 6
    assert "every pair of user and item occurs 2 times" in str(dataset.notes[0])
    assert dataset.notes[0].effect == "kept"


def test_different_events_bring_no_note(write_folder: WriteFolder) -> None:
    assert not _read(write_folder, "u,a\nu,b\nv,a\n").notes
