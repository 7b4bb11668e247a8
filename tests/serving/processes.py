"""Servers in processes of their own, and a client that sees every byte."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FAKE = "from tests.serving.processes import serve_fake; serve_fake()"
TIMEOUT_SECONDS = 5.0
"""Time for a body, and for an answer, of the server without a model."""
COMMAND = "from twofold.cli import main; main()"


def serve_fake() -> None:
    """Two models without weights, whose batches take `SECONDS`, at the address `HOST`.

    An answer may take `TIMEOUT`; with `KEYED` clients need a key. A reload accepts one folder, m1,
    and refuses any other.
    """
    import logging

    from tests.serving.client import key_of_someone
    from tests.serving.fake import FakeEngine
    from twofold.records import InputError
    from twofold.serving.app import create_app
    from twofold.serving.http.server import run
    from twofold.serving.settings import ServingSettings

    logging.basicConfig(level=logging.INFO)
    seconds = float(os.environ.get("SECONDS", "0"))

    def load(folder: Path, name: str) -> FakeEngine:
        if folder.name != "m1":
            raise InputError(f"{folder}: no such folder")
        return FakeEngine(name, seconds=seconds)

    folders = {"joint": Path("m1"), "search": Path("m1")}
    engines = {name: load(folder, name) for name, folder in folders.items()}
    timeout = float(os.environ.get("TIMEOUT", TIMEOUT_SECONDS))
    settings = ServingSettings(max_body_bytes=100_000, timeout_seconds=timeout)
    keys = [key_of_someone()] if "KEYED" in os.environ else []
    app = create_app(engines, settings, folders=folders, load=load, keys=keys)
    run(app, os.environ.get("HOST", "127.0.0.1"), 0)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    log: Path
    port: int = 0
    opener: Any = field(default_factory=lambda: urllib.request.build_opener())

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer; a POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """The first of what its log says that matches."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := re.search(pattern, self.log.read_text()):
                return found[0]
            time.sleep(0.02)
        raise TimeoutError(f"no {pattern!r} in {self.log.read_text()}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextlib.contextmanager
def running(
    folder: Path, script: str = FAKE, *arguments: object, **environment: str
) -> Iterator[Server]:
    """A server that is ready, stopped in the end; its log stands in `folder`."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stderr=out, cwd=ROOT, env={**os.environ, **environment}, text=True
        )
    server = Server(process, log)
    try:
        line = server.wait_for(r"serving at http://\S+:\d+")
        server.port = int(line.rpartition(":")[2])
        while server.ask("/ready")[0] != 200:
            time.sleep(0.02)
        yield server
    finally:
        process.kill()
        process.wait(30)
