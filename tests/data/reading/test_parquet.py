"""Parquet: columns of any type as text, or left out with a note that names them."""

import datetime as dt
import io
import os
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from tests.data.reading.tables import notes, read
from twofold.data.formats import Table
from twofold.data.frames import frame_tables
from twofold.records import InputError


def table_of(tmp_path: Path, **columns: pl.Series) -> Table:
    file = io.BytesIO()
    height = len(next(iter(columns.values())))
    pl.DataFrame({"item_id": [str(n) for n in range(height)], **columns}).write_parquet(file)
    return read(tmp_path, "items.parquet", file.getvalue())


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pl.Series([7, None]), ["7", None]),
        (pl.Series([6.0, 0.5]), ["6.0", "0.5"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series(["a", ""]), ["a", None]),
        (pl.Series([["a", "b"], []]), ["a|b", None]),
        (pl.Series([[["a"], ["b", "c"]], None]), ["a|b|c", None]),
        (pl.Series([Decimal("1.50"), None]), ["1.50", None]),
        (pl.Series(["x", "y"], dtype=pl.Categorical), ["x", "y"]),
        (pl.Series([dt.date(2024, 5, 1), None]), ["2024-05-01T00:00:00.000000", None]),
        (pl.Series([dt.timedelta(hours=1), None]), ["PT1H", None]),
        (pl.Series([b"text", None]), ["text", None]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_a_column_of_any_type_becomes_text(
    tmp_path: Path, column: pl.Series, texts: list[str | None]
) -> None:
    table = table_of(tmp_path, x=column)
    assert table.rows["x"].to_list() == texts
    assert not table.notes


def test_times_with_a_zone_are_those_of_utc(tmp_path: Path) -> None:
    noon = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    column = pl.Series([noon]).dt.convert_time_zone("Europe/Berlin")
    assert table_of(tmp_path, x=column).rows["x"][0].startswith("2024-05-01T10:00:00")


@pytest.mark.parametrize("zone", ["+05:30", "-08:00", "UTC", "Asia/Tokyo"])
def test_times_whose_zone_is_an_offset_are_those_of_utc(tmp_path: Path, zone: str) -> None:
    noon = pa.array([dt.datetime(2024, 5, 1, 12)], pa.timestamp("ms", zone))  # in UTC, always
    arrow, file = pa.table({"item_id": ["a"], "x": noon}), io.BytesIO()
    pq.write_table(arrow, file)
    table = read(tmp_path, "items.parquet", file.getvalue())
    assert table.rows["x"][0].startswith("2024-05-01T12:00:00")
    (given,) = frame_tables({"interactions": arrow})["interactions"]
    assert given.rows["x"].to_list() == table.rows["x"].to_list()
    assert "POLARS_IGNORE_TIMEZONE_PARSE_ERROR" not in os.environ


@pytest.mark.parametrize(
    ("column", "note"),
    [
        (
            pl.Series([[0.5] * 64, None]),
            "items.parquet: column 'x' has vectors of 64 numbers (1 column left out); "
            "nothing to do",
        ),
        (
            pl.Series([[0.5] * 64] * 2, dtype=pl.Array(pl.Float32, 64)),
            "items.parquet: column 'x' has vectors of 64 numbers (1 column left out); "
            "nothing to do",
        ),
        (
            pl.Series([b"\xff\xd8", None]),
            "items.parquet: column 'x' has Binary, which cannot be read as text (1 column left "
            "out); write the values that you need as text",
        ),
    ],
)
def test_columns_without_text_are_left_out_with_a_note(
    tmp_path: Path, column: pl.Series, note: str
) -> None:
    table = table_of(tmp_path, x=column)
    assert table.rows.columns == ["item_id"]
    assert notes(table) == [note]


def test_values_that_are_not_as_they_stand_are_noted(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        x=pl.Series([0.5, float("nan"), float("inf")]),
        y=pl.Series([None, {"a": 1}, {"a": 2}]),
    )
    assert table.rows["x"].to_list() == ["0.5", None, None]
    assert table.rows["y"].to_list() == [None, '{"a":1}', '{"a":2}']
    assert notes(table) == [
        "items.parquet row 2: x is nan, which is not a number (2 values read as empty); "
        "write null for a missing value",
        "items.parquet row 2: column 'y' has objects (2 values read as JSON); "
        "write the fields that you need to separate columns",
    ]


def test_times_that_a_short_float_rounded_get_a_note(tmp_path: Path) -> None:
    """Seconds since 1970 in float32 are two minutes apart, so the order of events is lost."""
    times = [1_700_000_000, 1_700_000_001, 5, None]
    table = table_of(tmp_path, timestamp=pl.Series(times, dtype=pl.Float32))
    assert notes(table) == [
        "items.parquet row 1: timestamp 1700000000 is a float32, which has steps of 128 there "
        "(2 times read as it stands); write the column as integers or float64 before it is rounded"
    ]
    assert not table_of(tmp_path, timestamp=pl.Series(times, dtype=pl.Float64)).notes
    assert not table_of(tmp_path, timestamp=pl.Series([1, 2], dtype=pl.Float32)).notes
    assert not table_of(tmp_path, price=pl.Series(times, dtype=pl.Float32)).notes


@pytest.mark.parametrize("cut", [0, 3, 60, 200])
def test_a_broken_file_is_one_line(tmp_path: Path, cut: int) -> None:
    file = io.BytesIO()
    pl.DataFrame({"item_id": ["a"] * 50, "title": ["A"] * 50}).write_parquet(file)
    data = file.getvalue()
    with pytest.raises(InputError) as error:
        read(tmp_path, "items.parquet", data[:cut])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError):
        read(tmp_path, "items.parquet", data[:30] + b"\xff" * 40 + data[70:])


def test_a_text_file_is_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not readable as Parquet"):
        read(tmp_path, "items.parquet", "item_id,title\n1,A\n")


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        (pa.array([None, 2**62], pa.timestamp("ms")), f"{2**62} milliseconds"),
        (pa.array([0, 253_402_300_800_000_000], pa.timestamp("us", "Asia/Tokyo")), "microseconds"),
        (pa.array([0, 2**31 - 1], pa.date32()), f"{2**31 - 1} days"),
        (pa.array([0, -62_135_596_800_001], pa.timestamp("ms")), "milliseconds"),
    ],
)
def test_a_time_outside_the_years_of_four_digits_is_refused(
    tmp_path: Path, times: pa.Array, shown: str
) -> None:
    """Seconds that were declared as milliseconds, or counts in no unit at all: polars panics."""
    file = io.BytesIO()
    pq.write_table(pa.table({"item_id": ["a", "b"], "timestamp": times}), file)
    with pytest.raises(InputError, match=rf"row 2: timestamp is .*{shown} since 1970, outside"):
        read(tmp_path, "interactions.parquet", file.getvalue())


