"""The cutoff of a temporal split: its parsing, and notes on events that it leaves unused."""

import math
from collections.abc import Iterable, Sequence

import polars as pl

from twofold.data.dataset import Note
from twofold.data.reading.time_values import (
    ARE_TIMES,
    TimeForm,
    are_times,
    parse_dates,
    parse_iso,
    per_second,
    readable,
    seconds_in,
    time_range,
    unit_of,
)
from twofold.records import Floats, InputError


class CutoffError(InputError):
    """The data are valid, but a cutoff cannot split them."""


def read_cutoff(cutoff: float | str, *columns: pl.Series) -> float:
    """A cutoff in the unit of the data: seconds since 1970, or a position.

    Args:
        cutoff: a time in any form that a timestamp may have.
        columns: the timestamps of the dataset.

    Raises:
        CutoffError: it is not a time, or there is no event before it or none after it.
    """
    span = time_range(columns)
    if span is None:
        raise CutoffError("--cutoff: no table has timestamps, so no time can cut; use --split last")
    start, end = span
    is_time = are_times(pl.concat([column.cast(pl.Float64) for column in columns]))
    first, last = readable(start, is_time), readable(end, is_time)
    extent = f"the times of the data run from {first} to {last}"
    meant = readings_of(str(cutoff))
    if not meant:
        raise CutoffError(
            f"--cutoff '{cutoff}': neither a number nor an ISO time such as 2024-05-01T12:00:00; "
            f"{extent}"
        )
    within = [time for time in meant if start < time <= end]
    if not within:
        shown = readable(meant[-1])
        also = f" ({shown})" if shown != str(cutoff) else ""
        side = "before it" if meant[-1] <= start else "from it on"
        raise CutoffError(
            f"--cutoff '{cutoff}'{also}: nothing lies {side}; {extent}; choose a time between them"
        )
    return within[0]


def readings_of(text: str) -> Sequence[float]:
    """The possible meanings of a time, in seconds since 1970, the likeliest last; empty if none."""
    given = pl.Series([text.strip()])
    number = given.cast(pl.Float64, strict=False)[0]
    if number is None:
        return parse_iso(given)["seconds"].drop_nulls().to_list()
    if not math.isfinite(number):
        return ()
    form = TimeForm(pl.select(unit_of(pl.lit(number))).item())
    other = parse_dates(given).drop_nulls().to_list() or [number / per_second(form)]
    return (number, *other)


def require_times(times: Floats, source: str) -> None:
    """Raise InputError unless the timestamps of a source's events are times.

    Args:
        times: the timestamps, (E,), NaN if there is none.
        source: the name of the source in the message.
    """
    if not are_times(pl.Series(times).fill_nan(None)):
        raise InputError(
            f"request_time: the interactions of {source} have no times, only their order; give "
            f"them timestamps, or leave request_time out"
        )


def unused_events(parts: Iterable[pl.DataFrame], cutoff: float) -> list[Note]:
    """Notes on the events from the cutoff on that are used neither for training nor for a request.

    Args:
        parts: the interactions, in time order within each user, with the column `split`; all events
            of a user are in one part.
        cutoff: the result of `read_cutoff`.
    """
    by_part, given, seconds = [], 0, 0
    early = (pl.col("timestamp") < cutoff).any().over("user_id")
    for events in parts:
        given += events.height
        seconds += seconds_in(events["timestamp"])
        unused = events.with_columns(early=early).filter(pl.col("split").is_null())
        users = pl.col("user_id").n_unique().alias("users")
        first = pl.first("user_id", "item_id")
        by_part.append(unused.group_by("early").agg(first, pl.len().alias("events"), users))
    when = readable(cutoff, given > 0 and seconds / given >= ARE_TIMES)
    reasons = pl.concat(by_part).group_by("early", maintain_order=True)
    total = reasons.agg(pl.first("user_id", "item_id"), pl.sum("events", "users"))
    notes = []
    for had_early, user, item, count, users in total.sort("early", descending=True).iter_rows():
        problem = f"its user is one of {users} without an event before the cutoff {when}"
        remedy = "nothing to do, or choose a later cutoff"
        if had_early:
            problem = (
                f"it follows the user's first event from the cutoff {when} on, which is the test"
            )
            remedy = "a later cutoff uses more of them"
        place = f"interactions: event '{item}' of user '{user}'"
        notes.append(Note(count, place, problem, remedy, "event", "not used"))
    return notes


def untimed_queries(queries: pl.DataFrame) -> list[Note]:
    """A note on queries that a cutoff cannot split, since they have neither split nor time.

    Args:
        queries: a table with the columns `given` (the split in the input) and `timestamp`.
    """
    untimed = queries.filter(pl.col("given").is_null() & pl.col("timestamp").is_null())
    if not untimed.height:
        return []
    every = bool(queries["timestamp"].is_null().all())
    return [untimed_note(untimed.height, untimed["query_id"][0], every)]


def untimed_note(count: int, query_id: str, every: bool) -> Note:
    """The note on queries without split and time, `query_id` first; `every` query, or some."""
    place = f"query '{query_id}'"
    effect = "split by a hash of the text" if every else "trained on"
    problem = "it has no timestamp, so it may be later than the cutoff"
    remedy = "give it a timestamp or a split"
    return Note(count, place, problem, remedy, "query", effect)


def late_training_queries(queries: pl.DataFrame, cutoff: float) -> list[Note]:
    """A note on queries whose given split is train, but whose time is at the cutoff or later.

    Args:
        queries: a table with the columns `given` (the split in the input) and `timestamp`.
        cutoff: the result of `read_cutoff`.
    """
    late = queries.filter((pl.col("given") == "train") & (pl.col("timestamp") >= cutoff))
    if not late.height:
        return []
    place = f"query '{late['query_id'][0]}'"
    when = readable(cutoff, are_times(queries["timestamp"]))
    problem = f"it names the split train and lies at or after the cutoff {when}"
    remedy = "leave its split empty: then the cutoff decides"
    return [Note(late.height, place, problem, remedy, "query", "trained on, as it says")]
