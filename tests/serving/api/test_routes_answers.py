"""Answers of the routes."""

import gzip
import threading
from typing import Any

import pytest

from tests.serving.client import ids, served
from tests.serving.fake import FILMS, FakeEngine
from twofold.serving.api import schemas
from twofold.serving.app import create_app

pytestmark = pytest.mark.anyio


async def test_an_answer_is_ranked_and_names_its_version() -> None:
    async with served() as client:
        answer = (await client.post("/search", json={"query": "space", "k": 3})).json()
    assert (answer["model"], answer["model_version"]) == ("joint", "m1")
    assert answer["catalog_version"] == "m1-0"
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    first = answer["items"][0]
    assert first["title"], first["attributes"] == FILMS[first["item_id"]]


async def test_an_answer_says_where_no_word_is_known() -> None:
    async with served() as client:
        for query, unknown in (("unknown", True), ("space", False)):
            found = (await client.post("/search", json={"query": query})).json()
            assert found["no_known_words"] is unknown
            body: dict[str, Any] = {"requests": [{"query": query}, {"history": ["1"]}]}
            both = (await client.post("/retrieve/batch", json=body)).json()["answers"]
            assert [each["no_known_words"] for each in both] == [unknown, False]
            body = {"query": query, "candidates": ["1", "2"]}
            scored = (await client.post("/score", json=body)).json()
            assert scored["no_known_words"] is unknown


async def test_search_recommend_and_retrieve_are_one() -> None:
    async with served() as client:
        alone = await client.post("/search", json={"query": "space"})
        assert ids(alone) == ids(await client.post("/retrieve", json={"query": "space"}))
        alone = await client.post("/recommend", json={"history": ["1", "2"]})
        assert ids(alone) == ids(await client.post("/retrieve", json={"history": ["1", "2"]}))
        assert ids(alone) == ids(await client.post("/recommend", json={"user_id": "u1"}))
        both = await client.post("/retrieve", json={"query": "space", "history": ["1", "2"]})
        assert ids(both) != ids(alone)


@pytest.mark.parametrize(
    ("body", "comes_back"),
    [
        ({"history": ["1", "2"]}, False),
        ({"history": ["1", "2"], "seen": "keep"}, True),
        ({"history": ["1", "2"], "query": "space"}, True),
        ({"history": ["1", "2"], "query": "space", "seen": "exclude"}, False),
    ],
)
async def test_the_history_comes_back_as_asked(body: dict[str, Any], comes_back: bool) -> None:
    async with served() as client:
        found = ids(await client.post("/retrieve", json={**body, "k": 1000}))
    assert ({"1", "2"} <= set(found)) == comes_back
    assert comes_back or not {"1", "2"} & set(found)


async def test_exclusions_and_filters_hold() -> None:
    body = {"query": "space", "k": 1000, "exclude": ["2"], "filters": {"genres": "Drama"}}
    async with served() as client:
        found = ids(await client.post("/search", json=body))
        either = {**body, "filters": {"genres": ["Drama", "Comedy"]}}
        assert len(ids(await client.post("/search", json=either))) == len(FILMS) - 1
    assert found
    assert "2" not in found
    assert all("Drama" in FILMS[item_id][1]["genres"] for item_id in found)


async def test_a_batch_answers_each_as_if_alone() -> None:
    asked = [{"query": f"word {n}", "k": n} for n in range(1, 40)] + [{"history": ["1"], "k": 700}]
    async with served() as client:
        batch = (await client.post("/retrieve/batch", json={"requests": asked})).json()["answers"]
        alone = [(await client.post("/retrieve", json=each)).json() for each in asked]
    assert batch == alone


async def test_the_items_of_a_batch_are_bounded() -> None:
    asked = [{"query": "x", "k": 1000}] * 5
    async with served() as client:
        assert (await client.post("/retrieve/batch", json={"requests": asked})).status_code == 200
        asked.append({"query": "x", "k": 1})
        refused = await client.post("/retrieve/batch", json={"requests": asked})
        assert refused.status_code == 422
        assert "ask for 5001 items together, and a batch may ask for 5000" in refused.text


