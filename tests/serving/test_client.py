"""The Python client, against the application in process, a canned one, and a real server."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.client import A_KEY, key_of_someone
from tests.serving.fake import FILMS, FakeEngine
from twofold.serving.api import schemas
from twofold.serving.app import create_app
from twofold.serving.client import Client, ServerError
from twofold.serving.in_process_transport import InProcessTransport

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def client() -> Iterator[Client]:
    app = create_app({"joint": FakeEngine(), "search": FakeEngine("search", "m2")})
    with Client(LOCAL, transport=InProcessTransport(app)) as made:
        until_ready(made)
        yield made


def until_ready(client: Client, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not client.ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def ids(answer: schemas.Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def test_it_retrieves_by_a_query_a_history_and_both(client: Client) -> None:
    found = client.search("space", k=3)
    assert [item.rank for item in found.items] == [1, 2, 3]
    assert found.model_version == "m1"
    assert ids(found) == ids(client.retrieve("space", k=3))
    history = ["1", "2"]
    liked = client.recommend(history)
    assert liked == client.recommend(user_id="u1") == client.retrieve(history=history)
    assert ids(client.retrieve("space", history)) != ids(liked)
    asked = [
        schemas.RetrieveRequest(query="space", k=3),
        schemas.RetrieveRequest(history=history),
    ]
    assert client.retrieve_batch(asked) == [found, liked]


def test_options_reach_the_server(client: Client) -> None:
    assert client.search("space", model="search").model_version == "m2"
    everything = ids(client.search("space", k=1000))
    dramas = client.search("space", k=1000, filters={"genres": ["Drama"]}, exclude=["2"])
    assert ids(dramas) == [
        i for i in everything if "Drama" in FILMS[i][1]["genres"].split("|") and i != "2"
    ]
    assert "1" in ids(client.recommend(["1"], k=1000, seen="keep"))
    assert "1" not in ids(client.recommend(["1"], k=1000, seen="exclude"))


def test_it_scores_explains_and_looks_up(client: Client) -> None:
    found = client.search("space", k=5)
    candidates = sorted(ids(found))
    again = client.score(candidates, "space")
    assert ids(again) == ids(found)
    assert ids(client.score(candidates, history=["1"], model="search")) != ids(found)
    why = client.explain("2", "space opera", ["1"])
    assert [part.value for part in why.contributions] == ["1", "space", "opera"]
    assert [item.title for item in client.titles("alph")] == ["Alpha"]
    assert len(client.titles(k=7)) == 7
    assert [each.model for each in client.models()] == ["joint", "search"]


@pytest.mark.parametrize("item_id", ["a/b", "ü ?#%", "1"])
def test_item_ids_hold_any_character(client: Client, item_id: str) -> None:
    assert client.item(item_id).title == FILMS[item_id][0]
    assert item_id not in ids(client.similar(item_id, k=1000))


@pytest.mark.parametrize("item_id", [".", ".."])
def test_an_item_id_may_be_the_name_of_a_folder(client: Client, item_id: str) -> None:
    client.add_items([{"item_id": item_id, "title": "Dots"}])
    assert client.item(item_id).title == "Dots"
    assert item_id not in ids(client.similar(item_id, k=1000))


def test_items_are_added_and_removed(client: Client) -> None:
    change = client.add_items([{"item_id": "new", "title": "New", "genres": "Drama"}])
    assert (change.changed, change.items) == (1, len(FILMS) + 1)
    assert client.item("new").attributes == {"genres": "Drama"}
    assert client.remove_items(["new", "1"]).items == len(FILMS) - 1
    with pytest.raises(ServerError, match="404: item 'new' is not in the catalog"):
        client.item("new")


@pytest.mark.parametrize(
    ("ask", "status", "says"),
    [
        (lambda c: c.search("x", k=0), 422, "k: Input should be greater than or equal to 1"),
        (lambda c: c.recommend(), 422, "give either a history with at least one item_id"),
        (lambda c: c.recommend(["none"]), 422, "item 'none' is not in the catalog"),
        (lambda c: c.similar("none"), 404, "item 'none' is not in the catalog"),
        (lambda c: c.reload(), 422, "was started without model folders"),
    ],
)
def test_a_refusal_names_the_route_the_status_and_what_is_wrong(
    client: Client, ask: Callable[[Client], Any], status: int, says: str
) -> None:
    with pytest.raises(ServerError) as refused:
        ask(client)
    assert refused.value.status == status
    assert says in refused.value.detail
    assert "Value error" not in refused.value.detail
    assert re.match(rf"(GET|POST) {LOCAL}/\S+: {status}: ", str(refused.value))


def test_a_key_is_sent_and_its_rate_is_waited_for() -> None:
    app = create_app({"joint": FakeEngine()}, keys=[key_of_someone(per_second=1)])
    transport = InProcessTransport(app)
    with Client(LOCAL, A_KEY, transport=transport) as client:
        assert client.search("space").items
        started = time.monotonic()
        assert client.search("space").items  # refused at once, then a second later answered
        assert 0.9 < time.monotonic() - started < 5
        impatient = Client(LOCAL, A_KEY, transport=transport, tries=1)
        with pytest.raises(ServerError, match="429: key 'someone' exceeds its rate limit"):
            impatient.search("space")
        with pytest.raises(ServerError, match="401: give a valid key"):
            Client(LOCAL, "not-this-key-at-all", transport=transport).search("space")


@contextmanager
def canned(*answers: httpx.Response, **options: Any) -> Iterator[tuple[Client, list[str]]]:
    """A client that gets these answers, the last one repeatedly, and the paths of its requests."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return answers[min(len(asked), len(answers)) - 1]

    with Client(LOCAL, transport=httpx.MockTransport(answer), **options) as client:
        yield client, asked


