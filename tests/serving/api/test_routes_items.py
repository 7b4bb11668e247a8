"""Routes that look up items."""

import pytest

from tests.serving.client import ids, served
from tests.serving.fake import FILMS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("item_id", ["a/b", "ü ?#%"])
async def test_item_ids_hold_any_character(item_id: str) -> None:
    from urllib.parse import quote

    async with served() as client:
        item = await client.get(f"/items/{quote(item_id, safe='')}")
        assert item.json()["item_id"] == item_id
        similar = ids(await client.get(f"/similar/{quote(item_id, safe='')}?k=1000"))
        assert len(similar) == len(FILMS) - 1
        assert item_id not in similar


async def test_what_is_not_there_is_404() -> None:
    async with served() as client:
        for path in ("/items/none", "/similar/none", "/nothing"):
            answer = await client.get(path)
            assert answer.status_code == 404, path
            assert answer.json()["detail"]
        assert (await client.get("/search")).status_code == 405


async def test_titles_are_found_by_a_part() -> None:
    async with served() as client:
        assert ids(await client.get("/titles", params={"q": "alph"})) == ["1"]
        assert len(ids(await client.get("/titles", params={"k": 7}))) == 7


@pytest.mark.parametrize("path", ["/titles?limit=3", "/similar/1?n=3", "/items/1?fields=title"])
async def test_an_unknown_parameter_is_refused(path: str) -> None:
    async with served() as client:
        answer = await client.get(path)
        assert answer.status_code == 422
        (problem,) = answer.json()["detail"]
        name = path.partition("?")[2].partition("=")[0]
        assert problem["loc"] == ["query", name]
        assert problem["msg"] == "Extra inputs are not permitted"


async def test_a_setting_of_the_body_is_refused_in_the_address() -> None:
    async with served() as client:
        for path in ("/search", "/recommend", "/admin/items/remove"):
            answer = await client.post(f"{path}?k=3", json={"query": "alpha"})
            assert ["query", "k"] in [problem["loc"] for problem in answer.json()["detail"]]
            assert answer.status_code == 422
        assert (await client.get("/health?probe=1")).status_code == 200
