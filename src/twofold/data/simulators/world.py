"""Shared code of simulated worlds: rows, and the four tables from them."""

from typing import Any

import polars as pl

Frames = dict[str, pl.DataFrame]
"""Table name -> its rows, every column as text."""


def user_events(number: int, name: Any, *items: int) -> list[tuple[str, str]]:
    """Rows of interactions of user `number`, oldest first; `name` are the item ids, (N,)."""
    return [(f"u{number}", name[item]) for item in items]


def frames(
    name: Any,
    events: list[tuple[str, str]],
    queries: list[tuple[str, str, str]],
    qrels: list[tuple[str, str]],
) -> Frames:
    """The four tables of a world whose items have no title.

    Args:
        name: the item ids in catalog order, (N,).
        events: (user_id, item_id), each user's oldest first.
        queries: (query_id, text, split).
        qrels: (query_id, item_id).
    """
    return {
        "items": pl.DataFrame({"item_id": name, "title": [""] * len(name)}).cast(pl.String),
        "interactions": pl.DataFrame(events, schema=["user_id", "item_id"], orient="row"),
        "queries": pl.DataFrame(queries, schema=["query_id", "text", "split"], orient="row"),
        "qrels": pl.DataFrame(qrels, schema=["query_id", "item_id"], orient="row"),
    }