async def test_a_large_batch_is_not_serialised_in_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []

    class Watched(schemas.BatchAnswer):
        def model_dump_json(self, **named: Any) -> str:
            threads.append(threading.current_thread())
            return super().model_dump_json(**named)

    monkeypatch.setattr(schemas, "BatchAnswer", Watched)
    async with served() as client:
        batch = {"requests": [{"query": "x", "k": 50}] * 100}
        answers = (await client.post("/retrieve/batch", json=batch)).json()["answers"]
    assert [len(answer["items"]) for answer in answers] == [50] * 100
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize(
    "path", ["/retrieve/batch", "/admin/items", "/admin/items/remove", "/admin/reload"]
)
async def test_the_example_of_a_body_is_one(path: str) -> None:
    described = create_app({}).openapi()
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    body = content["schema"]["$ref"].rpartition("/")[2]
    properties = described["components"]["schemas"][body]["properties"]
    examples = {name: p["examples"][0] for name, p in properties.items() if "examples" in p}
    assert examples
    assert getattr(schemas, body).model_validate(examples)


async def test_candidates_are_scored_and_items_explained() -> None:
    async with served() as client:
        found = await client.post("/score", json={"query": "x", "candidates": ["1", "a/b", "2"]})
        assert set(ids(found)) == {"1", "2", "a/b"}
        body = {"query": "space opera", "history": ["1"], "item_id": "2"}
        explanation = (await client.post("/explain", json=body)).json()
    parts = [(part["kind"], part["value"], part["title"]) for part in explanation["contributions"]]
    assert parts == [
        ("history", "1", "Alpha"),
        ("query", "space", "space"),
        ("query", "opera", "opera"),
    ]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/search", {"query": "   "}, "pattern"),
        ("/search", {"query": "x", "k": 0}, "greater than or equal to 1"),
        ("/search", {"query": "x", "k": True}, "a number is expected, not true or false"),
        ("/retrieve", {"history": ["1"], "time": False}, "a number is expected"),
        ("/score", {"history": ["1"], "candidates": ["2"], "last_event_time": True}, "a number"),
        ("/search", {"query": "x", "k": 2.5}, "integer"),
        ("/search", {"query": "x", "K": 5}, "Extra inputs"),
        ("/search", {"query": "x", "filters": {"genres": []}}, "at least 1"),
        ("/search", {"query": "x", "filters": {"colour": "red"}}, "attribute 'colour'"),
        (
            "/search",
            {"query": "x", "model": "other"},
            "model 'other' is not served; choose from joint",
        ),
        ("/search", {"query": "refused"}, "type another"),
        ("/recommend", {"history": ["none"]}, "item 'none'"),
        ("/recommend", {}, "give either a history"),
        ("/recommend", {"history": ["1"], "user_id": "u1"}, "give either a history"),
        ("/recommend", {"user_id": "u2"}, "user 'u2'"),
        ("/retrieve", {"k": 3}, "give a query, a history, or both"),
        ("/retrieve/batch", {"requests": [{"query": "x"}, {"history": ["none"]}]}, "item 'none'"),
        ("/score", {"query": "x", "candidates": []}, "at least 1"),
        ("/score", {"query": "x", "candidates": ["none"]}, "item 'none'"),
        ("/explain", {"query": "x", "item_id": "none"}, "item 'none'"),
    ],
)
async def test_bad_input_is_named(path: str, body: dict[str, Any], says: str) -> None:
    async with served() as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize("sent", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_json_under_another_content_type_is_named(sent: str) -> None:
    """`curl -d` sends JSON as the content of a form."""
    async with served() as client:
        headers = {"content-type": sent} if sent else {}
        answer = await client.post("/search", content=b'{"query": "x"}', headers=headers)
        other = await client.post(
            "/search", content=b"[]", headers={"content-type": "application/json"}
        )
    said = answer.json()["detail"][0]["msg"]
    assert answer.status_code == other.status_code == 422
    assert said == f"the content type is '{sent}'; send content-type: application/json"
    assert "valid dictionary" in other.json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"query": "\\ud800"}',
        b'{"query": NaN}',
        b"[" * 100_000,
        b'{"\\ud800": 1}',
        b"\xff",
    ],
)
async def test_what_is_no_request_is_refused(body: bytes) -> None:
    async with served() as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/search", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "\xff"}',
        b"[" * 100_000,
        gzip.compress(b"{}", mtime=0),
        b'{"k": ' + b"9" * 5000 + b"}",
    ],
    ids=["another encoding", "too deep", "compressed", "too many digits"],
)
async def test_a_body_that_is_no_json_is_told_what_may_be_wrong(body: bytes) -> None:
    async with served() as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/search", content=body, headers=headers)
    assert answer.status_code == 400
    assert "not readable as JSON in UTF-8" in answer.json()["detail"]


