"""Qilin, search and recommendation logs of Xiaohongshu, as Parquet in a folder for each table.

A user's clicks on recommended notes are the interactions. A search is a query of its user, and the
notes that were clicked in it are relevant.
"""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from twofold.data.formats import Table
from twofold.data.layouts.layout import Layout, Tables, noted, with_validation
from twofold.records import InputError

_SPLITS = ("train", "test")
_NOTES = {
    "title": "note_title",
    "text": "note_content",
    "first_category": "taxonomy1_id",
    "second_category": "taxonomy2_id",
    "third_category": "taxonomy3_id",
}
_TIMES = ("request_timestamp", "search_timestamp", "timestamp")
"""The column with the time of a result, by its names in published code that reads the dataset."""


def tables(folder: Path) -> Tables:
    """The notes, and the clicked recommendations and searches if the folder has them.

    Raises:
        InputError: a column is missing, or a file is invalid.
    """
    notes = _notes(folder)
    present = {"items": [notes]}
    known = notes.rows["item_id"]
    recommended = _shown(folder, "recommendation", "rec_result_details_with_idx", "request_idx")
    if recommended is not None:
        clicked = _clicked(recommended, known)
        columns = ["user_id", "item_id", *_time(clicked.rows)]
        present["interactions"] = [clicked.with_rows(clicked.rows.select(columns))]
    searched = _shown(folder, "search", "search_result_details_with_idx", "search_idx", "query")
    if searched is not None:
        clicked = _clicked(searched, known)
        pairs = clicked.rows.select("query_id", "item_id").unique(maintain_order=True)
        rows = searched.rows.group_by("query_id", maintain_order=True).agg(
            pl.col("text", "split", "user_id").first(),
            pl.col("timestamp").min().cast(pl.String),
        )
        queries = with_validation(rows.drop([] if _time(rows) else "timestamp"))
        present["queries"] = [Table(searched.path, queries, derived=True)]
        present["qrels"] = [Table(searched.path, pairs, derived=True, notes=clicked.notes)]
    return present


def _notes(folder: Path) -> Table:
    paths = sorted(folder.glob("notes/*.parquet"))
    parts = [_columns(path, ["note_idx"], _NOTES.values()) for path in paths]
    rows = pl.concat(parts, how="vertical_relaxed")
    others = [
        pl.col(given).cast(pl.String).replace(["nan", "None", ""], None).alias(name)
        for name, given in _NOTES.items()
    ]
    return Table(paths[0], rows.select(_id("note_idx", "item_id"), *others), derived=True)


def _shown(folder: Path, name: str, details: str, key: str, text: str = "") -> Table | None:
    """The results of each request, one row for each note, in file order; None without files."""
    parts, first = [], None
    for split in _SPLITS:
        for path in sorted(folder.glob(f"{name}_{split}/*.parquet")):
            rows = _columns(path, [key, "user_idx", details, *([text] if text else [])])
            query_id = pl.concat_str(pl.lit(f"{name}_{split}:"), _id(key, "query_id"))
            shown = rows.select(
                query_id.alias("query_id"),
                _id("user_idx", "user_id"),
                *([pl.col(text).cast(pl.String).alias("text")] if text else []),
                shown=details,
                split=pl.lit(split),
            )
            parts.append(_exploded(path, shown, details))
            first = first or path
    return None if first is None else Table(first, pl.concat(parts), derived=True)


def _exploded(path: Path, rows: pl.DataFrame, details: str) -> pl.DataFrame:
    """A row for each result: its note, time and number of clicks."""
    inner = getattr(rows["shown"].dtype, "inner", None)
    fields = [field.name for field in inner.fields] if isinstance(inner, pl.Struct) else []
    if missing := {"note_idx", "click"} - set(fields):
        raise InputError(
            f"{path}: column '{details}' holds no lists of objects with {sorted(missing)[0]}; "
            f"download it again"
        )
    time = next((name for name in _TIMES if name in fields), None)
    result = pl.col("shown").struct
    return (
        rows.explode("shown")
        .with_columns(
            _id(result.field("note_idx"), "item_id"),
            (result.field(time) if time else pl.lit(None)).cast(pl.Float64).alias("timestamp"),
            (result.field("click").cast(pl.Float64) > 0).fill_null(False).alias("click"),
        )
        .drop("shown")
    )


def _clicked(shown: Table, known: pl.Series) -> Table:
    """The results with a click on a known note, with notes on the other results."""
    clicked = shown.rows["click"]
    there = shown.rows["item_id"].is_in(known.implode()).fill_null(False)
    notes = [
        *noted(~clicked, shown.path, "a note was shown and not clicked", "result"),
        *noted(clicked & ~there, shown.path, "a clicked note is not among the notes", "click"),
    ]
    kept = shown.rows.filter(clicked & there)
    timed = kept.with_columns(pl.col("timestamp").cast(pl.String))
    return Table(shown.path, timed, derived=True, notes=tuple(notes))


def _time(rows: pl.DataFrame) -> list[str]:
    """The column of times, if every row has one."""
    return [] if rows["timestamp"].null_count() else ["timestamp"]


def _id(column: str | pl.Expr, name: str) -> pl.Expr:
    """An id as text; a number, which is a float if one is missing, as an integer."""
    given = pl.col(column) if isinstance(column, str) else column
    return given.cast(pl.Int64).cast(pl.String).alias(name)


def _columns(path: Path, needed: list[str], optional: Collection[str] = ()) -> pl.DataFrame:
    """Some columns of a file; a missing optional column is null."""
    try:
        there = pl.read_parquet_schema(path)
        for name in needed:
            if name not in there:
                raise InputError(
                    f"{path}: no column '{name}' among {', '.join(there)}; download it again"
                )
        rows = pl.read_parquet(path, columns=[*needed, *(n for n in optional if n in there)])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: {reason}; not readable as Parquet, download it again") from error
    absent = [pl.lit(None, pl.String).alias(name) for name in optional if name not in there]
    return rows.with_columns(absent).select(*needed, *optional)


LAYOUT = Layout(
    name="Qilin",
    needs=("notes/*.parquet", "search_*/*.parquet|recommendation_*/*.parquet"),
    gives="notes, clicked recommendations, and searches with clicks: both tasks",
    tables=tables,
)
