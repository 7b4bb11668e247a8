"""The application as a whole: its documentation, and the order in which its parts see a request."""

import re

import pytest

from tests.serving.client import A_KEY, key_of_someone, served
from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app
from twofold.serving.settings import ServingSettings

pytestmark = pytest.mark.anyio


async def test_the_docs_need_neither_a_network_nor_a_key() -> None:
    app = create_app({"joint": FakeEngine()}, keys=[key_of_someone()])
    async with served(app) as client:
        page = (await client.get("/docs")).text
        files = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(files) == 3
        for file in files:
            assert file.startswith("/docs-viewer/")
            assert (await client.get(file)).status_code == 200
        assert (await client.get("/docs-viewer/none.js")).status_code in (401, 404)


async def test_a_client_without_a_key_is_refused_before_its_body_is_read() -> None:
    app = create_app(
        {"joint": FakeEngine()}, ServingSettings(max_body_bytes=10), keys=[key_of_someone()]
    )
    async with served(app) as client:
        body = {"query": "more than ten bytes"}
        assert (await client.post("/search", json=body)).status_code == 401
        with_key = {"X-API-Key": A_KEY}
        assert (await client.post("/search", json=body, headers=with_key)).status_code == 413
