"""Frames from Python give what the same tables give as files."""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

import twofold
from tests.conftest import WriteFolder
from twofold.data.frames import frame_tables
from twofold.data.sources import read_source
from twofold.records import InputError


class PandasColumn:
    """A column as pandas gives it."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def tolist(self) -> list[Any]:
        return self._values


class PandasFrame:
    """A frame as pandas gives it, which the tests do not need installed."""

    def __init__(self, columns: dict[Any, list[Any]]) -> None:
        self._columns = list(columns.values())
        self.columns = list(columns)

    @property
    def iloc(self) -> "PandasFrame":
        return self

    def __getitem__(self, key: tuple[slice, int]) -> PandasColumn:
        return PandasColumn(self._columns[key[1]])


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


@pytest.mark.parametrize("kind", [PandasFrame, dict, pl.DataFrame])
def test_every_kind_of_frame(kind: Any) -> None:
    dataset = read_source({"items": kind(ITEMS), "interactions": kind(EVENTS)})
    assert dataset.catalog.items.rows() == [("a", "Alpha", "1.5"), ("b", "", None)]
    assert dataset.interactions.rows() == [("1", "a", 1.0), ("1", "b", 2.0), ("1", "a", 3.0)]


def test_values_as_pandas_and_numpy_have_them() -> None:
    missing = type("NAType", (), {})()
    events: dict[Any, list[Any]] = {
        "user_id": [np.int64(7), np.int64(7)],
        "item_id": ["a", "b"],
        "timestamp": [datetime(2024, 5, 1), datetime(2024, 5, 2)],
    }
    items = [{"item_id": "a", "title": missing, "tags": np.array(["x", "y"])}, {"item_id": "b"}]
    dataset = read_source({"items": items, "interactions": PandasFrame(events), "queries": None})
    assert dataset.catalog.items.rows() == [("a", "", "x|y"), ("b", "", None)]
    assert dataset.interactions.row(0) == ("7", "a", 1714521600.0)


def test_what_is_wrong_is_named_by_table_and_row() -> None:
    events = {**EVENTS, "item_id": ["a", "z", "a"]}
    with pytest.raises(InputError, match=r"interactions.frame row 2: item_id 'z'"):
        read_source({"items": ITEMS, "interactions": events})
    with pytest.raises(InputError, match=r"table 'events': is none of items, interactions"):
        frame_tables({"events": EVENTS})
    with pytest.raises(InputError, match=r"items.frame: int is no frame"):
        frame_tables({"items": 3})
    with pytest.raises(InputError, match="column 'a' stands twice"):
        frame_tables({"items": PandasFrame({"a": ["x"], "a ": ["y"]})})
    with pytest.raises(InputError, match="columns of 1 and of 2 values"):
        frame_tables({"items": {"item_id": ["a", "b"], "title": ["x"]}})
