"""A new model replaces the old one, or the old one stays."""

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.serving.client import served
from tests.serving.fake import FakeEngine
from twofold.records import InputError
from twofold.serving.app import create_app
from twofold.serving.engines.engine import Engine

pytestmark = pytest.mark.anyio


class Folders:
    """Loads fake engines: `m2` is a model, `slow` waits for `go`, anything else is broken."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.loaded: list[tuple[str, str]] = []

    def __call__(self, folder: Path, name: str) -> Engine:
        self.loaded.append((folder.name, name))
        if folder.name == "slow":
            asyncio.run_coroutine_threadsafe(self.go.wait(), self.loop).result(30)
        if folder.name == "panics":
            raise type("PanicError", (BaseException,), {})("a table broke")
        engine = FakeEngine(name, folder.name)
        if folder.name == "silent":
            engine.fail_on = "Alpha"
        if folder.name not in ("m1", "m2", "slow", "silent"):
            raise InputError(f"{folder}: no such folder")
        return engine


def app_of(load: Folders, *names: str) -> FastAPI:
    engines = {name: FakeEngine(name, "m1") for name in names or ("joint",)}
    return create_app(engines, folders={name: Path("m1") for name in engines}, load=load)


async def versions(client: httpx.AsyncClient) -> list[str]:
    return [model["model_version"] for model in (await client.get("/models")).json()["models"]]


async def reload(client: httpx.AsyncClient, **body: str) -> httpx.Response:
    return await client.post("/admin/reload", json=body)


async def test_a_new_folder_answers_from_then_on() -> None:
    async with served(app_of(Folders())) as client:
        answer = await reload(client, folder="m2")
        assert answer.json()["models"][0]["model_version"] == "m2"
        found = (await client.post("/search", json={"query": "x"})).json()
        assert (found["model_version"], found["catalog_version"]) == ("m2", "m2-0")
        text = (await client.get("/metrics")).text
        assert 'model_version="m2"' in text
        assert 'model_version="m1"' not in text


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("nowhere", "nowhere: no such folder"),
        ("silent", "the engine broke"),
        ("panics", "a table broke"),
        ("nul\0", "model 'joint' stays as it is"),
    ],
)
async def test_a_bad_folder_is_refused_and_the_old_model_answers(folder: str, says: str) -> None:
    async with served(app_of(Folders())) as client:
        answer = await reload(client, folder=folder)
        assert answer.status_code == 422
        assert says in answer.json()["detail"]
        assert await versions(client) == ["m1"]
        assert (await client.post("/search", json={"query": "x"})).status_code == 200
        assert (await reload(client)).status_code == 200  # the folder it had, not the bad one
        assert await versions(client) == ["m1"]


async def test_one_reload_at_a_time_and_requests_are_answered_meanwhile() -> None:
    load = Folders()
    async with served(app_of(load)) as client:
        first = asyncio.ensure_future(reload(client, folder="slow"))
        while not load.loaded:
            await asyncio.sleep(0.001)
        second = await reload(client, folder="m2")
        assert second.status_code == 409
        assert "another reload is under way" in second.json()["detail"]
        found = (await client.post("/search", json={"query": "x"})).json()
        assert found["model_version"] == "m1"
        load.go.set()
        assert (await first).status_code == 200
        assert await versions(client) == ["slow"]
        assert (await reload(client, folder="m2")).status_code == 200


async def test_an_answer_to_a_batch_is_of_one_version() -> None:
    app = app_of(Folders())
    batch = {"requests": [{"query": "x"}, {"history": ["1"]}, {"query": "y", "k": 100}] * 10}
    seen: set[str] = set()
    async with served(app) as client:

        async def asks() -> None:
            while len(seen) < 3:
                answers = (await client.post("/retrieve/batch", json=batch)).json()["answers"]
                (version,) = {answer["model_version"] for answer in answers}
                seen.add(version)

        async def reloads() -> None:
            while len(seen) < 3:
                for folder in ("m2", "m1", "slow"):
                    assert (await reload(client, folder=folder)).status_code == 200

        app.state.reloader._load.go.set()
        async with asyncio.timeout(30):
            await asyncio.gather(asks(), asks(), reloads())


async def test_all_models_are_reloaded_or_none() -> None:
    load = Folders()
    app = create_app(
        {"joint": FakeEngine("joint", "old"), "search": FakeEngine("search", "old")},
        folders={"joint": Path("m1"), "search": Path("broken")},
        load=load,
    )
    async with served(app) as client:
        assert (await reload(client)).status_code == 422
        assert load.loaded == [("m1", "joint"), ("broken", "search")]
        assert await versions(client) == ["old", "old"]
        assert (await reload(client, model="search", folder="m2")).status_code == 200
        assert await versions(client) == ["old", "m2"]
        assert (await reload(client)).status_code == 200
        assert await versions(client) == ["m1", "m2"]
        unknown = await reload(client, model="other", folder="m2")
        assert unknown.status_code == 422
        assert "model 'other' is not served" in unknown.json()["detail"]


async def test_without_a_way_to_load_it_says_so() -> None:
    async with served() as client:
        answer = await reload(client, folder="m2")
    assert answer.status_code == 422
    assert "was started without model folders" in answer.json()["detail"]


async def test_a_change_that_one_model_refuses_is_made_in_none() -> None:
    joint, search = FakeEngine("joint"), FakeEngine("search")
    search.refuses = "Unplaceable"
    async with served(create_app({"joint": joint, "search": search})) as client:
        new = {"items": [{"item_id": "new", "title": "Unplaceable"}]}
        answer = await client.post("/admin/items", json=new)
        assert answer.status_code == 422
        assert "cannot be placed" in answer.json()["detail"]
        assert (await client.get("/items/new")).status_code == 404
    assert (joint.changes, search.changes) == (0, 0)
