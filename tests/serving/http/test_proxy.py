"""What examples/nginx.conf bounds: clients that are slow to send or to read, and load."""

import contextlib
import http.client
import json
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.serving.client import A_KEY
from tests.serving.http.test_server import BODY, answer_of, dripping, is_closed, request
from tests.serving.processes import ROOT, Server, running

CONFIG = ROOT / "examples" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
KEY = f"X-API-Key: {A_KEY}"

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@contextlib.contextmanager
def proxied(folder: Path, changes: dict[str, str], **environment: str) -> Iterator[Server]:
    """A server that clients reach through nginx, with shorter limits than the example's."""
    with running(folder, KEYED="1", **environment) as server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = CONFIG.read_text()
        for old, new in {
            **changes,
            ":8000": f":{server.port}",
            "listen 8080": f"listen {port}",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / "nginx.conf").write_text(f"pid {folder}/pid; daemon off;\n{text}")
        command = [str(NGINX), "-p", str(folder), "-e", "error.log", "-c", "nginx.conf"]
        process = subprocess.Popen(command)
        proxy = Server(process, server.log, port)  # type: ignore[arg-type]
        try:
            _wait_for(proxy)
            yield proxy
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(proxy: Server) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if proxy.ask("/ready")[0] == 200:
                return
        time.sleep(0.05)
    raise TimeoutError("nginx does not answer")


SHORT = {
    "client_header_timeout 10s": "client_header_timeout 1s",
    "send_timeout 25s": "send_timeout 1s",
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with proxied(tmp_path_factory.mktemp("proxy"), SHORT) as started:
        yield started


def answers(proxy: Server) -> bool:
    with proxy.connect() as connection:
        connection.sendall(request(BODY, KEY))
        return answer_of(connection)[0] == 200


def test_clients_are_answered_through_the_proxy_by_their_keys(proxy: Server) -> None:
    assert answers(proxy)
    with proxy.connect() as connection:
        connection.sendall(request())
        assert answer_of(connection)[0] == 401


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_end_is_given_up(proxy: Server, sent: bytes) -> None:
    started = time.monotonic()
    with proxy.connect() as connection, ExitStack() as stack:
        if sent:
            connection.sendall(sent)
            stack.enter_context(dripping(connection))
        assert is_closed(connection)
    assert time.monotonic() - started < 15
    assert answers(proxy)


def test_a_head_without_bound_is_refused(proxy: Server) -> None:
    with proxy.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: ")
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x" * 100_000)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 400
    assert answers(proxy)


def test_an_answer_that_the_client_does_not_read_is_given_up(proxy: Server) -> None:
    body = json.dumps({"requests": [{"query": "x", "k": 50}] * 100}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", proxy.port))
        batch = request(body, KEY).replace(b"/search", b"/retrieve/batch")
        connection.sendall(batch * 20)
        errors = select.poll()
        errors.register(connection, 0)  # errors alone: nothing is read
        assert errors.poll(20_000), "the proxy holds the connection"
    assert answers(proxy)


def test_too_many_requests_at_once_are_refused_and_the_others_answered(tmp_path: Path) -> None:
    limit = {"limit_conn requests 96": "limit_conn requests 5"}
    with proxied(tmp_path, limit, SECONDS="2") as proxy, ExitStack() as connections:
        taken = [connections.enter_context(proxy.connect()) for _ in range(5)]
        for connection in taken:
            connection.sendall(request(BODY, KEY))
        time.sleep(0.5)
        with proxy.connect() as connection:
            connection.sendall(request(BODY, KEY))
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            detail = json.loads(answer.read())["detail"]
            assert detail == "too many requests are queued; retry in 1 s"
        assert [answer_of(connection)[0] for connection in taken] == [200] * 5
        assert answers(proxy)
