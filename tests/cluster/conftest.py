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
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before ray reads them; its clusters of one command ask for a token as well.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ.update(RAY_worker_niceness="0")  # by default workers wait for all else on the machine

from twofold.cluster.connection import connected

OBJECT_STORE = 100_000_000
"""Bytes; Ray takes a third of the memory by default."""
STARTS = 4
"""Tries to start a cluster: Ray gives a machine 30 s, in which a busy one may not be done."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a cluster with two CPUs."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=0"]
    command += ["--num-cpus=2", f"--object-store-memory={OBJECT_STORE}", "--no-monitor"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    command += [f"--ray-client-server-port={free_port()}"]
    for _ in range(STARTS - 1):
        with _begun(command) as address:
            if address:
                yield address
                return
    with _begun(command) as address:
        assert address, f"ray start ended {STARTS} times without a cluster"
        yield address


@contextlib.contextmanager
def _begun(command: list[str]) -> Iterator[str | None]:
    """The address of the cluster that a command starts; None where it ends instead."""
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
            # Not `ray stop`, which stops every cluster of the machine. Not SIGTERM either: the head
            # would wait 30 s for a detached actor of Ray Train. Workers end with their raylet.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def _address(head: subprocess.Popen[bytes], log: Path) -> str | None:
    """The address that a cluster's head prints once it is there."""
    while head.poll() is None:
        if found := re.search(r"ray start --address='([^']+)'", log.read_text()):
            return found[1]
        time.sleep(0.1)
    print(log.read_text())
    return None


@pytest.fixture(scope="module")
def driver(cluster: str) -> Iterator[None]:
    """This process as one that gives a cluster work; of a module, as Ray's workers are."""
    with connected(cluster):
        yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])
