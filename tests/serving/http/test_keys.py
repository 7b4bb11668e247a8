"""Which clients are answered, with keys and without."""

import hmac
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.serving.client import served
from tests.serving.fake import FakeEngine
from twofold.records import InputError
from twofold.serving.app import create_app
from twofold.serving.http import keys
from twofold.serving.http.keys import is_loopback, read_keys

USER, ADMIN, SLOW = "user-key-0123456789", "admin-key-0123456789", "slow-key-0123456789"
FILE = f"# who may ask\nshop {USER}\n\nops {ADMIN} admin\ncrawler {SLOW} user 2\n"
REMOVE = {"item_ids": ["1"]}


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "keys"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


KeyFile = Callable[[str | bytes], Path]


def keyed(path: Path) -> Any:
    return create_app({"joint": FakeEngine()}, keys=read_keys(path))


@pytest.mark.anyio
async def test_a_key_is_needed_and_an_admins_to_change_anything(key_file: KeyFile) -> None:
    async with served(keyed(key_file(FILE))) as client:

        async def status(path: str, **headers: str) -> int:
            body = REMOVE if path.startswith("/admin") else {"query": "x"}
            return (await client.post(path, json=body, headers=headers)).status_code

        assert await status("/search") == 401
        assert await status("/search", Authorization=f"Bearer {USER}x") == 401
        assert await status("/search", Authorization="Bearer ") == 401
        assert await status("/search", Authorization=f"Basic {USER}") == 401
        assert await status("/search", Authorization=f"bearer  {USER}") == 200
        assert await status("/search", **{"X-API-Key": USER}) == 200
        assert await status("/search", **{"X-API-Key": USER[:-1]}) == 401
        assert await status("/admin/items/remove", **{"X-API-Key": USER}) == 403
        assert await status("/admin/items/remove", **{"X-API-Key": ADMIN}) == 200
        for path in ("/metrics", "/models", "/items/1", "/titles"):
            refused = await client.get(path)
            assert refused.status_code == 401, path
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/style.css"):
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.anyio
async def test_every_key_is_compared_in_constant_time(
    key_file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    async with served(keyed(key_file(FILE))) as client:
        monkeypatch.setattr(keys, "hmac", SimpleNamespace(compare_digest=counted))
        for key in (USER, ADMIN, "x", ""):
            compared.clear()
            await client.get("/models", headers={"X-API-Key": key})
            assert compared == [(32, 32)] * 3  # digests of one length, none left out


@pytest.mark.anyio
async def test_a_rate_is_a_keys_own(key_file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(keys, "time", SimpleNamespace(monotonic=lambda: now[0]))
    async with served(keyed(key_file(FILE))) as client:

        async def asked(key: str) -> httpx.Response:
            return await client.get("/models", headers={"X-API-Key": key})

        assert [(await asked(SLOW)).status_code for _ in range(3)] == [200, 200, 429]
        refused = await asked(SLOW)
        assert refused.headers["Retry-After"] == "1"
        assert "key 'crawler' exceeds its rate limit" in refused.text
        assert {(await asked(USER)).status_code for _ in range(20)} == {200}
        now[0] += 0.5
        assert [(await asked(SLOW)).status_code for _ in range(2)] == [200, 429]
        now[0] += 1000
        assert [(await asked(SLOW)).status_code for _ in range(3)] == [200, 200, 429]


def test_a_json_list_says_the_same(key_file: KeyFile) -> None:
    lines = read_keys(key_file(FILE))
    listed = read_keys(
        key_file(
            f'[{{"name": "shop", "key": "{USER}"}},'
            f'{{"name": "ops", "key": "{ADMIN}", "role": "admin"}},'
            f'{{"name": "crawler", "key": "{SLOW}", "per_second": 2}}]'
        )
    )
    assert listed == lines
    assert read_keys(key_file(b"\xef\xbb\xbf" + FILE.encode())) == lines  # as Windows saves it


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no key; write a line NAME KEY"),
        ("# only a remark\n", "has no key"),
        ("shop short\n", "key of at least 16"),
        ("shop\n", "Field required"),
        (f"shop {USER} root\n", "role"),
        (f"shop {USER} user soon\n", "per_second"),
        (f"shop {USER} user -1\n", "per_second"),
        (f"shop {USER} user inf\n", "per_second"),
        (f"shop {USER} user 1e-320\n", "per_second"),
        (f"shop {USER}\n{USER} shop user 5 6\n", "line 2 has more than 4 parts"),
        (f"a {USER}\nb {USER}\n", "two entries share a name or a key"),
        (f"a {USER}\na {ADMIN}\n", "two entries share a name or a key"),
        (f'[{{"name": "a", "key": "{USER}"', "cannot be read as keys"),
        (f'[["{USER}"]]', "dict"),
        ("[" * 100_000, "cannot be read as keys"),
        (f'[{{"name": "a", "key": "{USER}", "owner": "b"}}]', "owner"),
        (b"\xff\xfe" + USER.encode("utf-16-le"), "cannot be read as keys"),
    ],
)
def test_a_bad_key_file_is_named_and_no_key_shown(
    key_file: KeyFile, content: str | bytes, says: str
) -> None:
    path = key_file(content)
    with pytest.raises(InputError) as error:
        read_keys(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert USER not in message
    with pytest.raises(InputError, match=r"nowhere: cannot be read as keys: .*No such file"):
        read_keys(path.with_name("nowhere"))


@pytest.mark.anyio
async def test_without_keys_this_machine_alone_is_answered() -> None:
    async with served() as client:

        async def status(**headers: str) -> int:
            answer = await client.post("/search", json={"query": "x"}, headers=headers)
            return answer.status_code

        assert await status() == 200
        for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST", "127.8.8.8:1"):
            assert await status(Host=host) == 200, host
        for host in ("evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.x", "[::2]"):
            assert await status(Host=host) == 403, host
        assert await status(Origin="http://127.0.0.1:8000") == 200
        for origin in (
            "http://evil.example",
            "null",
            "http://127.0.0.1:9",
            "https://127.0.0.1:8000",
        ):
            assert await status(Origin=origin) == 403, origin
        assert (await client.get("/models", headers={"Origin": "http://evil.example"})).is_success


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"Forwarded": "for=192.0.2.1"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"x-forwarded-proto": "https"},
        {"X-FORWARDED-HOST": "shop.example"},
    ],
)
async def test_without_keys_no_client_is_answered_through_a_proxy(
    key_file: KeyFile, headers: dict[str, str]
) -> None:
    async with served() as client:
        for path in ("/admin/items/remove", "/search"):
            refused = await client.post(path, json=REMOVE, headers=headers)
            assert refused.status_code == 403
            assert "--api-key-file" in refused.json()["detail"]
        assert (await client.get("/items/1")).status_code == 200
    async with served(keyed(key_file(FILE))) as client:
        answer = await client.post(
            "/admin/items/remove", json=REMOVE, headers={**headers, "X-API-Key": ADMIN}
        )
        assert answer.status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.0.0.1", 403)]
)
async def test_without_keys_an_address_elsewhere_is_refused_whatever_it_says(
    address: str, status: int
) -> None:
    app = create_app({"joint": FakeEngine()})
    async with served(app):
        transport = httpx.ASGITransport(app, client=(address, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/models")).status_code == status
            answer = await client.post("/admin/items/remove", json=REMOVE)
            assert answer.status_code == status


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "[::1]", "localhost", "LocalHost.", "127.9.9.9"]
)
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "localhost.x", "10.0.0.1", "127.1", "1"])
def test_names_of_others(host: str) -> None:
    assert not is_loopback(host)
