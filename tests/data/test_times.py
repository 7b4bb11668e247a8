"""Timestamps in every form are the same times, and a mixture is refused with the two values."""

import re
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import QRELS, WriteFolder
from twofold.data.formats import Table
from twofold.data.reading.time_values import TimeForm
from twofold.data.sources import read_source
from twofold.data.times import Times, read_times
from twofold.records import InputError

NOON = 1_715_774_400.0  # 2024-05-15T12:00:00Z
DAY = 86_400.0
MIDNIGHT = NOON - DAY / 2


def _read(*values: str | None) -> Times:
    rows = pl.DataFrame({"timestamp": pl.Series(values, dtype=pl.String)})
    return read_times(Table(Path("t.csv"), rows))


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (TimeForm.seconds, ["1715774400", "1715774400.0", "1.7157744e9", " 1715774400 "]),
        (TimeForm.milliseconds, ["1715774400000", "1715774400000.0"]),
        (TimeForm.microseconds, ["1715774400000000"]),
        (TimeForm.nanoseconds, ["1715774400000000000"]),
        (
            TimeForm.iso,
            [
                "2024-05-15T12:00:00Z",
                "2024-05-15 12:00:00+00:00",
                "2024-05-15T14:00:00+02:00",
                "2024-05-15T14:00:00+0200",
                "2024-05-15 12:00:00 UTC",
                "2024-05-15T12:00:00.000000000Z",
                "Wed, 15 May 2024 12:00:00 GMT",
                "Wed May 15 14:00:00 +0200 2024",
            ],
        ),
        (TimeForm.iso, ["2024-05-15T12:00:00", "2024-05-15 12:00", "2024/05/15 12:00:00"]),
        (TimeForm.iso, ["Wed May 15 12:00:00 2024", "2024-05-15T12:00:00"]),
        (TimeForm.dates, ["202405151200", "20240515120000", "202405151200.0"]),
    ],
)
def test_every_form_is_the_same_time(form: TimeForm, values: list[str]) -> None:
    times = _read(*values)
    assert times.form == form
    assert times.seconds.to_list() == [NOON] * len(values)
    assert not times.notes


@pytest.mark.parametrize("values", [["20240515", "20240516"], ["2024-05-15", "2024-05-16"]])
def test_a_date_is_its_midnight(values: list[str]) -> None:
    assert _read(*values).seconds.to_list() == [MIDNIGHT, MIDNIGHT + DAY]


@pytest.mark.parametrize(
    "values",
    [
        ["0", "1", "2"],
        ["20240515", "20240599"],  # the second is no date
        ["-3", "5.5"],
        ["50000000", "90000000", "150000000"],  # one count, across the border of a unit
    ],
)
def test_positions_stay_as_they_are(values: list[str]) -> None:
    times = _read(*values)
    assert times.form == TimeForm.position
    assert times.seconds.to_list() == [float(value) for value in values]