async def test_models_answer_by_name_and_the_first_by_default() -> None:
    app = create_app({"joint": FakeEngine("joint"), "search": FakeEngine("search", "m2")})
    async with served(app) as client:
        answer = await client.post("/search", json={"query": "x", "model": "search"})
        assert (answer.json()["model"], answer.json()["model_version"]) == ("search", "m2")
        assert (await client.post("/search", json={"query": "x"})).json()["model"] == "joint"
        models = (await client.get("/models")).json()["models"]
    assert [model["model"] for model in models] == ["joint", "search"]
    assert models[0]["items"] == len(FILMS)


async def test_a_model_of_one_task_refuses_the_other() -> None:
    engines = [FakeEngine(task, tasks=(task,)) for task in ("search", "recommendation")]
    async with served(create_app({engine.name: engine for engine in engines})) as client:
        listed = (await client.get("/models")).json()["models"]
        assert [model["tasks"] for model in listed] == [["search"], ["recommendation"]]
        for path, body in (("/search", {"query": "x"}), ("/recommend", {"history": ["1"]})):
            other = {"/search": "recommendation", "/recommend": "search"}[path]
            refused = await client.post(path, json={**body, "model": other})
            assert refused.status_code == 422
            assert f"model '{other}' was trained for {other} alone" in refused.json()["detail"]
            batch = {"requests": [{**body, "model": other}]}
            assert (await client.post("/retrieve/batch", json=batch)).status_code == 422
        assert (await client.post("/search", json={"query": "x"})).is_success
        liked = {"history": ["1"], "model": "recommendation"}
        assert (await client.post("/retrieve", json=liked)).is_success
        assert (await client.get("/similar/1?model=recommendation")).is_success


async def test_the_catalog_changes_at_once() -> None:
    async with served() as client:
        new = {"items": [{"item_id": "new", "title": "New", "genres": "Drama"}]}
        change = (await client.post("/admin/items", json=new)).json()
        assert (change["changed"], change["items"]) == (1, len(FILMS) + 1)
        answer = await client.post("/search", json={"query": "x", "k": 1000})
        assert "new" in ids(answer)
        assert answer.json()["catalog_version"] == change["catalog_version"]
        gone = {"item_ids": ["new", "1"]}
        change = (await client.post("/admin/items/remove", json=gone)).json()
        assert change["changed"] == 2
        found = ids(await client.post("/search", json={"query": "x", "k": 1000}))
        assert not {"new", "1"} & set(found)
        assert (await client.get("/items/1")).status_code == 404
        assert (await client.get("/models")).json()["models"][0]["items"] == len(FILMS) - 1


async def test_a_broken_engine_is_500_for_its_request_alone() -> None:
    engine = FakeEngine()
    engine.fail_on = "broken"
    async with served(create_app({"joint": engine})) as client:
        broken = await client.post("/search", json={"query": "broken"})
        assert broken.status_code == 500
        assert "the engine broke" not in broken.text
        assert (await client.post("/search", json={"query": "x"})).status_code == 200
