"""Checks a user's tables against each other and makes a `Dataset` of them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from twofold.data.checks import (
    first_true,
    require_same_fractions,
    require_unique,
    require_values,
    unread_columns,
)
from twofold.data.dataset import (
    INTERACTIONS,
    LEFT_OUT,
    QRELS,
    QUERIES,
    SPLIT_NAMES,
    Catalog,
    Dataset,
    Note,
)
from twofold.data.events import read_events
from twofold.data.ids import PLACEHOLDER, doubtful_ids, require_trec_ids
from twofold.data.qrels import judgments
from twofold.data.times import Times, read_times, require_alike
from twofold.data.unknown import items_of_events, leave_out_unknown
from twofold.data.words import SEEN, is_blank
from twofold.records import SPLITS, InputError

if TYPE_CHECKING:
    from twofold.data.formats import Table


def validate(tables: "Mapping[str, Sequence[Table]]", skip_unknown: bool = False) -> Dataset:
    """Check the tables against each other and convert them to the standard columns.

    Args:
        tables: `items`, and `interactions` or `queries` with `qrels` or both; a table may have
            several files, with the same columns. Without `items`, the items are those of the
            interactions.
        skip_unknown: leave out rows with an unknown item or query.

    Raises:
        InputError: the data are invalid; the message has file, line, value and remedy.
    """
    if not tables.get("items"):
        tables = {"items": [items_of_events(tables["interactions"][0])], **tables}
    left_out = LEFT_OUT.to_frame()
    if skip_unknown:
        tables, left_out = leave_out_unknown(tables)
    items = _items(tables["items"][0])
    catalog = Catalog.of(items)
    notes = [note for parts in tables.values() for table in parts for note in table.notes]
    for notes_on in (_doubtful_items, _one_item, _markup, _years_as_fractions, _missing_texts):
        notes += notes_on(tables["items"][0])
    interactions = pl.DataFrame(schema=INTERACTIONS)
    queries, qrels = pl.DataFrame(schema=QUERIES), pl.DataFrame(schema=QRELS)
    times: Times | None = None
    if tables.get("interactions"):
        interactions, times, of_events = read_events(tables["interactions"][0], items["item_id"])
        notes += of_events
    if tables.get("queries"):
        query_times = read_times(tables["queries"][0])
        notes += [*query_times.notes, *(require_alike(times, query_times) if times else ())]
        queries, without_text = read_queries(tables["queries"][0], query_times)
        if "user_id" in tables["queries"][0].rows.columns:
            users = interactions["user_id"]
            require_same_fractions(tables["queries"][0], "user_id", users, "interactions")
            notes += _without_history(tables["queries"][0], queries, interactions)
        notes += without_text
        qrels, not_counted = judgments(
            tables["qrels"],
            items["item_id"],
            queries=tables["queries"][0].rows["query_id"],
            with_text=queries["query_id"],
        )
        notes += [*not_counted, *_unjudged(tables["queries"][0], queries, qrels)]
        notes += _without_texts(tables["items"][0], catalog)
    return Dataset(catalog, interactions, queries, qrels, tuple(notes), left_out)


def _items(table: "Table") -> pl.DataFrame:
    table.require_columns("item_id", "title")
    require_values(table, "item_id")
    require_unique(table, "item_id")
    require_trec_ids(table, "item_id")
    others = [c for c in table.rows.columns if c not in ("item_id", "title")]
    return table.rows.select("item_id", pl.col("title").fill_null(""), *others)


def read_queries(table: "Table", times: Times) -> tuple[pl.DataFrame, list[Note]]:
    """The queries with a text, with the columns of `QUERIES`, and notes on what is not used.

    Args:
        table: the table queries.
        times: its timestamps.

    Raises:
        InputError: an id is missing or occurs twice, or a split is invalid.
    """
    table.require_columns("query_id", "text")
    require_values(table, "query_id")
    require_unique(table, "query_id")
    require_trec_ids(table, "query_id")
    optional = [c for c in ("split", "kind", "user_id") if c not in table.rows.columns]
    rows = table.rows.with_columns(
        *(pl.lit(None, pl.String).alias(c) for c in optional), timestamp=times.seconds
    )
    rows = rows.with_columns(split=_splits(table, rows["split"]))
    empty = ~rows["text"].fill_null("").str.contains(SEEN)
    notes = unread_columns(table, QUERIES)
    notes += _placeholders(table, "text", max(_SEVERAL, math.ceil(_MANY * table.rows.height)))
    if (row := first_true(empty)) is not None:
        value = rows["query_id"][row]
        problem = f"query '{value}' has no text"
        notes.append(Note(int(empty.sum()), table.place(row), problem, "give it a text"))
    return rows.filter(~empty).select(QUERIES.names()), notes


def _doubtful_items(table: "Table") -> list[Note]:
    return doubtful_ids(table, "item_id", "item")


def _years_as_fractions(table: "Table") -> list[Note]:
    """Notes on attributes whose values all end in `.0` where one is missing, as pandas writes a
    column of years: a filter for 1999 does not match 1999.0.
    """
    notes = []
    for column in table.rows.drop("item_id", "title").iter_columns():
        given = column.drop_nulls()
        if 0 < len(given) < len(column) and given.str.contains(r"^-?\d+\.0$").all():
            row = first_true(column.is_not_null())
            assert row is not None
            problem = (
                f"{column.name} is {column[row]}, as pandas writes integers if one is missing, and "
                f"a filter for {column[row][:-2]} does not match it"
            )
            remedy = "write the column with .astype('Int64'), if it has integers"
            notes.append(Note(len(given), table.place(row), problem, remedy, "value", "kept"))
    return notes


def _one_item(table: "Table") -> list[Note]:
    """A note if there is only one item: every ranking is correct, and every measure is 1."""
    if table.rows.height != 1:
        return []
    problem = f"item '{table.rows['item_id'][0]}' is the only one, so that every ranking is correct"
    return [Note(1, table.place(0), problem, "add the other items", "item", "kept")]


_SEVERAL, _MANY = 2, 0.01
"""The number of placeholders in a column of items, and their share of queries, from which on they
are noted: a film may be called Null, and people type any word."""
_NEVER_A_VALUE = r"(?i)^\s*(nan|null|<na>|nat|#n/a|undefined|\\n|#ref!|#value!|#name\?|#null!)\s*$"
"""The placeholders that are no value of an attribute, as `none` may be."""


def _missing_texts(table: "Table") -> list[Note]:
    """Notes on columns in which several items have a placeholder such as nan as their text."""
    texts = ("title", "text")
    others = [name for name in table.rows.columns if name not in ("item_id", *texts)]
    return [
        *(note for name in texts for note in _placeholders(table, name, _SEVERAL)),
        *(note for name in others for note in _placeholders(table, name, _SEVERAL, _NEVER_A_VALUE)),
    ]


def _placeholders(table: "Table", name: str, least: int, pattern: str = PLACEHOLDER) -> list[Note]:
    """A note if at least `least` cells of a column stand for a missing value in many tools."""
    if name not in table.rows.columns:
        return []
    matching = table.rows[name].str.contains(pattern).fill_null(False)
    if matching.sum() < least:
        return []
    row = first_true(matching)
    assert row is not None
    problem = (
        f"{name} is '{table.rows[name][row]}', which stands for a missing value in many tools, "
        f"and is read as a word"
    )
    remedy = "leave such cells empty (in pandas .fillna('') before .astype(str))"
    return [Note(int(matching.sum()), table.place(row), problem, remedy, effect="kept")]


def _without_texts(table: "Table", catalog: Catalog) -> list[Note]:
    """A note if no item has a visible text, which queries could match."""
    if table.derived or not all(map(is_blank, catalog.texts)):
        return []
    problem = "no item has a title or another text, so a query can match none"
    return [Note(len(catalog), str(table.path), problem, "add titles", "item", "kept")]


_TAG = r"(?i)</?(?:a|b|br|div|em|h[1-6]|i|img|li|ol|p|span|strong|table|td|tr|ul)(?:\s[^<>]*)?/?>"


def _markup(table: "Table") -> list[Note]:
    """Notes on columns with HTML, whose tags would be words of the items."""
    notes = []
    for column in table.rows.drop("item_id").iter_columns():
        tagged = column.str.contains(_TAG).fill_null(False)
        if (row := first_true(tagged)) is not None:
            (tag,) = column[row : row + 1].str.extract(f"({_TAG})")
            problem = f"{column.name} has HTML, such as {tag}, and its tags are read as words"
            remedy = "remove the tags, and decode &amp; and the like, unless the text is about HTML"
            notes.append(Note(int(tagged.sum()), table.place(row), problem, remedy, effect="kept"))
    return notes


def _without_history(
    table: "Table", queries: pl.DataFrame, interactions: pl.DataFrame
) -> list[Note]:
    """Notes on queries with a user but without a history.

    Queries before a user's first interaction are counted only if all queries of known users are:
    some always are.
    """
    users = interactions.group_by("user_id").agg(begins=pl.col("timestamp").min())
    known = pl.col("user_id").is_in(users["user_id"].implode())
    untimed = pl.col("timestamp").is_null() | pl.col("begins").is_null()
    of_users = queries.filter(pl.col("user_id").is_not_null() & bool(interactions.height)).join(
        users, on="user_id", how="left", maintain_order="left"
    )
    reasons = {STRANGER: ~known, UNTIMED: known & untimed}
    timed = of_users.filter(known & ~untimed)
    if (timed["timestamp"] <= timed["begins"]).all():
        reasons[EARLY] = known & ~untimed
    notes = []
    for reason, which in reasons.items():
        without = of_users.filter(which)
        if without.height:
            query, user = without.select("query_id", "user_id").row(0)
            row = first_true(table.rows["query_id"] == query)
            assert row is not None
            notes.append(history_note(reason, without.height, table.place(row), query, user))
    return notes


def history_note(reason: tuple[str, str], count: int, place: str, query: str, user: str) -> Note:
    """The note on queries without a history.

    Args:
        reason: `STRANGER`, `UNTIMED` or `EARLY`.
        count: the number of queries.
        place, query, user: the place of the first one, its id and its user.
    """
    problem, remedy = reason
    problem = problem.format(query=query, user=user)
    return Note(count, place, problem, remedy, "query", "used without a history")


STRANGER = (
    "user '{user}' of query '{query}' has no interaction",
    "nothing to do, unless the two tables write a user in different ways",
)
UNTIMED = (
    "query '{query}' or the interactions of its user '{user}' have no timestamp, and a history "
    "is what lies before a query",
    "add one to both tables",
)
EARLY = (
    "every query lies before the first interaction of its user, such as '{query}' of '{user}'",
    "nothing to do, unless the times of one of the tables are wrong",
)


def _splits(table: "Table", given: pl.Series) -> pl.Series:
    """The split of each query, with one of our names.

    Raises:
        InputError: an unknown split.
    """
    named = given.str.strip_chars().str.to_lowercase().replace(SPLIT_NAMES).replace("", None)
    if (row := first_true(named.is_not_null() & ~named.is_in(SPLITS))) is not None:
        raise InputError(
            f"{table.place(row)}: split '{given[row]}' is none of {', '.join(SPLITS)} (or dev, "
            f"val, valid for validation); rename it, or leave it empty: then a hash of the "
            f"query's text decides"
        )
    return named


def _unjudged(table: "Table", queries: pl.DataFrame, qrels: pl.DataFrame) -> list[Note]:
    """A note if queries have no relevant item; they are not used in training or evaluation."""
    unjudged = queries.join(qrels, on="query_id", how="anti")["query_id"]
    if not len(unjudged):
        return []
    row = first_true(table.rows["query_id"] == unjudged[0])
    assert row is not None
    return [unjudged_note(len(unjudged), table.place(row), unjudged[0])]


def unjudged_note(count: int, place: str, query_id: str) -> Note:
    """The note on queries without a relevant item; `place` and `query_id` belong to the first."""
    problem = f"query '{query_id}' has no relevant item in qrels"
    return Note(count, place, problem, "judge at least one item for it")
