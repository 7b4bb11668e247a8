"""Search and recommendation as tools of the Model Context Protocol.

Invariant: whoever calls a tool need not know item ids; a title stands for its item.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from twofold.serving.api import schemas
from twofold.serving.client import Client, ServerError

MOST = 50
"""Items of one answer: more would fill a context window."""

Liked = Annotated[
    list[str],
    Field(
        max_length=schemas.MOST_ITEMS,
        description="what was liked, oldest first: item ids as answers give them, or titles",
    ),
]
Many = Annotated[int, Field(ge=1, le=MOST, description="how many items")]


def create_mcp(client: Client) -> MCPServer:
    """A server with the tools `search` and `recommend`, which `client` answers."""
    server: MCPServer = MCPServer(
        "twofold",
        version=importlib.metadata.version("twofold"),
        instructions="Finds items of a catalog: by a query, by what somebody liked, or by both.",
    )

    @server.tool()
    def search(
        query: schemas.Query,
        liked: Liked | None = None,
        k: Many = 10,
        filters: schemas.Filters | None = None,
    ) -> schemas.Answer:
        """Items for a query, best first; with `liked`, those that this taste prefers."""
        try:
            history = _item_ids(client, liked or [])
            return client.retrieve(query, history, k=k, filters=filters or {})
        except ServerError as error:
            raise ToolError(str(error)) from error

    @server.tool()
    def recommend(
        liked: Liked, k: Many = 10, filters: schemas.Filters | None = None
    ) -> schemas.Answer:
        """Items that somebody who liked these may want next, best first."""
        try:
            history = _item_ids(client, liked)
            return client.recommend(history, k=k, filters=filters or {})
        except ServerError as error:
            raise ToolError(str(error)) from error

    return server


def _item_ids(client: Client, liked: Sequence[str]) -> list[str]:
    return [_item_id(client, given) for given in liked]


def _item_id(client: Client, given: str) -> str:
    """The item of this id, else of this title, else the only one whose title holds the text."""
    try:
        return client.item(given).item_id
    except ServerError as error:
        if error.status != 404:
            raise
    found = client.titles(given[:200], 5)
    same = [item for item in found if item.title.casefold() == given.strip().casefold()]
    if same or len(found) == 1:
        return (same or found)[0].item_id
    if not found:
        raise ToolError(f"'{given}' is neither an item id nor part of a title; search for it")
    titles = ", ".join(f"'{item.title}' ({item.item_id})" for item in found)
    raise ToolError(f"'{given}' may be one of several: {titles}; give one of these ids")
