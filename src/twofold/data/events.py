"""Reads the table interactions.

Invariant: no two events have the same user, item and time; every row is kept or counted in a note.
"""

from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import first_true, require_known, require_values, unread_columns
from twofold.data.dataset import INTERACTIONS, Note
from twofold.data.ids import doubtful_ids, require_trec_ids
from twofold.data.times import Times, read_times
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table


def read_events(table: "Table", items: pl.Series) -> tuple[pl.DataFrame, Times, list[Note]]:
    """The events in file order, their times, and notes on rows that were left out or may be
    duplicates.

    Args:
        table: the table interactions.
        items: all item ids.

    Raises:
        InputError: an item is unknown, or a time is missing or invalid.
    """
    table.require_columns("user_id", "item_id")
    require_values(table, "user_id", "item_id")
    require_known(table, "item_id", items, "items")
    require_trec_ids(table, "user_id")
    times = read_times(table)
    missing = first_true(times.seconds.is_null())
    if missing is not None and times.form is not None:
        raise InputError(
            f"{table.place(missing)}: timestamp is empty while other rows have one; "
            f"fill it or remove the column"
        )
    rows = table.rows.with_columns(timestamp=times.seconds).select(INTERACTIONS.names())
    doubtful = doubtful_ids(table, "user_id", "user")
    notes = [*unread_columns(table, INTERACTIONS), *doubtful, *times.notes]
    if times.form is None:
        return rows, times, [*notes, *_doubled(table, rows), *_repeated(table, rows)]
    again = ~rows.select(pl.struct(INTERACTIONS.names()).is_first_distinct()).to_series()
    return rows.filter(~again), times, [*notes, *_duplicates(table, rows, again)]


def _duplicates(table: "Table", rows: pl.DataFrame, again: pl.Series) -> list[Note]:
    """A note on rows with equal user, item and time, which are one event."""
    if (row := first_true(again)) is None:
        return []
    user, item, _ = rows.row(row)
    problem = f"user '{user}' has item '{item}' at the same time in an earlier row: one event"
    return [Note(int(again.sum()), table.place(row), problem, "remove the duplicate rows")]


def _doubled(table: "Table", rows: pl.DataFrame) -> list[Note]:
    """A note if, without times, every pair of user and item occurs the same number of times."""
    counts = rows.group_by("user_id", "item_id").len()["len"]
    times = counts.min()
    if not isinstance(times, int) or times < 2 or counts.max() != times:
        return []
    problem = (
        f"every pair of user and item occurs {times} times, as if a log had been written "
        f"{times} times; without timestamps, repeats look the same"
    )
    remedy = "remove the duplicates, or add timestamps: then equal rows are one event"
    return [Note(rows.height, str(table.path), problem, remedy, effect="kept")]


def _repeated(table: "Table", rows: pl.DataFrame) -> list[Note]:
    """A note if, without times, a user's event repeats the one just before it."""
    same = (pl.col("item_id") == pl.col("item_id").shift(1).over("user_id")).fill_null(False)
    repeated = rows.select(same).to_series()
    if (row := first_true(repeated)) is None:
        return []
    user, item, _ = rows.row(row)
    problem = (
        f"user '{user}' has item '{item}' twice in a row; without timestamps, a repeat "
        f"and a duplicate row look the same"
    )
    remedy = "remove the duplicates, or add timestamps: then equal rows are one event"
    return [Note(int(repeated.sum()), table.place(row), problem, remedy, effect="kept")]
