"""KuaiSAR: `rec_inter.csv`, `src_inter.csv` and `item_features.csv`.

Clicked recommendations are the interactions. A search session is a query of its user, in the
dataset's numbers for words, and what was clicked in it is right.
"""

from pathlib import Path

import polars as pl

from twofold.data.dataset import Note
from twofold.data.formats import Table, read_table
from twofold.data.layouts.layout import Layout, Tables

_LEVELS = ("first", "second", "third", "fourth")


def tables(folder: Path) -> Tables:
    """The videos, clicked recommendations, searches and clicks in them.

    Raises:
        InputError: a column is missing.
    """
    features = read_table(folder / "item_features.csv")
    features.require_columns("item_id", "caption")
    seen = read_table(folder / "rec_inter.csv")
    seen.require_columns("user_id", "item_id", "timestamp", "click")
    searches = read_table(folder / "src_inter.csv")
    searches.require_columns(
        *("user_id", "search_session_id", "search_session_timestamp"),
        *("keyword", "item_id", "click_cnt"),
    )
    known = features.rows["item_id"].implode()
    watched = _clicked(seen, "click", known)
    clicked = _clicked(searches, "click_cnt", known)
    query_id = pl.concat_str("user_id", "search_session_id", separator=":")
    queries = searches.rows.select(
        "user_id",
        query_id=query_id,
        text=_words("keyword"),
        timestamp="search_session_timestamp",
    ).unique("query_id", keep="first", maintain_order=True)
    qrels = clicked.rows.select("item_id", query_id=query_id).unique(maintain_order=True)
    return {
        "items": [features.with_rows(_items(features.rows))],
        "interactions": [watched.with_rows(watched.rows.select("user_id", "item_id", "timestamp"))],
        "queries": [Table(searches.path, queries, derived=True)],
        "qrels": [Table(searches.path, qrels, derived=True, notes=clicked.notes)],
    }


def _clicked(table: Table, column: str, known: pl.Series) -> Table:
    """The rows with a click on an item that has features, with notes on the others."""
    clicked = table.rows.select(
        (pl.col(column).cast(pl.Float64, strict=False) > 0).fill_null(False)
    ).to_series()
    described = table.rows["item_id"].is_in(known).fill_null(False)
    notes = []
    for left_out, problem in (
        (~clicked, "an item was shown and not clicked"),
        (clicked & ~described, "an item is not in item_features.csv"),
    ):
        if left_out.any():
            row = left_out.arg_max()
            assert row is not None
            notes.append(Note(int(left_out.sum()), table.place(row), problem, "nothing to do"))
    return table.filter(clicked & described, *notes)


def _words(column: str) -> pl.Expr:
    """A list such as [20, 34, 3] as the text `20 34 3`."""
    spaced = pl.col(column).str.replace_all(r"[\[\],\s]+", " ").str.strip_chars()
    return spaced.replace("", None)


def _items(features: pl.DataFrame) -> pl.DataFrame:
    levels = {}
    for level in _LEVELS:
        name = f"{level}_level_category_name"
        given = next((c for c in (f"{name}_en", name) if c in features.columns), None)
        if given is not None:
            levels[f"{level}_category"] = pl.col(given).replace(["empty", "空", ""], None)
    return features.select("item_id", title=_words("caption"), **levels)


LAYOUT = Layout(
    name="KuaiSAR",
    needs=("rec_inter.csv", "src_inter.csv", "item_features.csv"),
    gives="videos, clicked recommendations, and searches with clicks: both tasks",
    tables=tables,
)
