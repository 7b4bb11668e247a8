"""Logs of User Behavior Insights, made here."""

from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_layouts import json_lines, write
from twofold.data.sources import read_source
from twofold.records import InputError


def event(action: str, item: object, query: str | None = "q1", **more: Any) -> dict[str, Any]:
    """An event as the specification has it."""
    named = {"object_id": item, "object_id_field": "sku", "name": f"Lamp {item}"}
    return {
        "application": "shop",
        "action_name": action,
        "query_id": query,
        "client_id": "c1",
        "timestamp": "2024-05-01T10:00:00Z",
        "event_attributes": {"object": named if item else None, "position": {"ordinal": 1}},
        **more,
    }


def query(query_id: str, text: str, **more: Any) -> dict[str, Any]:
    """A query as the specification has it."""
    return {
        "query_id": query_id,
        "user_query": text,
        "client_id": "c1",
        "timestamp": "2024-05-01T09:59:00Z",
        "query_attributes": {"rows": 10},
        "query_response_hit_ids": ["1", "2"],
        **more,
    }


def _logs(folder: Path, queries: list[Any], events: list[Any]) -> Path:
    return write(
        folder,
        {"ubi_queries.ndjson": json_lines(*queries), "ubi_events.ndjson": json_lines(*events)},
    )


def test_both_sides_come_from_the_logs(tmp_path: Path) -> None:
    events = [
        event("impression", 2),
        event("click", 1),
        event("add_to_cart", 1, timestamp="2024-05-01T10:01:00Z"),
        event("removeFromCart", 2),
        event("on_search", None),
        event("productClick", "b", None, client_id="c2"),
        event("purchase", 1, "lost"),
    ]
    dataset = read_source(
        _logs(tmp_path, [query("q1", "oak lamp"), query("q1", "oak lamp")], events)
    )
    assert dataset.catalog.items.rows() == [("2", "Lamp 2"), ("1", "Lamp 1"), ("b", "Lamp b")]
    assert dataset.interactions.select("user_id", "item_id").rows() == [
        ("c1", "1"),
        ("c1", "1"),
        ("c2", "b"),
    ]
    assert dataset.qrels.rows() == [("q1", "1", 2)]
    assert dataset.queries.select("text", "user_id").rows() == [("oak lamp", "c1")]
    problems = " / ".join(note.problem for note in dataset.notes)
    for part in (
        "query 'q1' occurs in an earlier row",
        "action 'on_search' has no object",
        "action 'impression' does not choose its object",
        "a query that is not in ubi_queries",
        "there is no table items",
    ):
        assert part in problems


def test_an_export_of_a_search_engine_keeps_documents_in_source(tmp_path: Path) -> None:
    def exported(record: dict[str, Any]) -> dict[str, Any]:
        return {"_index": "ubi", "_id": "x", "_source": record}

    events = [exported(event("click", 1, client_id=None))]
    dataset = read_source(_logs(tmp_path, [exported(query("q1", "oak"))], events))
    assert dataset.interactions.row(0)[:2] == ("c1", "1")
    assert dataset.qrels.rows() == [("q1", "1", 1)]


def test_a_query_as_an_object_is_what_was_typed(tmp_path: Path) -> None:
    asked = [
        query("q1", {"query": "RAM memory", "page": 1}),  # type: ignore[arg-type]
        query("q2", "{oak} lamp"),
        query("q3", {"query": "elm"}),  # type: ignore[arg-type]
    ]
    events = [event("click", 1, q) for q in ("q1", "q2", "q3")]
    dataset = read_source(_logs(tmp_path, asked, events))
    assert dataset.queries["text"].to_list() == ["RAM memory", "{oak} lamp", "elm"]


def test_a_table_of_items_is_the_catalog(tmp_path: Path) -> None:
    folder = _logs(tmp_path, [query("q1", "oak")], [event("click", 1)])
    (folder / "items.csv").write_text("item_id,title\n1,Oak lamp\n9,Elm lamp\n")
    assert read_source(folder).catalog.item_ids == ["1", "9"]


def test_a_log_in_which_nothing_is_chosen_is_refused(tmp_path: Path) -> None:
    folder = _logs(tmp_path, [query("q1", "oak")], [event("impression", 1), event("scroll", 1)])
    with pytest.raises(InputError, match=r"no event chooses an object.* impression, scroll"):
        read_source(folder)
