"""Logs of User Behavior Insights (UBI) 1.3 from OpenSearch, Solr and Elasticsearch.

`ubi_queries` has the queries, `ubi_events` the actions with their objects. An action that chooses
its object is an interaction of the client. If it follows a query, the object is relevant to it. The
items are those of a table `items`, or the objects that occur.
"""

import re
from pathlib import Path

import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import READ_AS_JSON, Note
from twofold.data.formats import Table, find_table, read_table
from twofold.data.layouts.layout import Layout, Tables
from twofold.records import InputError

_GRADES = (
    (3, {"purchase", "purchased", "buy", "bought", "order", "ordered", "checkout"}),
    (2, {"cart", "basket", "wishlist", "favorite", "favourite", "bookmark", "save"}),
    (
        1,
        {"click", "clicked", "clickthrough", "watch", "view", "play", "download", "select", "open"},
    ),
)
"""The relevance of an action by the words of its name; the first match counts."""

_AGAINST = {"remove", "removed", "delete", "undo", "cancel", "return", "dislike", "hover"}
"""Words in the name of an action that is negative or not a choice."""

_OBJECT = r'^\s*\{(?s:.*)"query"(?s:.*)\}\s*$'
_USERS = ("client_id", "user_id", "session_id")
_TITLES = ("title", "name", "description")


def tables(folder: Path) -> Tables:
    """The tables of a folder with `ubi_queries` and `ubi_events`.

    Raises:
        InputError: a table is invalid, or no event chooses an object.
    """
    queries, query_users = _queries(_log(folder, "ubi_queries"))
    events = _events(_log(folder, "ubi_events"))
    chosen, notes = _chosen(events)
    qrels, of_qrels = _qrels(events.path, chosen, query_users)
    interactions = _interactions(events.path, chosen, query_users, notes)
    present = {"items": [_items(folder, events)]}
    if interactions.rows.height:
        present["interactions"] = [interactions]
    if qrels.height:
        present["queries"] = [queries]
        present["qrels"] = [Table(events.path, qrels, derived=True, notes=of_qrels)]
    return present


def _log(folder: Path, name: str) -> Table:
    """A log without the notes on its objects, whose fields are read one by one."""
    path = find_table(folder, name)
    if path is None:
        raise InputError(
            f"{folder}: {name} is in no supported format; export it as JSON Lines, named "
            f"{name}.ndjson"
        )
    read = read_table(path)
    notes = tuple(note for note in read.notes if note.effect != READ_AS_JSON)
    return Table(path, read.rows, notes=notes, lines=read.lines)


def _field(table: Table, name: str) -> pl.Series:
    """A field such as `event_attributes.object.object_id`, null if it is missing.

    It is a column with that name, or a field in a column of objects: the outermost one, or
    `_source`, which has the document in a search engine's export.
    """
    columns = table.rows.columns
    if name in columns:
        return table.rows[name]
    head, _, rest = name.partition(".")
    within = [(head, rest)] if rest else []
    for column, inner in [*within, ("_source", name)]:
        if column in columns:
            try:
                return table.rows[column].str.json_path_match(f"$.{inner}")
            except pl.exceptions.PolarsError as error:
                raise InputError(
                    f"{table.path}: column '{column}' is not JSON in every row; export the log as "
                    f"JSON Lines"
                ) from error
    return pl.repeat(None, table.rows.height, dtype=pl.String, eager=True)


def _user(table: Table) -> pl.Series:
    """The user of an event: the first of client, user and session that the log has."""
    fields = [_field(table, name) for name in _USERS]
    return next((field for field in fields if field.null_count() < len(field)), fields[0])


def _typed(table: Table) -> pl.Series:
    """The query text: `user_query`, or its field `query`, since the first UBI version has an
    object.
    """
    text = _field(table, "user_query")
    is_object = text.str.contains(_OBJECT).fill_null(False)
    if not is_object.any():
        return text
    inner = text.set(~is_object, None).str.json_path_match("$.query")
    return pl.select(pl.coalesce(inner, text)).to_series()


def _queries(table: Table) -> tuple[Table, pl.DataFrame]:
    """The queries as a table, and each query's user, without further result pages of a query."""
    rows = pl.DataFrame(
        {
            "query_id": _field(table, "query_id"),
            "text": _typed(table),
            "user_id": _user(table),
            "timestamp": _field(table, "timestamp"),
        }
    )
    if rows["query_id"].null_count() == rows.height:
        raise InputError(f"{table.path}: no column 'query_id'; a UBI log has it in each row")
    if rows["timestamp"].null_count() == rows.height:
        rows = rows.drop("timestamp")
    again = rows["query_id"].is_not_null() & ~rows["query_id"].is_first_distinct()
    named = table.with_rows(rows)
    if (row := first_true(again)) is None:
        return named, rows.select("query_id", query_user="user_id")
    problem = f"query '{rows['query_id'][row]}' occurs in an earlier row, as a further page has"
    note = Note(int(again.sum()), table.place(row), problem, "nothing to do")
    kept = named.filter(~again, note)
    return kept, kept.rows.select("query_id", query_user="user_id")


