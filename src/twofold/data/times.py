"""Columns of timestamps in any common form, converted to seconds since 1970.

Invariant: a column has one form. Times in a known unit become seconds since 1970; positions and
times with an unknown origin stay unchanged; a mixture is refused with the two values.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import Note
from twofold.data.reading.time_values import TimeForm, parse_dates, parse_iso, per_second, unit_of
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table

_GAP = 10.0
"""Numbers on both sides of a unit's limit are one series if no number is this many times the one
before.
"""

_BEYOND = 1e19
"""Larger than all nanoseconds since 1970 of times before 2286."""

_LOOK = 100
"""The number of first values by which a column is checked for dates."""

_ONLY_ORDERS = ", which orders events but is no date"
_MISSING = ("", "nan", "nat", "none", "null", "<na>", "\\n")
_MONTHS = r"^(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:\.0+)?$"
_DAY_FIRST = r"^(?:0?[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d\d$"
_MONTH_FIRST = r"^(?:0?[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:19|20)\d\d$"
_EXPONENT = r"^[+-]?\d(?:\.(\d+))?[eE]\+?(\d+)$"
"""The decimals and the exponent of a number such as 1.70000E+12."""
_COARSE = 3600.0
"""Times that are rounded to this many seconds or more have lost their order."""
_YEARS = (1900.0, 2100.0)
_DAYS = (30000.0, 60000.0)
"""Spreadsheet dates (days since 1899-12-30) from 1982 to 2064."""

_TICKS = {
    "Windows file times (100 ns since 1601)": (1.2e17, 1.4e17),
    ".NET ticks (100 ns since the year 1)": (6.2e17, 6.6e17),
}
"""What is of 1981 to 2044 or 1965 to 2092 there; as nanoseconds of 1973 and 1974, 1989 and 1990."""

_FAR = 50 * 365.25 * 86400
"""A time this many seconds from the median may stand for a missing one."""

_FINE = r"\.\d{6}(\d*[1-9])"
"""The digits of an ISO time after the microseconds, which are not kept."""


@dataclass(frozen=True, slots=True)
class Times:
    """The column timestamp of a table.

    Attributes:
        table: the table.
        seconds: Float64; null if the time is missing.
        form: the form of the values; None if all are missing.
        notes: the assumptions that were made.
        zones: whether the ISO times have a zone; both if only some do.
    """

    table: "Table"
    seconds: pl.Series
    form: TimeForm | None = None
    notes: tuple[Note, ...] = ()
    zones: frozenset[bool] = field(default_factory=frozenset)

    @property
    def are_counts(self) -> bool:
        """Whether the values are not times but numbers that order the rows."""
        return self.form == TimeForm.position

    def example(self) -> tuple[str, str]:
        """The first value that is not missing, and its place."""
        row = first_true(self.seconds.is_not_null())
        assert row is not None
        return str(self.table.rows["timestamp"][row]), self.table.place(row)


def read_times(table: "Table") -> Times:
    """The column timestamp of a table as seconds since 1970, or unchanged if it has positions.

    Raises:
        InputError: a value is not a time, or two values have different forms.
    """
    if "timestamp" not in table.rows.columns:
        return Times(table, pl.repeat(None, table.rows.height, dtype=pl.Float64, eager=True))
    text = table.rows["timestamp"].str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(_MISSING).fill_null(False), None)
    numbers = text.cast(pl.Float64, strict=False)
    written = text.is_not_null() & numbers.is_null()
    iso = parse_iso(text.set(~written, None))
    bad = (written & iso["seconds"].is_null()) | ~numbers.is_finite().fill_null(True)
    if (row := first_true(bad)) is not None:
        raise InputError(
            f"{table.place(row)}: timestamp '{text[row]}' is neither a number nor an ISO time "
            f"such as 2024-05-01T12:00:00; correct it or remove the column"
        )
    if not written.any():
        return _of_numbers(table, text, numbers)
    if numbers.is_not_null().any():
        _refuse(table, text, numbers, written)
    notes = (
        *_zoneless(table, iso),
        *_merged(table, text, iso["seconds"], TimeForm.iso),
        *_far(table, text, iso["seconds"]),
    )
    zones = frozenset(iso["zone"].drop_nulls().unique().to_list())
    return Times(table, iso["seconds"], TimeForm.iso, notes, zones)


def require_alike(events: Times, queries: Times) -> list[Note]:
    """Notes if the times of two tables have different forms, but are comparable.

    Raises:
        InputError: one table has times, and the other positions.
    """
    if events.form is None or queries.form is None:
        return []
    (event, event_place), (query, query_place) = events.example(), queries.example()
    if events.are_counts != queries.are_counts:
        raise InputError(
            f"{query_place}: timestamp '{query}' is {queries.form}, and '{event}' at "
            f"{event_place} is {events.form}; write both in the same unit, or remove the column "
            f"from one table"
        )
    notes = []
    if events.form != queries.form:
        problem = f"timestamp '{query}' is {queries.form}, and '{event}' at {event_place} is "
        notes.append(
            Note(
                int(queries.seconds.is_not_null().sum()),
                query_place,
                problem + events.form,
                "nothing to do if that is right",
                effect="converted to seconds since 1970",
            )
        )
    one_each = len(events.zones) == len(queries.zones) == 1
    if one_each and events.zones != queries.zones:
        zoneless = events if events.zones == {False} else queries
        notes.append(_utc_note(zoneless, int(zoneless.seconds.is_not_null().sum())))
    return notes


def _of_numbers(table: "Table", text: pl.Series, numbers: pl.Series) -> Times:
    """The times of a column of numbers: dates written as numbers, seconds or other units, or
    positions.
    """
    if parse_dates(text.drop_nulls().head(_LOOK)).is_not_null().any():
        dates = parse_dates(text)
        given, missing = text.is_not_null(), dates.is_null() & text.is_not_null()
        if not missing.any():
            return Times(table, dates, TimeForm.dates, _far(table, text, dates))
        # One number of thirty looks like a date by chance, so half of a column never does.
        if 2 * missing.sum() < given.sum():
            _refuse_no_date(table, text, missing, dates.is_not_null())
    if (row := first_true(numbers.abs() >= _BEYOND)) is not None:
        raise InputError(
            f"{table.place(row)}: timestamp '{text[row]}' is larger than nanoseconds since 1970 "
            f"can be; correct it or remove the column"
        )
    units = pl.select(unit_of(pl.lit(numbers))).to_series()
    forms = units.drop_nulls().unique().to_list()
    if not forms:
        return Times(table, numbers)
    if len(forms) > 1:
        if not _is_one_count(numbers.drop_nulls().abs().sort()):
            _refuse_units(table, text, units)
        return Times(table, numbers, TimeForm.position)
    form = TimeForm(forms[0])
    seconds = numbers / per_second(form)
    notes = (
        *_like_dates(table, text, numbers, form),
        *_rounded(table, text, form),
        *_merged(table, text, seconds, form),
        *(_far(table, text, seconds) if form != TimeForm.position else ()),
    )
    return Times(table, seconds, form, notes)


def _like_dates(
    table: "Table", text: pl.Series, numbers: pl.Series, form: TimeForm
) -> tuple[Note, ...]:
    """A note if numbers look like other dates, such as years; they are used only to order the
    events.
    """
    given = numbers.drop_nulls()
    whole = bool((given == given.round()).all())
    effect = f"read as {form}"
    if form == TimeForm.position:
        swapped = any(text.drop_nulls().str.contains(p).all() for p in (_DAY_FIRST, _MONTH_FIRST))
        effect += ", which is not the order of time" if swapped else _ONLY_ORDERS
        looks = {
            "dates whose year is last (DDMMYYYY or MMDDYYYY)": swapped,
            "years": whole and bool(given.is_between(*_YEARS).all()),
            "years and months (YYYYMM)": bool(text.drop_nulls().str.contains(_MONTHS).all()),
            "spreadsheet dates": bool(given.is_between(*_DAYS).all()),
        }
    else:
        looks = {
            kind: form == TimeForm.nanoseconds and bool(given.is_between(*numbers_of).all())
            for kind, numbers_of in _TICKS.items()
        }
    row = first_true(numbers.is_not_null())
    assert row is not None
    meant = "counts" if form == TimeForm.position else form
    remedy = f"nothing to do if they are {meant}; else write ISO times such as 2024-05-01"
    return tuple(
        Note(
            len(given),
            table.place(row),
            f"timestamp '{text[row]}' and all others look like {kind}",
            remedy,
            "time",
            effect,
        )
        for kind, fits in looks.items()
        if fits
    )


def _rounded(table: "Table", text: pl.Series, form: TimeForm) -> tuple[Note, ...]:
    """A note if times with an exponent, such as 1.70000E+12, have too few digits to order events.

    A value may end with zeros that were not written, so the one with most digits counts.
    """
    if form == TimeForm.position or (row := first_true(text.str.contains(_EXPONENT))) is None:
        return ()
    written = text.str.extract_groups(_EXPONENT).struct.unnest().drop_nulls("2")
    decimals = written["1"].fill_null("").str.len_chars().cast(pl.Int64)
    seconds = 10.0 ** float((written["2"].cast(pl.Int64) - decimals).min()) / per_second(form)  # type: ignore[arg-type]
    if seconds < _COARSE:
        return ()
    problem = (
        f"timestamp '{text[row]}' has too few digits: such times are rounded to {seconds:,.0f} s"
    )
    remedy = "write the column with all digits, without an exponent"
    return (Note(written.height, table.place(row), problem, remedy, "time", "read as it stands"),)


def _far(table: "Table", text: pl.Series, seconds: pl.Series) -> tuple[Note, ...]:
    """A note on times fifty years from the median, such as 0001-01-01 and 9999-12-31."""
    middle = seconds.median()
    far = ((seconds - middle).abs() > _FAR).fill_null(False)
    if (row := first_true(far)) is None:
        return ()
    problem = f"timestamp '{text[row]}' is more than 50 years from the median of the column"
    remedy = "nothing to do, unless it stands for a missing time: then remove such rows"
    return (Note(int(far.sum()), table.place(row), problem, remedy, "time", "read as it stands"),)


def _merged(
    table: "Table", text: pl.Series, seconds: pl.Series, form: TimeForm
) -> tuple[Note, ...]:
    """A note if times of a user that differ by less than a microsecond became equal."""
    if form == TimeForm.iso:
        parts = text.str.extract(_FINE).fill_null("")
        if not (parts != "").any():
            return ()
    elif form == TimeForm.nanoseconds:
        parts = text
    else:
        return ()
    times = pl.DataFrame({"text": text, "parts": parts, "seconds": seconds})
    by = ["seconds"]
    if "user_id" in table.rows.columns:
        times, by = times.with_columns(table.rows["user_id"]), ["user_id", "seconds"]
    times = times.filter(pl.col("text").is_not_null())
    equal = times.select((pl.col("parts").n_unique() > 1).over(by)).to_series()
    if (row := first_true(equal)) is None:
        return ()
    problem = f"timestamp '{times['text'][row]}' differs from another by less than a microsecond"
    effect = "read as equal times, which are in file order"
    remedy = "sort the file by time"
    return (Note(int(equal.sum()), str(table.path), problem, remedy, "time", effect),)


def _refuse_no_date(table: "Table", text: pl.Series, bad: pl.Series, dates: pl.Series) -> None:
    """Raise InputError for an invalid date in a column of dates as numbers."""
    row, date = first_true(bad), first_true(dates)
    assert row is not None
    assert date is not None
    raise InputError(
        f"{table.place(row)}: timestamp '{text[row]}' is no date, and '{text[date]}' at "
        f"{table.place(date)} is {TimeForm.dates}; correct it or remove the column"
    )


def _is_one_count(sizes: pl.Series) -> bool:
    """Whether numbers on both sides of a unit's limit are one series: no gap is at the limit."""
    forms = pl.select(unit_of(pl.lit(sizes))).to_series()
    borders = forms.ne(forms.shift(1)).fill_null(False)
    return bool((sizes < sizes.shift(1) * _GAP).filter(borders).all())


