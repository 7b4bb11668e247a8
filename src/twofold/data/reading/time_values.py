"""The values of timestamps: the form of each, its seconds since 1970, and its text.

The form of a number is told by its size. What a column of values means as a whole is decided in
`twofold.data.times`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

import polars as pl


class TimeForm(StrEnum):
    """The form of the values in a column of timestamps."""

    seconds = "seconds since 1970"
    milliseconds = "milliseconds since 1970"
    microseconds = "microseconds since 1970"
    nanoseconds = "nanoseconds since 1970"
    dates = "a date as a number"
    iso = "an ISO time"
    position = "a position or a count"


_UNITS = (
    (TimeForm.seconds, 1e8, 1.0),
    (TimeForm.milliseconds, 1e11, 1e3),
    (TimeForm.microseconds, 1e14, 1e6),
    (TimeForm.nanoseconds, 1e17, 1e9),
)
"""Each form, its smallest number (in 1973), and the number of units per second; the largest number
is in 2286.
"""

_RANGE = 100.0
"""The ratio of the largest to the smallest number of a unit."""

ARE_TIMES = 0.99
"""If at least this share of the timestamps is large enough to be times, all are times."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

YEAR_1, YEAR_10000 = -62_135_596_800.0, 253_402_300_800.0
"""The beginnings of these years: `datetime` and four digits hold no other times."""

_SPELLED = re.compile(
    r"[A-Z][a-z]{2}(?:, \d{1,2} [A-Z][a-z]{2} \d{4}| [A-Z][a-z]{2} +\d{1,2}) \d\d:\d\d:\d\d"
    r"(?: (?:[+-]\d{4}|GMT|UTC))?(?: \d{4})?"
)
"""Times with the names of day and month, as in e-mails (`Tue, 03 Apr 2012 18:00:06 +0000`) and in
data of Twitter and Foursquare (`Tue Apr 03 18:00:06 +0000 2012`). Of the names of zones, Python's
parser ignores most.
"""

_DATES = r"^((?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{4}|\d{6})?)(?:\.0+)?$"


def parse_iso(text: pl.Series) -> pl.DataFrame:
    """ISO times, and those of e-mails and of Twitter, as `seconds` since 1970, and whether they
    have a `zone`; both null if invalid.

    A time without a zone is read as UTC, a date without a time as midnight.
    """
    distinct = text.drop_nulls().unique()
    parsed = [_iso_seconds(value) for value in distinct]
    known = pl.DataFrame(
        {
            "text": distinct,
            "seconds": pl.Series([p and p[0] for p in parsed], dtype=pl.Float64),
            "zone": pl.Series([p and p[1] for p in parsed], dtype=pl.Boolean),
        },
        schema={"text": pl.String, "seconds": pl.Float64, "zone": pl.Boolean},
    )
    return (
        pl.DataFrame({"text": text}, schema={"text": pl.String})
        .join(known, on="text", how="left", maintain_order="left")
        .select("seconds", "zone")
    )


def _iso_seconds(text: str) -> tuple[float, bool] | None:
    """Seconds since 1970, and whether there is a zone; None if the text is not such a time."""
    plain = text.removesuffix(" UTC").replace("/", "-")
    try:
        is_spelled = _SPELLED.fullmatch(text)
        time = parsedate_to_datetime(text) if is_spelled else datetime.fromisoformat(plain)
    except ValueError:
        return None
    named = time.tzinfo is not None or plain != text.replace("/", "-")
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp(), named


def parse_dates(text: pl.Series) -> pl.Series:
    """Dates as numbers (20240515, also with a time: 20240515123000) in seconds since 1970."""
    digits = text.str.extract(_DATES).str.pad_end(14, "0")
    times = digits.str.to_datetime("%Y%m%d%H%M%S", strict=False)
    return times.dt.epoch("ms").cast(pl.Float64) / 1e3


def unit_of(number: pl.Expr) -> pl.Expr:
    """The form of each number, by its size only."""
    size = number.abs()
    form = pl.lit(TimeForm.position.value)
    for unit, smallest, _ in _UNITS:
        within = (size >= smallest) & (size < smallest * _RANGE)
        form = pl.when(within).then(pl.lit(unit.value)).otherwise(form)
    return pl.when(number.is_not_null()).then(form).alias("unit")


def per_second(form: TimeForm) -> float:
    """The number of units per second; 1 for a form that is not a unit of time."""
    return next((count for unit, _, count in _UNITS if unit == form), 1.0)


def are_times(column: pl.Series) -> bool:
    """Whether timestamps of a dataset are seconds since 1970 and not positions, by their size.

    Times before 1973 are as small as positions, so up to one in a hundred may be that small. A
    series with another origin, such as milliseconds since the start of a log, has more small
    numbers.
    """
    given = len(column) - column.null_count()
    return given > 0 and seconds_in(column) / given >= ARE_TIMES


def is_seconds(time: float) -> bool:
    """Whether one time is seconds since 1970, by its size."""
    return bool(seconds_in(pl.Series([time], dtype=pl.Float64)))


def seconds_in(column: pl.Series) -> int:
    """How many timestamps are seconds since 1970, by their size."""
    units = pl.select(unit_of(pl.lit(column))).to_series()
    return int((units == TimeForm.seconds.value).sum())


def readable(time: float, is_time: bool | None = None) -> str:
    """A time as text: in UTC if it is a time, else the number.

    Args:
        time: seconds since 1970, or a position.
        is_time: whether it is a time; None to decide by its size.
    """
    if is_time is None:
        is_time = pl.select(unit_of(pl.lit(time))).item() == TimeForm.seconds
    if not is_time or not YEAR_1 <= time < YEAR_10000:
        return f"{time:g}" if abs(time) < 1e6 else f"{time:.0f}"
    return (_EPOCH + timedelta(seconds=time)).isoformat(" ", "seconds").replace("+00:00", " UTC")


def time_range(columns: Sequence[pl.Series]) -> tuple[float, float] | None:
    """The first and the last time of all columns; None if all are missing."""
    times = pl.concat([column.cast(pl.Float64).drop_nulls() for column in columns])
    return (float(times.min()), float(times.max())) if len(times) else None  # type: ignore[arg-type]
