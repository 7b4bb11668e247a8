"""What is said where there is no cluster."""

import socket

import pytest

from tests.cluster.conftest import free_port
from tests.commands import mistake
from twofold.cluster.connection import connected
from twofold.records import InputError


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "is no address; give HOST:PORT"),
        ("ray://127.0.0.1:10001", "is no address; give HOST:PORT"),
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


def test_a_cluster_answers_and_is_left(cluster: str) -> None:
    import ray

    with connected(cluster):
        assert ray.is_initialized()
    assert not ray.is_initialized()
    host, port = cluster.rsplit(":", 1)
    socket.create_connection((host, int(port))).close()
