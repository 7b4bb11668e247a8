"""Reads the table qrels: which items are relevant to which query, and how much.

Invariant: every row of the files is kept or counted in a note; no two rows contradict each other.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import first_true, require_known, require_values, unread_columns
from twofold.data.dataset import QRELS, Note
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table

MAX_RELEVANCE = 2**31 - 1

_TREC = ("iteration", "iter", "Q0")
"""A column of TREC qrels that is never used."""


def judgments(
    tables: "Sequence[Table]", items: pl.Series, queries: pl.Series, with_text: pl.Series
) -> tuple[pl.DataFrame, list[Note]]:
    """The judgments that are used, with a note for those that are not.

    Args:
        tables: the table qrels, in one file or several.
        items: all item ids.
        queries: all query ids.
        with_text: the ids of queries with a text.

    Returns:
        columns query_id, item_id and relevance, which is above 0.

    Raises:
        InputError: an id is unknown, a relevance is not a number, or two judgments contradict each
            other.
    """
    parts = []
    for table in tables:
        parts.append(read_judgments(table))
        require_known(table, "query_id", queries, "queries")
        require_known(table, "item_id", items, "items")
    rows = pl.concat(p.with_columns(table=pl.lit(n, pl.UInt32)) for n, p in enumerate(parts))
    _require_consistent(tables, rows)
    relevant = pl.col("relevance") > 0
    again = ~pl.struct("query_id", "item_id").is_first_distinct()
    without_text = ~pl.col("query_id").is_in(with_text.implode())
    reasons = [
        (~relevant, "relevance {relevance} judges the item as not relevant", "nothing to do"),
        (without_text, "query '{query_id}' has no text", "give it a text"),
        (
            again,
            "query '{query_id}' and item '{item_id}' occur twice",
            "keep one of the rows",
        ),
    ]
    notes = [note for table in tables for note in unread_columns(table, (*QRELS, *_TREC))]
    for left_out, problem, remedy in reasons:
        dropped = rows.filter(left_out)
        rows = rows.filter(~left_out)
        if dropped.height:
            row = dropped.row(0, named=True)
            place = tables[row["table"]].place(row["row"])
            notes.append(Note(dropped.height, place, problem.format(**row), remedy))
    return rows.select("query_id", "item_id", "relevance"), notes


def read_judgments(table: "Table") -> pl.DataFrame:
    """The rows of a table with their number and the relevance, also those with unknown ids.

    Raises:
        InputError: an id is missing, or a relevance is not a number.
    """
    table.require_columns("query_id", "item_id")
    require_values(table, "query_id", "item_id")
    rows = table.rows.select("query_id", "item_id").with_row_index("row")
    return rows.with_columns(relevance=_relevance(table))


def _relevance(table: "Table") -> pl.Series:
    """The column relevance as integers; 1 without this column."""
    if "relevance" not in table.rows.columns:
        return pl.repeat(1, table.rows.height, dtype=pl.Int64, eager=True)
    given = table.rows["relevance"].fill_null("").str.strip_chars()
    if (row := first_true(given == "")) is not None:
        raise InputError(
            f"{table.place(row)}: relevance is empty; use 0 for not relevant, 1 or more for "
            f"relevant, or remove the column: then every row counts as relevant"
        )
    value = given.cast(pl.Float64, strict=False)
    whole = (value == value.round()) & (value.abs() <= MAX_RELEVANCE)
    if (row := first_true(~whole.fill_null(False))) is not None:
        problem = (
            f"is above {MAX_RELEVANCE}"
            if value[row] is not None and value[row] > MAX_RELEVANCE
            else "is not an integer"
        )
        raise InputError(
            f"{table.place(row)}: relevance '{given[row]}' {problem}; "
            f"use 0 for not relevant, 1 or more for relevant"
        )
    return value.cast(pl.Int64)


def _require_consistent(tables: "Sequence[Table]", rows: pl.DataFrame) -> None:
    """Raise InputError if a query and item have two different judgments."""
    pair = ["query_id", "item_id"]
    of_pair = pl.col("relevance", "row", "table").first().over(pair).name.prefix("first_")
    other = rows.with_columns(of_pair).filter(pl.col("relevance") != pl.col("first_relevance"))
    if other.height:
        row = other.row(0, named=True)
        before = tables[row["first_table"]].place(row["first_row"])
        raise InputError(
            f"{tables[row['table']].place(row['row'])}: query '{row['query_id']}' and item "
            f"'{row['item_id']}' have relevance {row['relevance']}, and {row['first_relevance']} "
            f"at {before}; keep one of the rows"
        )
