"""The MCP server, asked by the protocol's own client over real pipes."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from tests.serving.client import A_KEY, key_of_someone
from tests.serving.fake import FakeEngine
from tests.serving.web.test_page import serving
from twofold.retrieval.generative import GenerativeRetriever
from twofold.serving.client import Client

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def tools_of(served: object, **environment: str) -> AsyncIterator[McpClient]:
    """What `twofold mcp` offers, in a process of its own."""
    command = ["-c", "from twofold.cli import main; main()", "mcp", str(served), "--threads", "1"]
    path = {"PYTHONPATH": ":".join(sys.path)}
    parameters = StdioServerParameters(command=sys.executable, args=command, env=path | environment)
    async with McpClient(stdio_client(parameters)) as client:
        yield client


def content(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    assert isinstance(result.content[0], TextContent)
    assert json.loads(result.content[0].text) == result.structured_content
    found: dict[str, Any] = result.structured_content
    return found


def refusal(result: CallToolResult) -> str:
    assert result.is_error
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def test_a_model_folder_as_tools(model_folder: Path, retriever: GenerativeRetriever) -> None:
    async with tools_of(model_folder) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "recommend"}
        assert tools["search"].input_schema["required"] == ["query"]
        assert tools["recommend"].input_schema["required"] == ["liked"]
        assert all(tool.description for tool in tools.values())
        found = content(await client.call_tool("search", {"query": "robots", "k": 3}))
        assert _ids(found) == [answer.item_id for answer in retriever.search("robots", 3)]
        history = ["film-3", "film-9"]
        found = content(await client.call_tool("recommend", {"liked": history, "k": 5}))
        expected = [answer.item_id for answer in retriever.recommend(history, 5)]
        assert _ids(found) == expected
        titles = [retriever.model.catalog.title(item_id).upper() for item_id in history]
        found = content(await client.call_tool("recommend", {"liked": titles, "k": 5}))
        assert _ids(found) == expected
        asked = {"query": "robots", "liked": history, "filters": {"genre": ["Comedy"]}}
        for item in content(await client.call_tool("search", asked))["items"]:
            assert "Comedy" in item["attributes"]["genre"].split("|")


async def test_a_running_server_as_tools() -> None:
    async with AsyncExitStack() as stack:
        with serving(FakeEngine(), keys=[key_of_someone()]) as url:
            client = await stack.enter_async_context(tools_of(url, TWOFOLD_API_KEY=A_KEY))
            ask = client.call_tool
            found = content(await ask("search", {"query": "space", "k": 3}))
            with Client(url, A_KEY) as direct:
                assert found == direct.search("space", k=3).model_dump()
            content(await ask("recommend", {"liked": ["Alpha", "Slash", "film 11"]}))
            for tool, asked, says in (
                ("recommend", {"liked": ["nothing"]}, "'nothing' is neither an item id nor"),
                ("recommend", {"liked": ["ilm 11"]}, "'Film 11' (f11)"),
                ("search", {"query": "x", "filters": {"colour": "red"}}, "attribute 'colour'"),
                ("search", {"query": "x", "k": 51}, "less than or equal to 50"),
            ):
                assert says in refusal(await ask(tool, asked))
            async with tools_of(url) as without_key:
                said = refusal(await without_key.call_tool("search", {"query": "x"}))
                assert "401: give a valid key" in said
        assert "no answer" in refusal(await ask("search", {"query": "x"}))


def _ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]
