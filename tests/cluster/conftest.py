"""A Ray cluster of the tests' own, as `ray start` makes it.

It asks for a token, which these processes share: Ray's default one is in the home of the user.
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before ray reads them; its clusters of one command ask for a token as well.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

from twofold.cluster.connection import connected

OBJECT_STORE = 100_000_000
"""Bytes; Ray takes a third of the memory by default."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a cluster with two CPUs."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=0"]
    command += ["--num-cpus=2", f"--object-store-memory={OBJECT_STORE}"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    command += [f"--ray-client-server-port={free_port()}"]
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as place:
        # Not the folder of pytest: the paths of sockets have to be short.
        log = Path(place) / "log"
        with log.open("wb") as out:
            head = subprocess.Popen(
                [*command, f"--temp-dir={place}"], stdout=out, stderr=out, process_group=0
            )
        try:
            yield _address(head, log)
        finally:
            head.terminate()  # not `ray stop`, which stops every cluster of the machine
            head.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)


def _address(head: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a cluster's head prints once it is there."""
    while True:
        if found := re.search(r"ray start --address='([^']+)'", log.read_text()):
            return found[1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ray start ended with code {head.wait(0.2)}: {log.read_text()}")


@pytest.fixture(scope="module")
def driver(cluster: str) -> Iterator[None]:
    """This process as one that gives a cluster work; of a module, as Ray's workers are."""
    with connected(cluster):
        yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])
