"""Liveness and readiness."""

import asyncio

import pytest

from tests.serving.client import client_of
from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app

pytestmark = pytest.mark.anyio

ASKED = {"query": "space"}
WARM = 2
"""Batches of the warm-up."""


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