def busy(seconds: str, status: int = 429) -> httpx.Response:
    headers = {"Retry-After": seconds}
    return httpx.Response(status, headers=headers, json={"detail": "too many wait"})


GOOD = httpx.Response(
    200, json={"model": "a", "model_version": "m", "catalog_version": "m+0", "items": []}
)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("twofold.serving.client.time.sleep", waits.append)
    return waits


@pytest.mark.parametrize(
    ("answers", "waits", "status"),
    [
        ([busy("3"), busy("2", 503), GOOD], [3, 2], None),
        ([busy("1")], [1, 1, 1], 429),  # four tries
        ([busy("31")], [], 429),  # longer than it waits
        ([busy("Wed, 21 Oct 2026 07:28:00 GMT")], [], 429),
        ([httpx.Response(503)], [], 503),
        ([httpx.Response(500, headers={"Retry-After": "1"})], [], 500),
        ([httpx.Response(422, json={"detail": "no"})], [], 422),
    ],
)
def test_a_busy_server_is_asked_again_after_its_pause_and_not_for_ever(
    answers: list[httpx.Response], waits: list[float], status: int | None, slept: list[float]
) -> None:
    with canned(*answers) as (client, asked):
        if status is None:
            assert client.search("x").model == "a"
        else:
            with pytest.raises(ServerError) as refused:
                client.search("x")
            assert refused.value.status == status
    assert slept == waits
    assert len(asked) == len(waits) + 1


def test_answers_of_something_else_are_named() -> None:
    with canned(httpx.Response(200, html="<p>Welcome</p>")) as (client, _):
        with pytest.raises(ServerError, match="this is not an answer of Twofold"):
            client.search("x")
        with pytest.raises(ServerError, match="this is not an answer of Twofold"):
            client.ready()
    with (
        canned(httpx.Response(502, html="<p>Bad</p>")) as (client, _),
        pytest.raises(ServerError, match="502: Bad Gateway"),
    ):
        client.search("x")
    with Client("http://127.0.0.1:1") as nobody:
        assert not nobody.ready()
        with pytest.raises(ServerError, match=r"127\.0\.0\.1:1/search: no answer: ") as failed:
            nobody.search("x")
        assert failed.value.status is None


def test_a_newer_server_may_send_more_fields() -> None:
    item = {"item_id": "1", "title": "", "attributes": {}, "rank": 1, "score": -1.0, "new": 1}
    more = {**GOOD.json(), "items": [item], "also_new": {}}
    with canned(httpx.Response(200, json=more)) as (client, _):
        assert ids(client.search("x")) == ["1"]


def test_a_server_behind_a_path_is_reached() -> None:
    with (
        Client(f"{LOCAL}/films/", transport=httpx.MockTransport(_nothing)) as client,
        pytest.raises(ServerError, match=re.escape(f"GET {LOCAL}/films/models: 404")),
    ):
        client.models()


def _nothing(request: httpx.Request) -> httpx.Response:
    assert request.url.path == "/films/models"
    return httpx.Response(404)


def test_a_real_server(model_folder: Path, tmp_path: Path) -> None:
    with (
        serving(model_folder, "--state", tmp_path / "state") as url,
        Client(url, timeout=120) as client,
    ):
        until_ready(client)
        (model,) = client.models()
        assert model.items == 60
        found = client.search("robots", k=5)
        assert len(found.items) == 5
        client.add_items([{"item_id": "new", "title": "Robots in love", "genre": "Comedy"}])
        assert "new" in ids(client.search("robots", k=61))
        client.remove_items([found.items[0].item_id])
        assert found.items[0].item_id not in ids(client.search("robots", k=60))
        (again,) = client.reload(str(model_folder))
        assert again.items == 60
        assert again.model_version == model.model_version


@contextmanager
def serving(model: Path, *options: object) -> Iterator[str]:
    """The address of `twofold serve`, a process of its own."""
    command = [sys.executable, "-c", "from twofold.cli import main; main()", "serve", str(model)]
    command += ["--port", "0", "--threads", "1", *map(str, options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if address := re.search(r"serving at (http://\S+)", line):
                    yield address[1]
                    return
            pytest.fail("".join(said))
        finally:
            process.terminate()
