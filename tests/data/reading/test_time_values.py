"""A time is told from a count by its size, and is shown in UTC."""

import polars as pl
import pytest

from twofold.data.reading.time_values import are_times, readable


def test_a_range_is_told_in_dates_or_in_numbers_but_not_in_both() -> None:
    milliseconds = pl.Series(range(0, 2_600_000_000, 10_000_000))  # of a month, from its start
    assert not are_times(milliseconds)
    assert [readable(time, is_time=False) for time in (5.0, 2.6e9)] == ["5", "2600000000"]
    dates = pl.Series([86_400.0, *(1.6e9 + n for n in range(199))])
    assert are_times(dates)
    assert readable(dates[0], is_time=True) == "1970-01-02 00:00:00 UTC"
    assert readable(-1e9, is_time=True) == "1938-04-24 22:13:20 UTC"
    assert not are_times(pl.Series([], dtype=pl.Float64))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (253402214400.0, "9999-12-31 00:00:00 UTC"),
        (-62135596800.0, "0001-01-01 00:00:00 UTC"),
        (253402300800.0, "253402300800"),
        (1.5, "1970-01-01 00:00:01 UTC"),
    ],
)
def test_every_year_of_the_calendar_is_shown(seconds: float, shown: str) -> None:
    assert readable(seconds, is_time=True) == shown
