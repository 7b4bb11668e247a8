"""A model by name, where the hub of Hugging Face cannot be reached, and where it refuses."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ASKED: list[str] = []
NO_SERVER = "http://127.0.0.1:9"
LOAD = """
import sys, time
from twofold.encoders.sentence import SentenceEncoder
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.pretrained import pretrained_backbone
from twofold.records import InputError

time.sleep = lambda seconds: print("slept")
for load in (SentenceEncoder.load, lambda n: pretrained_backbone(n, shared(atomic(3)), 2, 2, 0)):
    try:
        load("some/model")
    except InputError as error:
        print(error)
"""


class _Refuses(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ASKED.append(self.path)
        self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub that has no model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ASKED.clear()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _loaded(address: str) -> list[str]:
    """What is printed when an encoder and a backbone are loaded by name from a hub."""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_without_a_hub_nothing_is_tried_again() -> None:
    """The loaders would wait for it, six times for each of several files."""
    printed = _loaded(NO_SERVER)
    assert len(printed) == 2
    for line in printed:
        assert "could not be downloaded; download it on a machine with network access" in line
        assert "(hf download some/model)" in line


def test_a_hub_that_answers_is_asked_for_the_files(hub: str) -> None:
    printed = _loaded(hub)
    assert len(printed) == 2
    assert "could not be downloaded" in printed[0]
    assert any(path.startswith("/some/model/resolve/") for path in ASKED)
