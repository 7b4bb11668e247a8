"""Every block of the documents that is marked as bash or python runs, in the order of its page.

A page runs in a folder of its own that holds `my-folder`, a small dataset as users bring it, and
`out/study` with a small model where `make study` leaves one. The presets train for a moment here;
blocks without a language (make, servers, long studies) are held by `test_documents.py` alone.
"""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import twofold
from tests.docs.pages import PAGES, name_of
from twofold.cli import app
from twofold.data.simulators import simulate
from twofold.training.config import PRESETS

_MOMENT = {"backbone": "decoder:tiny", "max_steps": 12, "num_beams": 10}
_DATA = "catalog:users=150"


def _run(example: Example) -> None:
    """The commands of a block, one a line, without a process for each."""
    for line in example.parsed.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "twofold", f"{example.path}: a bash block holds twofold alone: {line}"
        with contextlib.redirect_stdout(None):
            typer.main.get_command(app)(arguments, standalone_mode=False)


_SYBIL = Sybil(parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", _run)])


def _blocks(page: Path) -> list[Example]:
    return list(_SYBIL.parse(page).examples())


_RUNNING = [page for page in PAGES if _blocks(page)]


@pytest.fixture(scope="module")
def _moments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "standard", dict(_MOMENT))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _moments: None) -> Path:
    """What a reader has who followed the README so far."""
    folder = tmp_path_factory.mktemp("documents")
    tables = folder / "my-folder"
    tables.mkdir()
    for name, parts in simulate.tables(_DATA).items():
        parts[0].rows.write_csv(tables / f"{name}.csv")
    twofold.train(
        twofold.load_dataset(tables), out=folder / "out" / "study" / "models" / "joint" / "seed-0"
    )
    return folder


@pytest.fixture
def _served(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    """A client of the documents asks the small model, whatever its address."""
    from twofold.serving import client
    from twofold.serving.app_from_folders import app_from_folders
    from twofold.serving.in_process_transport import InProcessTransport

    def connected(*arguments: Any, **options: Any) -> Any:
        folder = made / "out" / "study" / "models" / "joint" / "seed-0"
        return plain(
            *arguments, transport=InProcessTransport(app_from_folders({"model": folder})), **options
        )

    plain = client.Client
    monkeypatch.setattr(client, "Client", connected)


@pytest.mark.usefixtures("_served")
@pytest.mark.parametrize("page", _RUNNING, ids=name_of)
def test_the_blocks_of_a_page_run(
    page: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my-folder", "out"):
        (tmp_path / name).symlink_to(made / name)
    monkeypatch.chdir(tmp_path)
    for block in _blocks(page):
        block.evaluate()
