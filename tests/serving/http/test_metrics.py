"""Counts of requests, refusals and batches, and labels that clients cannot invent."""

import asyncio
import re
from typing import Any

import pytest

from tests.serving.client import served
from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app
from twofold.serving.settings import ServingSettings

pytestmark = pytest.mark.anyio

ASKED = {"query": "space"}
WARM = 2
"""Batches of the warm-up."""


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