def _refuse_units(table: "Table", text: pl.Series, units: pl.Series) -> None:
    """Raise InputError with the first value of the most frequent unit and the first of another."""
    common = units.drop_nulls().rename("unit").value_counts().sort("count", "unit")["unit"][-1]
    usual, other = first_true((units == common).fill_null(False)), first_true(units != common)
    assert usual is not None
    assert other is not None
    form = {row: _form_of(text[row], units[row]) for row in (usual, other)}
    _refuse_two(table, text, (other, form[other]), (usual, form[usual]))


def _form_of(text: str, unit: str) -> str:
    """The form of a value, which may be a date as a number among others."""
    is_date = parse_dates(pl.Series([text]))[0] is not None
    return TimeForm.dates.value if is_date and unit == TimeForm.position else unit


def _refuse(table: "Table", text: pl.Series, numbers: pl.Series, written: pl.Series) -> None:
    """Raise InputError for ISO times and numbers in one column."""
    number, iso = first_true(numbers.is_not_null()), first_true(written)
    assert number is not None
    assert iso is not None
    unit = pl.select(unit_of(pl.lit(numbers[number]))).item()
    examples = (number, _form_of(text[number], unit)), (iso, TimeForm.iso.value)
    few, many = examples if 2 * written.sum() > len(written) else examples[::-1]
    _refuse_two(table, text, few, many)


