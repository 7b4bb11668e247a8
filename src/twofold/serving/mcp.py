"""Search and recommendation as tools of the Model Context Protocol.

Invariant: the caller of a tool needs no item ids; it may give an item's title.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from twofold.serving.api import schemas
from twofold.serving.client import Client, ServerError

MAX_ITEMS = 50
"""Limit of items in one answer: more would fill the context window of an assistant."""

Liked = Annotated[
    list[str],
    Field(
        max_length=schemas.MAX_ITEMS,
        description="what the user liked, oldest first: item ids as in answers, or titles",
    ),
]
HowMany = Annotated[
    int, schemas.NotBool, Field(ge=1, le=MAX_ITEMS, description="how many items to return")
]


def create_mcp(client: Client) -> MCPServer:
    """A server whose tools `search` and `recommend` send their requests by `client`."""
    server: MCPServer = MCPServer(
        "twofold",
        version=importlib.metadata.version("twofold"),
        instructions="Finds items of a catalog: by a query, by what a user liked, or by both.",
    )

    @server.tool()
    def search(
        query: schemas.Query,
        liked: Liked | None = None,
        k: HowMany = 10,
        filters: schemas.Filters | None = None,
    ) -> schemas.Answer:
        """Items for a query, best first; `liked` makes the answer personal."""
        try:
            history = _item_ids(client, liked or [])
            return client.retrieve(query, history, k=k, filters=filters or {})
        except ServerError as error:
            raise ToolError(str(error)) from error

    @server.tool()
    def recommend(
        liked: Liked, k: HowMany = 10, filters: schemas.Filters | None = None
    ) -> schemas.Answer:
        """Items that a user who liked these may want next, best first."""
        try:
            history = _item_ids(client, liked)
            return client.recommend(history, k=k, filters=filters or {})
        except ServerError as error:
            raise ToolError(str(error)) from error

    return server


def _item_ids(client: Client, liked: Sequence[str]) -> list[str]:
    return [_item_id(client, named) for named in liked]


def _item_id(client: Client, named: str) -> str:
    """The item with this id, else the item with this title, else the only item whose title contains
    it.
    """
    try:
        return client.item(named).item_id
    except ServerError as error:
        if error.status != 404:
            raise
    items = client.titles(named[:200], 5)
    same = [item for item in items if item.title.casefold() == named.strip().casefold()]
    if same or len(items) == 1:
        return (same or items)[0].item_id
    if not items:
        raise ToolError(f"'{named}' is neither an item id nor part of a title; search for it")
    titles = ", ".join(f"'{item.title}' ({item.item_id})" for item in items)
    raise ToolError(f"'{named}' may be one of several: {titles}; give one of these ids")
