"""Frames from Python give what the same tables give as files."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

import twofold
from tests.conftest import WriteFolder
from twofold.data.frames import frame_tables
from twofold.data.sources import read_source
from twofold.records import InputError

pd = pytest.importorskip("pandas", reason="pandas is not installed; it comes with .[dev]")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed; it comes with .[dev]")


EVENTS = {"user_id": [1, 1, 1], "item_id": ["a", "b", "a"], "timestamp": [1.0, 2.0, 3.0]}
ITEMS = {"item_id": ["a", "b"], "title": ["Alpha", None], "price": [1.5, float("nan")]}


def test_polars_frames_are_as_the_files(write_folder: WriteFolder) -> None:
    folder = write_folder()
    names = ("items", "interactions", "queries", "qrels")
    frames = {name: pl.read_csv(folder / f"{name}.csv") for name in names}
    dataset = twofold.load_dataset(frames)
    assert dataset.digest == twofold.load_dataset(folder).digest
    assert dataset.source == "frames"
    lazy = {name: frame.lazy() for name, frame in frames.items()}
    assert twofold.load_dataset(lazy).digest == dataset.digest


@pytest.mark.parametrize("kind", [pd.DataFrame, dict, pl.DataFrame, pa.table])
def test_every_kind_of_frame(kind: Any) -> None:
    dataset = read_source({"items": kind(ITEMS), "interactions": kind(EVENTS)})
    assert dataset.catalog.items.rows() == [("a", "Alpha", "1.5"), ("b", "", None)]
    assert dataset.interactions.rows() == [("1", "a", 1.0), ("1", "b", 2.0), ("1", "a", 3.0)]


def test_values_of_numpy_and_of_pandas_in_a_mapping() -> None:
    events: dict[Any, list[Any]] = {
        "user_id": [np.int64(7), np.int64(7)],
        "item_id": ["a", "b"],
        "timestamp": [datetime(2024, 5, 1), datetime(2024, 5, 2)],
    }
    items = [{"item_id": "a", "title": pd.NA, "tags": np.array(["x", "y"])}, {"item_id": "b"}]
    dataset = read_source({"items": items, "interactions": events, "queries": None})
    assert dataset.catalog.items.rows() == [("a", "", "x|y"), ("b", "", None)]
    assert dataset.interactions.row(0) == ("7", "a", 1714521600.0)


def test_what_is_wrong_is_named_by_table_and_row() -> None:
    events = {**EVENTS, "item_id": ["a", "z", "a"]}
    with pytest.raises(InputError, match=r"interactions.frame row 2: item_id 'z'"):
        read_source({"items": ITEMS, "interactions": events})
    with pytest.raises(InputError, match=r"table 'events': is none of items, interactions"):
        frame_tables({"events": EVENTS})
    for wrong in (3, pd.Series([1, 2]), pa.array([1, 2]), pl.Series([1, 2])):
        with pytest.raises(InputError, match=r"items.frame: \w+ is not a frame"):
            frame_tables({"items": wrong})
    with pytest.raises(InputError, match="column 'a' occurs twice"):
        frame_tables({"items": pd.DataFrame({"a": ["x"], "a ": ["y"]})})
    with pytest.raises(InputError, match="columns of 1 and of 2 values"):
        frame_tables({"items": {"item_id": ["a", "b"], "title": ["x"]}})


def _column(values: Any, name: str = "x") -> tuple[list[str | None] | None, list[str]]:
    """A column of a pandas frame as it is read, and the notes; None where it is left out."""
    frame = pd.DataFrame({"item_id": [f"i{n}" for n in range(len(values))], name: values})
    (table,) = frame_tables({"items": frame, "interactions": EVENTS})["items"]
    texts = table.rows[name].to_list() if name in table.rows.columns else None
    return texts, [str(note) for note in table.notes]


NOON = datetime(2024, 5, 1, 12)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        (pd.array([1.5, None], dtype="Float64"), ["1.5", None]),
        (pd.array([True, None], dtype="boolean"), ["true", None]),
        (pd.array(["a", None], dtype="string"), ["a", None]),
        (pd.Series(["a", None], dtype=object), ["a", None]),
        (pd.Series(["a", np.nan], dtype=object), ["a", None]),
        (pd.Series([1, "b"], dtype=object), ["1", "b"]),
        (pd.Categorical(["x", None]), ["x", None]),
        (pd.Categorical([3, 5]), ["3", "5"]),
        (pd.Series([NOON, None]), ["2024-05-01T12:00:00", None]),
        (pd.Series([NOON]).dt.tz_localize("Europe/Berlin"), ["2024-05-01T12:00:00+02:00"]),
        (pd.Series([date(2024, 5, 1)], dtype=object), ["2024-05-01"]),
        (pd.Series([["a", "b"], None]), ["a|b", None]),
        (pd.Series([np.array([1, 2]), np.array([])]), ["1|2", None]),
        (pd.Series([("a", pd.NA), {"b"}], dtype=object), ["a", "b"]),
        (pd.Series([b"text", None]), ["text", None]),
        (pd.Series([7, None], dtype=pd.ArrowDtype(pa.int64())), ["7", None]),
    ],
)
def test_a_column_of_any_type_of_pandas(values: Any, texts: list[str | None]) -> None:
    assert _column(values) == (texts, [])


def test_bytes_that_are_no_text_are_left_out_with_a_note() -> None:
    texts, notes = _column(pd.Series([b"\xff\xfe", b"x"]))
    assert texts is None
    assert "column 'x' has bytes, which cannot be read as text" in notes[0]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "list"])
def test_ids_that_a_missing_value_made_fractions(kind: str) -> None:
    frame = pd.DataFrame({"item_id": [10, 11, None], "brand_id": [3, None, 4]})
    wrote = frame[frame.item_id.notna()]
    given_as: dict[str, Callable[[], Any]] = {
        "pandas": lambda: wrote,
        "polars": lambda: pl.DataFrame(wrote.to_dict("list"), nan_to_null=True),
        "arrow": lambda: pa.Table.from_pandas(wrote, preserve_index=False),
        "list": lambda: wrote.to_dict("records"),
    }
    given = given_as[kind]()
    events = {"user_id": [1, 1], "item_id": [10, 11]}
    items = given if kind != "list" else [{"title": "", **row} for row in given]
    dataset = read_source({"items": _titled(items), "interactions": events})
    assert dataset.catalog.item_ids == ["10", "11"]
    assert dataset.catalog.items["brand_id"].to_list() == ["3", None]
    notes = [note for note in dataset.notes if note.effect == "read as integers"]
    assert [(note.count, note.problem.partition(",")[0]) for note in notes] == [
        (2, "item_id is 10.0"),
        (1, "brand_id is 3.0"),
    ]


def _titled(items: Any) -> Any:
    """A frame with a column of titles."""
    if isinstance(items, pd.DataFrame):
        return items.assign(title="")
    if isinstance(items, pl.DataFrame):
        return items.with_columns(title=pl.lit(""))
    return (
        items.append_column("title", pa.array(["", ""])) if isinstance(items, pa.Table) else items
    )


def test_fractions_that_are_no_ids_and_ids_that_are_no_whole_numbers_stay() -> None:
    assert _column([1.0, 2.5], "brand_id") == (["1.0", "2.5"], [])
    assert _column([1.0, 2.0], "price") == (["1.0", "2.0"], [])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_ids_that_a_fraction_cannot_hold_are_refused(kind: Any) -> None:
    events = kind({"user_id": [2.0, float(2**53 + 1)], "item_id": ["a", "b"]})
    with pytest.raises(InputError, match=r"interactions.frame row 2: user_id '9007199254740992'"):
        read_source({"items": ITEMS, "interactions": events})


def test_the_levels_of_an_index_with_a_name_are_columns() -> None:
    items, events = pd.DataFrame(ITEMS), pd.DataFrame(EVENTS)
    plain = read_source({"items": items, "interactions": events})
    indexed = {
        "items": items.set_index("item_id"),
        "interactions": events.set_index(["user_id", "item_id"]),
    }
    assert read_source(indexed).interactions.equals(plain.interactions)
    kept = read_source({"items": items.set_index("item_id", drop=False), "interactions": events})
    assert kept.catalog.items.equals(plain.catalog.items)


def test_an_index_without_a_name_is_not_read() -> None:
    part = pd.DataFrame(EVENTS).iloc[[2, 0]]
    dataset = read_source({"items": pd.DataFrame(ITEMS), "interactions": part})
    assert dataset.interactions["timestamp"].to_list() == [3.0, 1.0]
    assert not [note for note in dataset.notes if note.unit == "index"]
    named = pd.DataFrame(EVENTS, index=["x", "y", "z"])
    notes = read_source({"items": ITEMS, "interactions": named}).notes
    assert "the index has no name and begins with 'x'" in str(notes[-1])


def test_times_of_pandas_arrow_and_polars_are_the_same() -> None:
    times = [datetime(2024, 5, n, 12, tzinfo=UTC) for n in (1, 2, 3)]
    columns = {**EVENTS, "timestamp": times}
    zoned = pd.DataFrame(columns)
    zoned["timestamp"] = zoned["timestamp"].dt.tz_convert("Asia/Tokyo")
    frames = [zoned, pa.Table.from_pandas(zoned), pl.DataFrame(columns), columns]
    read = [read_source({"items": ITEMS, "interactions": frame}).interactions for frame in frames]
    assert read[0]["timestamp"][0] == 1714564800.0
    assert all(events.equals(read[0]) for events in read)


def test_arrow_with_dictionaries_and_missing_values() -> None:
    items = pa.table(
        {
            "item_id": pa.array(["a", "b"]).dictionary_encode(),
            "title": pa.array(["Alpha", None]),
            "tags": pa.array([["x", "y"], None]),
            "price": pa.array([1, None]),
        }
    )
    batch = pa.RecordBatch.from_pydict(EVENTS)
    dataset = read_source({"items": items, "interactions": batch})
    assert dataset.catalog.items.rows() == [("a", "Alpha", "x|y", "1"), ("b", "", None, None)]
    assert dataset.interactions.height == 3


def test_a_frame_that_gives_no_values_is_refused() -> None:
    class Lazy:
        iloc: Any = None
        columns = ("item_id",)
        index = pd.RangeIndex(1)

    with pytest.raises(InputError, match=r"Lazy cannot be read; convert it to a pandas frame"):
        frame_tables({"items": Lazy()})


@pytest.mark.parametrize(
    ("item_id", "shown"), [(("a", "b"), "a list"), (True, "true"), (object(), "a object")]
)
def test_an_id_that_is_none_is_refused(item_id: Any, shown: str) -> None:
    events = [{"user_id": "u", "item_id": "a"}, {"user_id": "u", "item_id": item_id}]
    with pytest.raises(InputError, match=f"row 2: item_id is {shown}, and one"):
        read_source({"interactions": events})


def test_no_frame_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="no table is given; give items, interactions"):
        read_source({})


@pytest.mark.parametrize("kind", ["pandas", "numpy", "polars", "arrow"])
@pytest.mark.parametrize(("dtype", "largest"), [("float32", 2**24), ("float16", 2**11)])
def test_ids_that_a_short_fraction_cannot_hold_are_refused(
    kind: str, dtype: str, largest: int
) -> None:
    for most, refused in ((largest - 1, False), (largest + 1, True)):
        ids = np.array([2, most]).astype(dtype)
        events: Any = {"user_id": ids, "item_id": ["a", "b"]}
        if kind == "pandas":
            events = pd.DataFrame(events)
        elif kind == "polars":
            events = pl.DataFrame({**events, "user_id": pl.Series(ids)})
        elif kind == "arrow":
            events = pa.table(events)
        if refused:
            with pytest.raises(InputError, match=f"row 2: user_id '{largest}' is a float"):
                read_source({"items": ITEMS, "interactions": events})
        else:
            users = read_source({"items": ITEMS, "interactions": events}).interactions["user_id"]
            assert users.to_list() == ["2", str(most)]