def test_missing_times_are_null() -> None:
    given = ["", None, "NaN", "NaT", "null", "1715774400"]
    assert _read(*given).seconds.to_list() == [None] * 5 + [NOON]
    assert _read("", None).form is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1715774400", "1715774400000", "1715774401"],
            "line 3: timestamp '1715774400000' is milliseconds since 1970, and '1715774400' at "
            "t.csv line 2 is seconds since 1970; write all of them in one unit",
        ),
        (
            ["1715774400000", "1715774400000000", "1715774400000"],
            "line 3: timestamp '1715774400000000' is microseconds since 1970",
        ),
        (
            ["1715774400", "0", "1715774401"],
            "line 3: timestamp '0' is a position or a count, and '1715774400' at t.csv line 2",
        ),
        (
            ["1715774400", "1715774400", "20240515"],
            "line 4: timestamp '20240515' is a date as a number, and '1715774400'",
        ),
        (
            ["2024-05-15", "20240515", "2024-05-16"],
            "line 3: timestamp '20240515' is a date as a number, and '2024-05-15' at t.csv "
            "line 2 is an ISO time",
        ),
        (
            ["1715774400", "2024-05-15", "1715774401"],
            "line 3: timestamp '2024-05-15' is an ISO time, and '1715774400' at t.csv line 2 is "
            "seconds since 1970",
        ),
        (["1", "inf"], "line 3: timestamp 'inf' is neither a number nor an ISO time"),
        (["Wed, 15 May 2024 12:00:00 CEST"], "is neither a number nor an ISO time"),
        (["Wed, 32 May 2024 12:00:00 GMT"], "is neither a number nor an ISO time"),
        (["Wed May 15 12:00:00"], "is neither a number nor an ISO time"),
        (["15.05.2024"], "line 2: timestamp '15.05.2024' is neither a number nor an ISO time"),
    ],
)
def test_a_mixture_is_refused_with_the_two_values(values: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        _read(*values)
    assert "\n" not in str(error.value)


def test_times_without_a_zone_among_others_are_read_as_utc_with_a_note() -> None:
    times = _read("2024-05-15T14:00:00+02:00", "2024-05-15T12:00:00")
    assert times.seconds.to_list() == [NOON, NOON]
    assert [str(note) for note in times.notes] == [
        "t.csv line 3: timestamp '2024-05-15T12:00:00' has no time zone, and others have one "
        "(1 time read as UTC); add the zone if it is not UTC"
    ]


def _both(write_folder: WriteFolder, events: str, queries: str) -> list[str]:
    folder = write_folder(
        interactions=f"user_id,item_id,timestamp\nu,a,{events}\n",
        queries=f"query_id,text,timestamp\nq1,one,{queries}\nq2,two,\nq3,three,\n",
        qrels=QRELS,
    )
    dataset = read_source(folder)
    assert dataset.interactions["timestamp"].to_list() == [NOON]
    assert dataset.queries["timestamp"].to_list() == [NOON, None, None]
    return [str(note).replace(f"{folder}/", "") for note in dataset.notes]


def test_tables_in_different_units_are_brought_to_seconds(write_folder: WriteFolder) -> None:
    assert _both(write_folder, "1715774400000", "2024-05-15T12:00:00Z") == [
        "queries.csv line 2: timestamp '2024-05-15T12:00:00Z' is an ISO time, and "
        "'1715774400000' at interactions.csv line 2 is milliseconds since 1970 (1 row converted to "
        "seconds since 1970); nothing to do if that is right"
    ]


def test_tables_with_and_without_a_zone_get_a_note(write_folder: WriteFolder) -> None:
    notes = _both(write_folder, "2024-05-15T12:00:00", "2024-05-15T12:00:00Z")
    assert notes[0].startswith("interactions.csv line 2: timestamp '2024-05-15T12:00:00' has no")


def test_positions_in_one_table_and_times_in_the_other_are_refused(
    write_folder: WriteFolder,
) -> None:
    with pytest.raises(InputError, match=r"'1715774400' is seconds since 1970, and '7' at .*line"):
        _both(write_folder, "7", "1715774400")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["20200228", "20200229", "20200230", "20200301"],
            "t.csv line 4: timestamp '20200230' is no date, and '20200228' at t.csv line 2 is "
            "a date as a number; correct it",
        ),
        (
            ["20201301", "20200228", "20200229"],
            "t.csv line 2: timestamp '20201301' is no date, and '20200228' at t.csv line 3",
        ),
        (["1", "1" + "0" * 25], "t.csv line 3: timestamp '10{25}' is larger than nanoseconds"),
    ],
)
def test_a_number_that_cannot_be_a_time_is_refused(values: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _read(*values)


def test_counts_of_which_one_looks_like_a_date_stay_counts() -> None:
    times = _read("20200228", *(str(20209000 + number) for number in range(5)))
    assert times.form == TimeForm.position


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2004", "2000", "2014.0"], "years"),
        (["200401", "200012"], r"years and months \(YYYYMM\)"),
        (["45413", "45414.75"], "spreadsheet dates"),
    ],
)
def test_positions_that_look_like_dates_are_kept_with_a_note(values: list[str], kind: str) -> None:
    times = _read(*values)
    assert times.form == TimeForm.position
    assert times.seconds.to_list() == [float(value) for value in values]
    (note,) = times.notes
    assert note.count == len(values)
    assert re.search(f"line 2: timestamp '{values[0]}' and all others look like {kind}", str(note))


