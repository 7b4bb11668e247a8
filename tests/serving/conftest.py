import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI

from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app


@contextlib.asynccontextmanager
async def served(app: FastAPI | None = None, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, ready, without a socket."""
    app = app or create_app({"joint": FakeEngine()})
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    url = "http://127.0.0.1:8000"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=url, headers=headers) as client,
    ):
        while (await client.get("/ready")).status_code != 200:
            await asyncio.sleep(0.005)
        yield client


def ids(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]