def _events(table: Table) -> Table:
    """The events with the fields that are used."""
    titles = [_field(table, f"event_attributes.object.{name}") for name in _TITLES]
    rows = pl.DataFrame(
        {
            "action": _field(table, "action_name"),
            "query_id": _field(table, "query_id"),
            "item_id": _field(table, "event_attributes.object.object_id"),
            "user_id": _user(table),
            "timestamp": _field(table, "timestamp"),
            "title": pl.select(pl.coalesce(titles)).to_series(),
        }
    )
    return table.with_rows(rows)


def _grade(action: str | None) -> int:
    """The relevance of an action, such as 2 for add_to_cart; 0 if it is not a choice."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", action or "")
    words = set(re.split(r"[^a-z]+", apart.lower()))
    if words & _AGAINST:
        return 0
    return next((grade for grade, names in _GRADES if words & names), 0)


def _chosen(events: Table) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """The events that choose an object, with their relevance, and notes on the others."""
    grade = events.rows["action"].map_elements(_grade, return_dtype=pl.Int64, skip_nulls=False)
    rows = events.rows.with_columns(relevance=grade)
    named = rows["item_id"].is_not_null()
    chosen = named & (grade > 0)
    if not chosen.any():
        actions = ", ".join(rows["action"].drop_nulls().unique().sort().head(10))
        raise InputError(
            f"{events.path}: no event chooses an object: it needs an action such as click or "
            f"purchase and event_attributes.object.object_id; the actions are {actions or 'none'}"
        )
    notes = list(events.notes)
    for left_out, problem in (
        (~named, "action '{}' has no object"),
        (named & ~chosen, "action '{}' does not choose its object"),
    ):
        if (row := first_true(left_out)) is not None:
            what = problem.format(rows["action"][row])
            remedy = "nothing to do, unless it is a choice: then rename it click"
            notes.append(Note(int(left_out.sum()), events.place(row), what, remedy))
    return rows.filter(chosen), tuple(notes)


def _interactions(
    path: Path, chosen: pl.DataFrame, query_users: pl.DataFrame, notes: tuple[Note, ...]
) -> Table:
    """The objects that each client chose; an event without a client has the client of its query."""
    joined = chosen.join(query_users, on="query_id", how="left", maintain_order="left")
    rows = joined.with_columns(user_id=pl.coalesce("user_id", "query_user"))
    nobody = rows["user_id"].is_null()
    if nobody.any():
        problem = "an event chooses an object but has no client"
        notes = (*notes, Note(int(nobody.sum()), str(path), problem, "log client_id"))
    rows = rows.filter(~nobody).select("user_id", "item_id", "timestamp")
    if rows["timestamp"].null_count() == rows.height:
        rows = rows.drop("timestamp")
    return Table(path, rows, derived=True, notes=notes)


def _qrels(
    path: Path, chosen: pl.DataFrame, query_users: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """The largest relevance of each item after each query, over all users."""
    after = chosen.filter(pl.col("query_id").is_not_null())
    known = after.join(query_users, on="query_id", how="semi", maintain_order="left")
    notes = []
    if lost := after.height - known.height:
        problem = "an event has a query that is not in ubi_queries"
        remedy = "export both logs over the same time"
        notes.append(Note(lost, str(path), problem, remedy, "event", "not counted as relevant"))
    pairs = known.group_by("query_id", "item_id", maintain_order=True)
    qrels = pairs.agg(pl.col("relevance").max().cast(pl.String))
    return qrels, tuple(notes)


def _items(folder: Path, events: Table) -> Table:
    """The table items, or the objects of the events, each with its first title."""
    if path := find_table(folder, "items"):
        return read_table(path)
    seen = events.rows.filter(pl.col("item_id").is_not_null())
    rows = seen.group_by("item_id", maintain_order=True).agg(pl.col("title").drop_nulls().first())
    problem = "there is no table items: they are the objects that occur"
    remedy = "add items.csv with item_id and title"
    note = Note(rows.height, str(events.path), problem, remedy, "item", "taken from the events")
    return Table(events.path, rows, derived=True, notes=(note,))


LAYOUT = Layout(
    name="UBI",
    needs=("ubi_queries.*", "ubi_events.*"),
    gives="clicks and purchases of clients, and queries with the chosen items: both tasks",
    tables=tables,
)