def test_the_first_and_the_last_time_are_read(tmp_path: Path) -> None:
    ends = [-62_135_596_800_000, 253_402_300_799_999]
    file = io.BytesIO()
    times = pa.array(ends, pa.timestamp("ms"))
    pq.write_table(pa.table({"item_id": ["a", "b"], "timestamp": times}), file)
    table = read(tmp_path, "interactions.parquet", file.getvalue())
    assert [text[:19] for text in table.rows["timestamp"]] == [
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59",
    ]


@pytest.mark.parametrize("name", ["item_id", "user_id", "query_id"])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([["a"], ["b", "c"]], "is a list, and one id is expected; write a row for each of its ids"),
        ([{"$oid": "a"}, None], "is a dict, and one id is expected; write it as text or a number"),
    ],
)
def test_an_id_that_is_a_list_or_an_object_is_refused(
    tmp_path: Path, name: str, ids: list[object], message: str
) -> None:
    file = io.BytesIO()
    pl.DataFrame({"x": ["1", "2"], name: ids}).write_parquet(file)
    with pytest.raises(InputError, match=f"items.parquet row 1: {name} {message}"):
        read(tmp_path, "items.parquet", file.getvalue())


def test_a_column_that_was_left_out_is_named_where_it_is_missed(tmp_path: Path) -> None:
    file = io.BytesIO()
    pl.DataFrame({"title": ["A"], "item_id": [b"\xff\x00"]}).write_parquet(file)
    table = read(tmp_path, "items.parquet", file.getvalue())
    with pytest.raises(InputError, match="column 'item_id' has Binary, which cannot be read"):
        table.require_columns("item_id")
