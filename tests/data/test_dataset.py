"""A note says how many, where, why and what to do; the tables' notes come with the dataset."""

from pathlib import Path

import polars as pl
import pytest

from twofold.data.dataset import MOST_CHARACTERS, Catalog, Note
from twofold.data.formats import Table
from twofold.data.validation import validate

LEFT_OUT = Note(2, "items.csv line 3", "is broken", "mend it")


def test_a_note_reads_as_a_sentence() -> None:
    assert str(LEFT_OUT) == "items.csv line 3: is broken (2 rows left out); mend it"
    column = Note(1, "items.csv", "column '' has no name", "name it", unit="column")
    assert str(column) == "items.csv: column '' has no name (1 column left out); name it"
    assert (LEFT_OUT.rows_left_out, column.rows_left_out) == (2, 0)


def test_of_a_long_text_every_column_is_read_up_to_a_number_of_characters() -> None:
    long = "é" * MOST_CHARACTERS
    items = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": [long + "!", "T"],
            "text": [long, None],
            "genre": ["g"] * 2,
        }
    )
    catalog = Catalog.of(items)
    assert catalog.texts == [f"{long} {long} g", "T g"]
    assert catalog.title("a") == long + "!", "it is kept"


@pytest.mark.parametrize("title", ["", None, "  ", "\u200b", "\n\u00a0"])
def test_an_item_without_a_visible_title_is_shown_by_its_id(title: str | None) -> None:
    items = pl.DataFrame(
        {"item_id": ["a"], "title": [title]}, schema_overrides={"title": pl.String}
    )
    assert Catalog.of(items).title("a") == "a"


def test_the_notes_of_every_table_come_with_the_dataset() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["a"]})
    dataset = validate(
        {
            "items": [Table(Path("items.csv"), items, notes=(LEFT_OUT,))],
            "interactions": [Table(Path("interactions.csv"), events)],
        }
    )
    assert dataset.notes == (LEFT_OUT,)


def test_rows_keep_their_lines_when_others_are_left_out() -> None:
    table = Table(Path("t.csv"), pl.DataFrame({"x": ["1", "2", "3"]}), lines=pl.Series([2, 4, 5]))
    kept = table.filter(pl.Series([True, False, True]), LEFT_OUT)
    assert (kept.place(1), kept.notes) == ("t.csv line 5", (LEFT_OUT,))
    assert kept.with_rows(kept.rows.rename({"x": "y"})).place(1) == "t.csv line 5"