@pytest.mark.parametrize(
    "values", [["1", "2004"], ["2004.5", "2005"], ["200013", "200001"], ["5", "45413"], ["7"]]
)
def test_positions_that_look_like_no_dates_bring_no_note(values: list[str]) -> None:
    assert not _read(*values).notes


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1715774400000000000", "1715774400000000100"),
        ("2024-05-15T12:00:00.000000000Z", "2024-05-15T12:00:00.000000100Z"),
    ],
)
def test_times_of_a_user_that_differ_by_nanoseconds_are_equal_with_a_note(
    first: str, second: str
) -> None:
    (note,) = _read(first, second).notes
    assert (note.count, note.unit) == (2, "time")
    assert "which are in file order" in str(note)
    of_users = pl.DataFrame({"user_id": ["u", "v"], "timestamp": [first, second]})
    assert not read_times(Table(Path("t.csv"), of_users)).notes
    assert not _read(first, first).notes
    apart = first.replace("000000000", "000001000")
    assert not _read(first, apart).notes


@pytest.mark.parametrize(
    ("far", "others"),
    [
        ("0001-01-01T00:00:00", ["2020-03-01", "2021-03-01T12:00"]),
        ("9999-12-31", ["2020-03-01", "2021-03-01", "2022-03-01"]),
        ("1970-01-01T00:00:00Z", ["2020-03-01T00:00:00Z", "2021-03-01T00:00:00Z"]),
        ("9999999999", ["1600000000", "1600000001"]),
        ("19000101", ["20200301", "20210301"]),
    ],
)
def test_a_time_far_from_all_others_is_counted(far: str, others: list[str]) -> None:
    times = _read(*others, far)
    assert not times.are_counts
    (note,) = times.notes
    assert (note.count, note.effect) == (1, "read as it stands")
    assert str(note).startswith(f"t.csv line {len(others) + 2}: timestamp '{far}' is more than 50")
    assert not _read(*others).notes


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["132000000000000000", "132000000010000000"], "Windows file times"),
        (["637000000000000000", "637000000010000000"], ".NET ticks"),
    ],
)
def test_nanoseconds_that_look_like_another_count_are_kept_with_a_note(
    values: list[str], kind: str
) -> None:
    times = _read(*values)
    assert times.form == TimeForm.nanoseconds
    (note,) = times.notes
    assert f"and all others look like {kind}" in str(note)
    assert "nothing to do if they are nanoseconds since 1970; else write ISO times" in str(note)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        (["1.70000E+12", "1.70001E+12", "1.70001E+12"], "10,000 s"),
        (["1.7e9", "1.71e9", "1.7e9"], "10,000,000 s"),
        (["1700000000", "1.71E+09", "1.7E+09"], "10,000,000 s"),
    ],
)
def test_times_without_their_last_digits_get_a_note(values: list[str], size: str) -> None:
    times = _read(*values)
    assert times.form in (TimeForm.seconds, TimeForm.milliseconds)
    (note,) = times.notes
    written = [value for value in values if "e" in value.lower()]
    assert (note.count, note.effect) == (len(written), "read as it stands")
    assert note.problem == (
        f"timestamp '{written[0]}' has too few digits: such times are rounded to {size}"
    )


def test_times_with_an_exponent_and_all_digits_bring_no_note() -> None:
    assert not _read("8.8125095E8", "8.81250949E8", "8.8E8", "8.812509491E8").notes
    assert not _read("1.5E3", "2E3").notes  # positions


@pytest.mark.parametrize(
    "values", [["01022024", "31012024"], ["1022024", "31012024"], ["02012024", "01312024"]]
)
def test_dates_as_numbers_that_end_with_the_year_get_a_note(values: list[str]) -> None:
    times = _read(*values)
    assert times.seconds.to_list() == [float(value) for value in values]
    (note,) = times.notes
    assert "all others look like dates whose year is last" in note.problem
    assert note.effect == "read as a position or a count, which is not the order of time"
    assert not _read(*values, "13132024").notes
    assert not _read(*values, "7").notes
