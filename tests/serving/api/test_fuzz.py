"""Hundreds of requests that schemathesis makes up; `make fuzz` asks ten thousand."""

from pathlib import Path

import pytest

from tests.serving.fake import FILMS
from tests.serving.fuzz import fuzz
from tests.serving.processes import running

# schemathesis reads jsonschema's old resolver.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_no_request_is_the_servers_fault(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        seen = fuzz(server, 300, known=list(FILMS))
        assert server.process.poll() is None
    assert seen.total() >= 250
    assert seen[200] > 50
    assert seen[422] > 50
