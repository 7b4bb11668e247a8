"""Load shedding, limits of size and time, readiness and metrics."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI

from tests.serving.client import client_of, served
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


async def test_ready_only_when_the_model_has_answered() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    app = create_app({"joint": engine})
    async with app.router.lifespan_context(app), client_of(app) as client:
        early = await client.get("/ready")
        assert (early.status_code, early.json()["detail"]) == (503, "the models are warming up")
        assert (await client.get("/health")).status_code == 200
        engine.gate.set()
        async with asyncio.timeout(20):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.02)
        assert engine.batches


async def test_never_ready_where_the_model_fails() -> None:
    engine = FakeEngine()
    engine.fail_on = "Alpha"
    app = create_app({"joint": engine})
    async with app.router.lifespan_context(app), client_of(app) as client:
        async with asyncio.timeout(5):
            while "failed" not in (answer := await client.get("/ready")).text:
                await asyncio.sleep(0.01)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "the warm-up request failed: the engine broke"


def _count(text: str, name: str) -> float:
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def test_metrics_count_what_happened_and_hold_no_invented_label() -> None:
    app = create_app({"joint": FakeEngine()}, ServingSettings(max_body_bytes=1000))
    async with served(app) as client:
        await client.get("/metrics")
        await asyncio.gather(*(client.post("/search", json={"query": f"q{n}"}) for n in range(5)))
        await client.post("/search", json={"query": ""})
        await client.post("/search", content=b" " * 2000)
        for path in ("/invented-1", "/invented-2", "/items/invented-3", "/items/1"):
            await client.get(path)
        await client.request("INVENTED", "/search")
        await client.post("/admin/items/remove", json={"item_ids": ["1"]})
        text = (await client.get("/metrics")).text
    assert "nvented" not in text
    assert 'twofold_requests_total{route="/search",status="200"} 5.0' in text
    assert 'twofold_requests_total{route="/search",status="422"} 1.0' in text
    assert 'twofold_requests_total{route="none",status="404"} 2.0' in text
    assert 'twofold_requests_total{route="/items/{item_id:path}",status="404"} 1.0' in text
    assert 'twofold_refusals_total{status="413"} 1.0' in text
    assert _count(text, "twofold_batch_requests_sum") == 5
    assert (
        'twofold_served_info{catalog_version="m1-1",model="joint",model_version="m1"} 1.0' in text
    )
    assert 'twofold_items{model="joint"} 123.0' in text
    assert "twofold_queued_requests 0.0" in text
    assert _count(text, "twofold_request_seconds_count") > 10


@pytest.mark.parametrize("body", [b'{"query": "x"}', None], ids=["waiting", "sending"])
async def test_a_client_that_left_is_counted_as_gone_not_as_a_fault(body: bytes | None) -> None:
    engine = FakeEngine()
    app = create_app({"joint": engine})
    messages = [] if body is None else [{"type": "http.request", "body": body}]
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/search", "query_string": b""}

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(_: object) -> None:
        raise AssertionError("nobody is there to be answered")

    async with served(app) as client:
        engine.gate.clear()
        await app({**scope, "headers": headers}, receive, send)
        engine.gate.set()
        text = (await client.get("/metrics")).text
    assert 'status="500"' not in text
    assert re.search(r'twofold_requests_total{route="(/search|none)",status="499"} 1.0', text)


async def test_an_engines_fault_is_counted_as_one() -> None:
    engine = FakeEngine()
    engine.fail_on = "broken"
    async with served(create_app({"joint": engine})) as client:
        await client.post("/search", json={"query": "broken"})
        text = (await client.get("/metrics")).text
    assert 'twofold_requests_total{route="/search",status="500"} 1.0' in text


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
