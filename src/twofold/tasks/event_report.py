"""The data report on events: repeats, near-copies, equal times, and unused events."""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from twofold.data.reading.time_values import ARE_TIMES, readable, seconds_in, time_range
from twofold.tasks.prepared import PreparedDataset

NEAR_COPY = 3600.0
"""In seconds: events of one user and item within this time may be one event written twice."""

Report = dict[str, Any]


def event_report(dataset: PreparedDataset) -> Report:
    """Repeats, near-copies and equal times among the events, and those that are not used.

    Returns:
        `repeat_share`; `near_copies`, the number of events with the same user and item as one
        within an hour before, and `near_copies_held_out`, the held-out ones of them, both None if
        the timestamps are not times; `tied`, the number of events at the time of another event of
        their user, and `held_out_by_file_order`, the number of held-out events that were chosen
        among equal times by their place in the file, both None without timestamps; `not_used`;
        the `first` and `last` time, and whether these `are_times` or positions.
    """
    counts: Counter[str] = Counter()
    times: list[float] = []
    for events in dataset.columns.events.frames():
        counts.update(_counts(events))
        of_part = time_range([events["timestamp"]])
        times += of_part or ()
    size, given = counts["events"], counts["given"]
    real = given > 0 and counts["seconds"] / given >= ARE_TIMES
    timed = size > 0 and size == given

    def of_timed(name: str, wanted: bool = True) -> int | None:
        return counts[name] if timed and wanted else None

    return {
        "repeat_share": 1.0 - counts["distinct"] / size if size else 0.0,
        "near_copies": of_timed("near", real),
        "near_copies_held_out": of_timed("near_held_out", real),
        "tied": of_timed("tied"),
        "held_out_by_file_order": of_timed("held_out_by_file_order"),
        "not_used": counts["not_used"],
        "first": min(times, default=None),
        "last": max(times, default=None),
        "are_times": real,
    }


def _counts(events: pl.DataFrame) -> dict[str, int]:
    """The counts of some users' events, which are in time order within each user."""
    times = events["timestamp"]
    near, tied = near_copies(events), _tied(events)
    pairs = np.sort(events["user_id"].to_numpy() << 32 | events["item_id"].to_numpy())
    held_out = events["split"].is_in(["validation", "test"]).fill_null(False)
    return {
        "events": events.height,
        "given": events.height - times.null_count(),
        "seconds": seconds_in(times),
        "distinct": int(np.count_nonzero(np.diff(pairs, prepend=-1))),
        "near": int(near.sum()),
        "near_held_out": int((near & held_out).sum()),
        "tied": int(tied.sum()),
        "held_out_by_file_order": _by_file_order(events.filter(tied)),
        "not_used": events["split"].null_count(),
    }


def _tied(events: pl.DataFrame) -> pl.Series:
    """Whether each event has the time of another event of its user; events are in time order."""
    same = pl.all_horizontal(pl.col("user_id", "timestamp").eq_missing(pl.all().shift(1)))
    return events.select("user_id", "timestamp").select(same | same.shift(-1)).to_series()


def near_copies(events: pl.DataFrame) -> pl.Series:
    """Whether each event has the user and item of one within an hour before, in time order."""
    by_pair = (
        events.select("user_id", "item_id", "timestamp")
        .with_row_index("row")
        .sort("user_id", "item_id", "timestamp", "row")
    )
    before = pl.col("user_id", "item_id", "timestamp").shift(1).name.prefix("last_")
    same = (pl.col("user_id") == pl.col("last_user_id")) & (
        pl.col("item_id") == pl.col("last_item_id")
    )
    soon = pl.col("timestamp") - pl.col("last_timestamp") <= NEAR_COPY
    near = by_pair.with_columns(before).select("row", near=(same & soon).fill_null(False))
    return near.sort("row")["near"]


def event_lines(report: Report, events: int) -> list[str]:
    """The report on `events` events as lines of Markdown."""
    lines = []
    if report["first"] is not None:
        first, last = (readable(report[name], report["are_times"]) for name in ("first", "last"))
        what = "Times" if report["are_times"] else "Times, as numbers"
        lines.append(f"- {what}: {first} to {last}.")
    if report["near_copies"]:
        lines.append(
            f"- Near-copies: {report['near_copies']:,} events "
            f"({report['near_copies'] / events:.1%}) have the same user and item as one within an "
            f"hour before, {report['near_copies_held_out']:,} of them held out. If the log "
            f"holds one event twice, remove the copy: it is easy to predict and counts as a repeat."
        )
    if report["tied"]:
        lines.append(
            f"- Equal times: {report['tied']:,} events ({report['tied'] / events:.1%}) have the "
            f"time of another event of their user. They are in the order of the file, "
            f"which decided {report['held_out_by_file_order']:,} of the held-out events."
        )
    if report["not_used"]:
        lines.append(
            f"- Not used: {report['not_used']:,} events from the cutoff on that are no user's "
            f"test event; see the notes."
        )
    return lines


def _by_file_order(tied: pl.DataFrame) -> int:
    """The number of held-out events at the time of an event of their user with another split.

    Args:
        tied: the events at the time of another event of their user.
    """
    other = (pl.col("split").fill_null("").n_unique() > 1).over("user_id", "timestamp")
    held_out = pl.col("split").is_in(["validation", "test"]).fill_null(False)
    return tied.filter(held_out & other).height
