"""What is said where there is no cluster."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from tests.cluster.conftest import free_port
from tests.commands import mistake
from twofold.cluster import connection
from twofold.cluster.connection import connected
from twofold.records import InputError


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "is not an address; give HOST:PORT"),
        ("ray://127.0.0.1:10001", "is not an address; give HOST:PORT"),
        ("127.0.0.1:99999", "nothing answers there"),
    ],
)
def test_a_wrong_address_is_named(address: str, said: str) -> None:
    with pytest.raises(InputError, match=f"--address {address}: {said}"), connected(address):
        pass


def test_a_closed_port_is_noticed_at_once() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert f"--address {address}: nothing answers there" in mistake(
        "cluster", "study", "simulate:catalog", "--out", "unused", "--address", address
    )


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def _http() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextlib.contextmanager
def _other_grpc() -> Iterator[int]:
    grpc = pytest.importorskip("grpc")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (_silent, r"nothing answers there \(timed out\); give HOST:PORT as ray start --head"),
        (_http, r"is not the head of a Ray cluster \(it does not speak gRPC\); give HOST:PORT"),
        (_other_grpc, r"is not the head of a Ray cluster \(.*Method not found.*\); give HOST:PORT"),
    ],
)
def test_another_program_at_the_address_is_noticed_in_seconds(
    program: Callable[[], AbstractContextManager[int]],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_TIMEOUT", 1)
    with (
        program() as port,
        pytest.raises(InputError, match=f"--address 127.0.0.1:{port}: .*{message}"),
        connected(f"127.0.0.1:{port}"),
    ):
        pass


def test_a_cluster_answers_and_is_left(cluster: str) -> None:
    import ray

    with connected(cluster):
        assert ray.is_initialized()
    assert not ray.is_initialized()
    host, port = cluster.rsplit(":", 1)
    socket.create_connection((host, int(port))).close()
