"""A command's connection to a Ray cluster."""

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator

from twofold.records import InputError

_TIMEOUT = 10
"""The seconds in which a cluster's head must answer; Ray itself would wait for ten minutes."""
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The first bytes of a gRPC client, as Ray uses: the HTTP/2 preface and an empty SETTINGS frame
(RFC 9113, section 3.4). The server answers with a SETTINGS frame.
"""
_SETTINGS = b"\x04"
"""The type of a SETTINGS frame, its fourth byte."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect this process to a cluster while the block runs.

    Args:
        address: HOST:PORT of a cluster's head, or `auto` on one of its machines; None starts a
            cluster on this machine, which ends with the block.

    Raises:
        InputError: there is no cluster at the address.
    """
    if address not in (None, "auto"):
        _require_grpc(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError, RpcError

    try:
        if address not in (None, "auto"):
            GcsClient(address=address)  # a single attempt: `ray.init` makes twenty of 40 s each
        ray.init(
            address=address or "local",  # starts a cluster even if another one runs here
            include_dashboard=None if address else False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, AuthenticationError) as error:
        raise InputError(f"--address {address}: {_reason(error)}") from error
    except RpcError as error:
        raise _no_head(address, str(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reason(error: BaseException | None) -> str:
    """Why Ray could not connect, and what to do."""
    from ray.exceptions import AuthenticationError

    while error is not None:
        if isinstance(error, AuthenticationError):
            return (
                "the cluster asks for its token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH "
                "to the file that holds it"
            )
        error = error.__cause__
    return "no Ray cluster runs here; start one with ray start --head, or leave --address out"


def _require_grpc(address: str) -> None:
    """Raise InputError unless a gRPC server answers at HOST:PORT."""
    parts = re.fullmatch(r"\[?([^/]+?)\]?:(\d{1,5})", address)
    if not parts:
        raise InputError(
            f"--address {address}: is not an address; give HOST:PORT as ray start --head prints "
            f"it, or auto on a machine of the cluster"
        )
    answer = _SETTINGS
    try:
        with socket.create_connection((parts[1], int(parts[2])), _TIMEOUT) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
                connection.sendall(_HTTP2_PREFACE)
                answer = connection.recv(9)[3:4]
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error}); give HOST:PORT as ray start "
            f"--head prints it"
        ) from error
    if answer != _SETTINGS:
        raise _no_head(address, "it does not speak gRPC")


def _no_head(address: str | None, reason: str) -> InputError:
    """The error if the server at the address is not the head of a cluster."""
    return InputError(
        f"--address {address}: the program that answers there is not the head of a Ray cluster "
        f"({reason}); give HOST:PORT as ray start --head prints it"
    )
