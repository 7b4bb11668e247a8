"""The server as a process: signals, ports, and hostile clients. See test_proxy for slow ones."""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.commands import mistake
from tests.serving.processes import COMMAND, TIMEOUT_SECONDS, Server, running
from twofold.serving.app import create_app

BODY = b'{"query": "x"}'


def request(body: bytes = BODY, *headers: str) -> bytes:
    lines = ["POST /search HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def answer_of(connection: socket.socket) -> tuple[int, Any]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it, waiting for a while."""
    connection.settimeout(20)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


def test_a_connection_answers_again_and_again(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request())
            status, answer = answer_of(connection)
            assert (status, answer["model"]) == (200, "joint")
        connection.sendall(request() + request(b"{}"))  # pipelined
        assert answer_of(connection)[0] == 200
    status, schema = server.ask("/openapi.json")
    assert (status, schema) == (200, create_app({}).openapi())


@pytest.mark.parametrize("headers", [(), ("Expect: 100-continue",)])
def test_a_large_body_sees_its_413_though_it_is_still_being_sent(
    server: Server, headers: tuple[str, ...]
) -> None:
    with server.connect() as connection:
        connection.sendall(request(b" " * 1_000_000, *headers))
        status, answer = answer_of(connection)
        assert (status, answer["detail"]) == (
            413,
            "the body is larger than 100000 bytes; send less",
        )
        assert is_closed(connection)
    assert server.ask("/health")[0] == 200


def test_a_refusal_before_the_body_keeps_the_connection_in_step(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request(b'{"query": "' + b"x" * 50_000 + b'"}', "Origin: http://evil"))
        assert answer_of(connection)[0] == 403
        connection.sendall(request())
        assert answer_of(connection)[0] == 200


def test_a_body_that_never_ends_is_refused_in_time(server: Server) -> None:
    started = time.monotonic()
    with server.connect() as connection, dripping(connection):
        connection.sendall(request().replace(b"Content-Length: 14", b"Content-Length: 999"))
        status, answer = answer_of(connection)
        assert (status, answer["detail"]) == (
            408,
            f"the body took longer than {TIMEOUT_SECONDS:g} s",
        )
        assert is_closed(connection)
    assert time.monotonic() - started < 3 * TIMEOUT_SECONDS
    assert server.ask("/health")[0] == 200


@contextlib.contextmanager
def dripping(connection: socket.socket) -> Iterator[None]:
    """A client that sends a byte now and then."""
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            try:
                connection.send(b" ")
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


BATCHES = 20
"""Batches whose answers are more than what the sockets hold."""


def reading_little(server: Server) -> socket.socket:
    """A client that has asked for batches, and can be sent little before it reads."""
    body = json.dumps({"requests": [{"query": "x", "k": 50}] * 100}).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(request(body).replace(b"/search", b"/retrieve/batch") * BATCHES)
    return connection


def status_after_retries(server: Server) -> int:
    """The status of a search, asked again while batches that the server works on fill its queue."""
    until = time.monotonic() + 30
    while (status := server.ask("/search", {"query": "x"})[0]) == 429 and time.monotonic() < until:
        time.sleep(0.5)
    return status


@pytest.mark.alone
def test_an_answer_that_is_read_late_comes_whole_and_holds_nobody_up(tmp_path: Path) -> None:
    # On a busy machine a batch waits for longer than the other tests allow.
    with running(tmp_path, TIMEOUT="60") as server, reading_little(server) as connection:
        time.sleep(1)
        assert status_after_retries(server) == 200
        whole = connection.makefile("rb")
        for _ in range(BATCHES):
            assert whole.readline() == b"HTTP/1.1 200 OK\r\n"
            head = dict(line.split(b": ") for line in iter(whole.readline, b"\r\n"))
            answers = json.loads(whole.read(int(head[b"content-length"])))["answers"]
            assert [len(each["items"]) for each in answers] == [50] * 100
    assert "Traceback" not in server.log.read_text()


def test_a_server_that_others_reach_bounds_the_head_of_a_request(tmp_path: Path) -> None:
    with running(tmp_path, HOST="0.0.0.0") as server, server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: ")
        with pytest.raises(ConnectionError):
            connection.sendall(b"x" * 50_000_000)
        assert server.ask("/health")[0] == 200


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"GET \xff HTTP/1.1\r\n\r\n", b"\0" * 1000, b"GET /\r\n\r\n"]
)
def test_bytes_that_are_not_http_are_refused(server: Server, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        assert is_closed(connection)
    assert server.ask("/health")[0] == 200


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/web/page.js"])
def test_only_the_pages_own_files_are_served(server: Server, path: str) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer_of(connection)[0] == 404


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_finishes_what_was_asked(tmp_path: Path, stop: signal.Signals) -> None:
    with running(tmp_path, SECONDS="0.4") as server, server.connect() as connection:
        connection.sendall(request())
        time.sleep(0.2)
        server.process.send_signal(stop)
        assert answer_of(connection)[0] == 200
        assert server.process.wait(20) in (0, -stop)
        with pytest.raises(OSError, match="refused"):
            server.connect()
        assert "Traceback" not in server.log.read_text()


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def failing(*arguments: object) -> str:
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_cannot_be_served_is_one_line_and_exit_code_2(
    model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("shop short\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says = failing("serve", model_folder, "--port", port)
    assert f"--host 127.0.0.1 --port {port} cannot be bound: Address already in use" in says
    says = mistake("serve", model_folder, "--host", "0.0.0.0")
    assert "--host 0.0.0.0 can be reached from other machines; give --api-key-file" in says
    says = mistake("serve", model_folder, "--api-key-file", tmp_path / "keys")
    assert f"{tmp_path / 'keys'}: key" in says
    assert "no such folder" in mistake("serve", tmp_path / "nowhere")
    assert "give either a model folder or --study DIR" in mistake("serve")


def test_the_served_model_reloads_on_a_signal_and_keeps_its_changes(
    model_folder: Path, tmp_path: Path
) -> None:
    folder, state = tmp_path / "model", tmp_path / "state"
    shutil.copytree(model_folder, folder)
    (tmp_path / "gone.csv").write_text("item_id\nfilm-1\n")
    state_of = ("--state", state)
    removing = ("items", "remove", folder, tmp_path / "gone.csv", *state_of)
    removed = command(*removing)
    assert "removed 1 of 1; 59 items" in removed.stdout
    with running(
        tmp_path,
        COMMAND,
        "serve",
        folder,
        *state_of,
        "--port",
        0,
        "--threads",
        1,
        OMP_DISPLAY_ENV="TRUE",
    ) as server:
        log = server.log.read_text()
        assert "OMP_WAIT_POLICY = 'PASSIVE'" in log
        assert "OMP_NUM_THREADS = '1'" in log
        status, schema = server.ask("/openapi.json")
        assert (status, schema["info"]["title"]) == (200, "Twofold")

        def found() -> set[str]:
            status, answer = server.ask("/search", {"query": "robots", "k": 100})
            assert status == 200
            return {item["item_id"] for item in answer["items"]}

        assert len(found()) == 59
        new = {"items": [{"item_id": "new", "title": "Robots in love"}]}
        assert server.ask("/admin/items", new)[1]["items"] == 60
        held = command(*removing)
        assert held.returncode == 2
        assert "in use by a running server" in held.stderr
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("the model folders were reloaded")
        assert "new" in found()
        assert "film-1" not in found()
        weights = folder / "backbone" / "model.safetensors"
        broken = bytearray(weights.read_bytes())
        broken[len(broken) // 2] ^= 1
        weights.unlink()
        weights.write_bytes(broken)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("model.safetensors: changed since it was written")
        assert "new" in found()
        assert server.process.poll() is None


def test_a_server_loads_nothing_that_only_training_needs() -> None:
    script = (
        "import sys, twofold.serving.engines.catalog_engine, twofold.serving.http.server\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"sklearn", "faiss", "bm25s", "sentence_transformers", "matplotlib", "hypothesis"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_full_queue_refuses_at_once_and_the_connection_stays_in_step(tmp_path: Path) -> None:
    batch_seconds = 3.0
    with running(tmp_path, SECONDS=str(batch_seconds)) as server, ExitStack() as connections:
        for _ in range(120):  # more than a batch and the queue
            connections.enter_context(server.connect()).sendall(request())
        refused: list[float] = []
        with server.connect() as connection:
            for _ in range(20):  # until the queue is full
                started = time.monotonic()
                connection.sendall(request(b'{"query": "' + b"x" * 50_000 + b'"}'))
                status, answer = answer_of(connection)
                if status == 429:
                    refused.append(time.monotonic() - started)
                    break
            assert refused, "120 requests fill a batch and the queue"
            assert answer["detail"].startswith("too many requests are queued; retry in ")
            assert refused[0] < batch_seconds / 2, "a refusal does not wait for a batch"
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer_of(connection) == (200, {"state": "alive"})
            connection.sendall(request(BODY, "Connection: close"))
            status, _ = answer_of(connection)
            assert status == 429
            assert is_closed(connection)
        connections.close()
        assert 'twofold_refusals_total{status="429"}' in metrics(server)


def test_a_full_queue_refuses_in_the_form_of_the_request(tmp_path: Path) -> None:
    with running(tmp_path, SECONDS="2") as server, ExitStack() as connections:
        for _ in range(120):  # more than a batch and the queue
            connections.enter_context(server.connect()).sendall(request())
        while "twofold_refusals_total{" not in metrics(server):
            time.sleep(0.02)
        whole = answer_bytes(server, "GET", "Connection: close")
        assert whole.startswith(b"HTTP/1.1 429 ")
        assert b"too many requests are queued" in whole
        head = answer_bytes(server, "HEAD", "Connection: close")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert head.endswith(b"\r\n\r\n"), "a body would be taken for the next answer"
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        key = "Sec-WebSocket-Key: " + "A" * 22 + "=="
        with server.connect() as connection:
            lines = ["GET /titles HTTP/1.1", "Host: localhost", *upgrade, key, "", ""]
            connection.sendall("\r\n".join(lines).encode())
            assert answer_of(connection)[0] == 429
        assert "Traceback" not in server.log.read_text()


def metrics(server: Server) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        return str(answer.read().decode())


def answer_bytes(server: Server, method: str, *headers: str) -> bytes:
    """What `/titles` answers until the connection ends."""
    with server.connect() as connection:
        lines = [f"{method} /titles HTTP/1.1", "Host: localhost", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)
