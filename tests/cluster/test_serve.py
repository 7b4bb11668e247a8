"""Serving by Ray: the same answers, from another process."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import free_port
from twofold.cluster.serve import serve_on_ray
from twofold.records import InputError
from twofold.retrieval.generative import GenerativeRetriever
from twofold.serving.client import Client, ServerError


def test_several_replicas_share_no_log(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--replicas 2: the log of catalog changes has one"):
        serve_on_ray(model_folder, replicas=2, state=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_bad_folder_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        serve_on_ray(tmp_path / "nothing")


def test_a_replica_answers_as_the_model_does(
    model_folder: Path, retriever: GenerativeRetriever, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from twofold.cli import main; main()", "cluster", "serve"]
    command += [str(model_folder), "--port", str(port), "--state", str(tmp_path / "state")]
    with subprocess.Popen(command) as process, Client(f"http://127.0.0.1:{port}") as client:
        try:
            _until_ready(client, process)
            history = ["film-3", "film-9"]
            found = [item.item_id for item in client.retrieve("robots", history, k=5).items]
            assert found == [a.item_id for a in retriever.search("robots", 5, history)]
            assert client.remove_items([found[0]]).items == 59
            assert client.models()[0].catalog_version.endswith("+1")
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _until_ready(client: Client, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 180
    while True:
        assert process.poll() is None
        assert time.monotonic() < end
        with contextlib.suppress(ServerError):  # 404 of Ray's proxy, before the application
            if client.ready():
                return
        time.sleep(0.5)
