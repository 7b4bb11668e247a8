"""A client of an application, without a socket."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI

from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app
from twofold.serving.http.keys import Key

A_KEY = "0123456789abcdef"


def key_of_someone(per_second: float | None = None) -> Key:
    """The key of a client that sends A_KEY."""
    return Key("someone", hashlib.sha256(A_KEY.encode()).digest(), per_second=per_second)


@contextlib.asynccontextmanager
async def served(app: FastAPI | None = None, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Ready to answer; a fake engine's application where none is given."""
    app = app or create_app({"joint": FakeEngine()})
    async with started(app), client_of(app, **headers) as client:
        while (await client.get("/ready")).status_code != 200:
            await asyncio.sleep(0.001)
        yield client


def started(app: FastAPI) -> contextlib.AbstractAsyncContextManager[Any]:
    return app.router.lifespan_context(app)


def client_of(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]
