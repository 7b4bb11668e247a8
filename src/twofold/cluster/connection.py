"""A command's connection to a Ray cluster."""

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator

from twofold.records import InputError

_PATIENCE = 10
"""The seconds that the head of a cluster has to answer. Ray itself waits for minutes."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a cluster while the block runs.

    Args:
        address: HOST:PORT of a cluster's head, or `auto` on one of its machines; None starts a
            cluster on this machine, which ends with the block.

    Raises:
        InputError: there is no cluster.
    """
    if address not in (None, "auto"):
        _require_answer(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    import ray

    try:
        ray.init(
            address=address or "local",  # which starts one though another runs here
            include_dashboard=None if address else False,
            logging_level=logging.WARNING,
        )
    except ConnectionError as error:
        raise InputError(f"--address {address}: {_reason(error)}") from error
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


def _require_answer(address: str) -> None:
    """Raise InputError unless something answers at HOST:PORT."""
    parts = re.fullmatch(r"\[?([^/]+?)\]?:(\d{1,5})", address)
    if not parts:
        raise InputError(
            f"--address {address}: is no address; give HOST:PORT as ray start --head prints it, "
            f"or auto on a machine of the cluster"
        )
    try:
        socket.create_connection((parts[1], int(parts[2])), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error}); give HOST:PORT as ray start "
            f"--head prints it"
        ) from error