def _refuse_two(
    table: "Table", text: pl.Series, few: tuple[int, str], many: tuple[int, str]
) -> None:
    (row, form), (other, other_form) = few, many
    raise InputError(
        f"{table.place(row)}: timestamp '{text[row]}' is {form}, and '{text[other]}' at "
        f"{table.place(other)} is {other_form}; write all of them in one unit"
    )


def _zoneless(table: "Table", iso: pl.DataFrame) -> tuple[Note, ...]:
    """A note if some ISO times have a zone and others do not."""
    zoneless = ~iso["zone"]
    if iso["zone"].n_unique() - bool(iso["zone"].null_count()) < 2:
        return ()
    row = first_true(zoneless.fill_null(False))
    assert row is not None
    times = Times(table, iso["seconds"].set(~zoneless, None), TimeForm.iso)
    return (_utc_note(times, int(zoneless.sum())),)


def _utc_note(times: Times, count: int) -> Note:
    value, place = times.example()
    problem = f"timestamp '{value}' has no time zone, and others have one"
    return Note(count, place, problem, "add the zone if it is not UTC", "time", "read as UTC")


@dataclass(slots=True)
class TimesInParts:
    """Whether reading a column of timestamps in parts gives the same as reading it at once.

    Attributes:
        first: the times of the first part.
        low, high: the smallest and the largest seconds so far, with the number of their row.
    """

    first: Times | None = None
    low: tuple[float, int] = (float("inf"), 0)
    high: tuple[float, int] = (float("-inf"), 0)

    def alike(self, others: "TimesInParts") -> bool:
        """Whether two columns have the same form, or one of them is missing."""
        if self.first is None or others.first is None:
            return True
        return (self.first.form, self.first.zones) == (others.first.form, others.first.zones)

    def add(self, times: Times, start: int) -> bool:
        """Add a part that begins at row `start`; return whether the result is still the same."""
        self.first = self.first or times
        seconds = times.seconds
        if not len(seconds) or seconds.null_count() or times.notes:
            return False
        if (times.form, times.zones) != (self.first.form, self.first.zones):
            return False
        # Times that differ by less than a microsecond become equal, which a note counts.
        if times.form == TimeForm.nanoseconds or len(times.zones) > 1:
            return False
        if times.form == TimeForm.iso and times.table.rows["timestamp"].str.contains(_FINE).any():
            return False
        least, most = seconds.arg_min(), seconds.arg_max()
        assert least is not None
        assert most is not None
        self.low = min(self.low, (float(seconds[least]), start + least))
        # The first row of equal times: a later one may be a duplicate, which is left out.
        self.high = max(self.high, (float(seconds[most]), start + most), key=lambda each: each[0])
        return self.high[0] - self.low[0] <= _FAR or times.form == TimeForm.position
