"""Load shedding, and limits of size and time."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.serving.client import served
from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app
from twofold.serving.settings import ServingSettings

pytestmark = pytest.mark.anyio

ASKED = {"query": "space"}
WARM = 2
"""Batches of the warm-up."""


async def wait_for(engine: FakeEngine, app: FastAPI, batches: int, queued: int) -> None:
    """Wait until the engine is in its batch of this number, and so many requests are queued."""
    async with asyncio.timeout(20):
        while len(engine.batches) < batches or app.state.batcher.queued != queued:
            await asyncio.sleep(0.001)


async def test_a_full_queue_is_429_at_once_and_queued_requests_are_answered() -> None:
    engine = FakeEngine()
    app = create_app({"joint": engine}, ServingSettings(max_batch_size=1, max_queue_size=2))
    async with served(app) as client:
        engine.gate.clear()
        asked = []
        for waiting in range(3):
            asked.append(asyncio.ensure_future(client.post("/search", json=ASKED)))
            await wait_for(engine, app, WARM + 1, waiting)
        # The queue stays full until all of these are refused.
        refused = await asyncio.gather(*(client.post("/search", json=ASKED) for _ in range(20)))
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/items/1")).status_code == 429
        assert 'twofold_refusals_total{status="429"} 21.0' in (await client.get("/metrics")).text
        engine.gate.set()
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert "too many requests are queued; retry in" in refused[0].json()["detail"]
    assert [answer.status_code for answer in answers] == [200, 200, 200]


async def test_a_large_body_is_413_whether_it_says_so_or_not() -> None:
    app = create_app({"joint": FakeEngine()}, ServingSettings(max_body_bytes=1000))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    async with served(app) as client:
        for content in (b" " * 1001, parts()):
            answer = await client.post("/search", content=content)
            assert answer.status_code == 413
            assert answer.headers["Connection"] == "close"
            assert answer.json()["detail"] == "the body is larger than 1000 bytes; send less"
        body = b'{"query": "x"}'
        exact = body + b" " * (1000 - len(body))
        json_type = {"Content-Type": "application/json"}
        assert (await client.post("/search", content=exact, headers=json_type)).status_code == 200
        big = await client.post("/admin/items", content=b" " * 1001)
        assert big.status_code == 413


async def test_a_body_that_does_not_arrive_is_408() -> None:
    app = create_app({"joint": FakeEngine()}, ServingSettings(timeout_seconds=0.1))

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    async with served(app) as client:
        started = time.perf_counter()
        answer = await client.post("/search", content=slow())
        assert time.perf_counter() - started < 4
    assert answer.status_code == 408
    assert "took longer than 0.1 s" in answer.json()["detail"]


async def test_an_answer_that_takes_too_long_is_429_and_leaves_the_queue() -> None:
    engine = FakeEngine()
    app = create_app({"joint": engine}, ServingSettings(max_batch_size=1, timeout_seconds=0.5))
    async with served(app) as client:
        engine.gate.clear()
        answers = await asyncio.gather(*(client.post("/search", json=ASKED) for _ in range(3)))
        assert {answer.status_code for answer in answers} == {429}
        assert answers[0].headers["Retry-After"]
        assert "no answer in 0.5 s" in answers[0].json()["detail"]
        assert app.state.batcher.queued == 0
        engine.gate.set()
        assert (await client.post("/search", json=ASKED)).status_code == 200
    # The one that was too slow, and the last: queued ones had left.
    assert len(engine.batches) == WARM + 2


async def test_a_client_that_leaves_takes_its_request_out_of_the_queue() -> None:
    engine = FakeEngine()
    app = create_app({"joint": engine}, ServingSettings(max_batch_size=1))
    async with served(app) as client:
        engine.gate.clear()
        first = asyncio.ensure_future(client.post("/search", json=ASKED))
        await wait_for(engine, app, WARM + 1, 0)
        leaving = asyncio.ensure_future(client.post("/search", json={"query": "left"}))
        await wait_for(engine, app, WARM + 1, 1)
        leaving.cancel()
        await wait_for(engine, app, WARM + 1, 0)
        engine.gate.set()
        assert (await first).status_code == 200
    assert "left" not in [asked.request.query for each in engine.batches for asked in each]


async def test_a_batch_is_taken_in_whole_or_not_at_all() -> None:
    engine = FakeEngine()
    app = create_app({"joint": engine}, ServingSettings(max_batch_size=1, max_queue_size=1))
    batch = {"requests": [ASKED, ASKED]}
    async with served(app) as client:
        engine.gate.clear()
        first = asyncio.ensure_future(client.post("/search", json=ASKED))
        await wait_for(engine, app, WARM + 1, 0)
        taken = asyncio.ensure_future(client.post("/retrieve/batch", json=batch))
        await wait_for(engine, app, WARM + 1, 2)
        assert (await client.post("/retrieve/batch", json=batch)).status_code == 429
        engine.gate.set()
        assert (await first).status_code == 200
        assert len((await taken).json()["answers"]) == 2
