"""Items are added while the server answers, and while its models are reloaded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from tests.serving.client import served
from tests.serving.fake import FakeEngine
from twofold.serving.app import create_app
from twofold.serving.engines.catalog_engine import load_engine

pytestmark = pytest.mark.anyio

NEW = {"items": [{"item_id": "new", "title": "New"}]}


class Thorough(FakeEngine):
    """Places items slowly; records what happened, and in which thread."""

    def __init__(self, arm: str = "joint", model_version: str = "m1") -> None:
        super().__init__(arm, model_version)
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.happened: list[tuple[str, str]] = []

    def place(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        self._note("place")
        self.begun.set()
        assert self.go_on.wait(30)
        return super().place(rows)

    def add(
        self, rows: Sequence[Mapping[str, str]], placed: Mapping[str, str] | None = None
    ) -> int:
        self._note("add")
        return super().add(rows, placed)

    def catch_up(self) -> None:
        self._note("catch up")

    def _note(self, what: str) -> None:
        self.happened.append((what, threading.current_thread().name.split("_")[0]))


@pytest.fixture
def engine() -> Thorough:
    return Thorough()


@pytest.fixture
def fresh() -> Thorough:
    """The engine that a reload loads."""
    return Thorough(model_version="m2")


@pytest.fixture
async def client(engine: Thorough, fresh: Thorough) -> AsyncIterator[httpx.AsyncClient]:
    folders = {"joint": Path("m1")}
    app = create_app({"joint": engine}, folders=folders, load=lambda _, __: fresh)
    async with served(app) as made:
        yield made
        engine.go_on.set()


def add(client: httpx.AsyncClient) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(client.post("/admin/items", json=NEW))


async def soon(client: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    """An answer that waits for nothing."""
    return await asyncio.wait_for(client.post(path, json=body), 5)


async def test_answers_and_removals_do_not_wait_for_a_placement(
    client: httpx.AsyncClient, engine: Thorough
) -> None:
    adding = add(client)
    await asyncio.to_thread(engine.begun.wait, 30)
    assert (await soon(client, "/search", {"query": "x"})).status_code == 200
    assert (await soon(client, "/admin/items/remove", {"item_ids": ["1"]})).status_code == 200
    assert not adding.done()
    engine.go_on.set()
    assert (await adding).json()["changed"] == 1
    assert engine.happened == [("place", "placing"), ("add", "engines")]
    assert (await client.get("/items/new")).json()["title"] == "New"


async def test_a_placement_follows_the_items_that_were_added_before(
    client: httpx.AsyncClient, engine: Thorough
) -> None:
    first, second = add(client), add(client)
    await asyncio.to_thread(engine.begun.wait, 30)
    engine.go_on.set()
    answers = await asyncio.gather(first, second)
    assert sorted(answer.json()["changed"] for answer in answers) == [0, 1]
    assert [what for what, _ in engine.happened] == ["place", "add", "place", "add"]


async def test_a_reload_does_not_come_between_a_placement_and_its_item(
    client: httpx.AsyncClient, engine: Thorough, fresh: Thorough
) -> None:
    adding = add(client)
    await asyncio.to_thread(engine.begun.wait, 30)
    reloading = asyncio.create_task(client.post("/admin/reload", json={}))
    while not fresh.batches:  # until it is warm
        await asyncio.sleep(0.001)
    assert (await soon(client, "/search", {"query": "x"})).json()["model_version"] == "m1"
    engine.go_on.set()
    assert (await adding).json()["catalog_version"] == "m1-1"
    assert (await reloading).json()["models"][0]["model_version"] == "m2"
    assert engine.happened[-1] == ("add", "engines")


async def test_items_added_while_a_model_loads_are_placed_outside_the_queue(
    client: httpx.AsyncClient, fresh: Thorough
) -> None:
    assert (await client.post("/admin/reload", json={})).status_code == 200
    (first, where), (second, there) = fresh.happened
    assert (first, second) == ("catch up", "catch up")
    assert where != "engines"
    assert there == "engines"  # for a removal in between


async def test_a_correction_is_refused_and_an_item_as_it_is_held_comes_back(
    model_folder: Path, tmp_path: Path
) -> None:
    engine = load_engine(model_folder, "joint", tmp_path)
    async with served(create_app({"joint": engine})) as client:

        async def adding(**fields: str) -> httpx.Response:
            return await client.post("/admin/items", json={"items": [{"item_id": "new"} | fields]})

        assert (await adding(title="Robots in love")).json()["changed"] == 1
        answer = await adding(title="Robots at war")
        assert answer.status_code == 422
        assert answer.json()["detail"] == (
            "item 'new': its title is 'Robots in love', not 'Robots at war'; "
            "give it a new item_id, or train again with the change"
        )
        for fields in ({}, {"title": "Robots in love"}):
            await client.post("/admin/items/remove", json={"item_ids": ["new"]})
            assert (await client.get("/items/new")).status_code == 404
            assert (await adding(**fields)).json()["changed"] == 1
    engine.close()
