"""`twofold mcp`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.cli.options import Threads, settle_threads

if TYPE_CHECKING:
    from twofold.serving.client import Client

KEY = "TWOFOLD_API_KEY"


def mcp(
    model_or_url: Annotated[str, typer.Argument(help="A model folder, or a server's address.")],
    threads: Threads = None,
) -> None:
    """Offer search and recommendation as MCP tools over stdio.

    A server that asks for a key gets the one in the environment variable TWOFOLD_API_KEY.
    """
    settle_threads(threads)
    from twofold.serving.mcp import create_mcp

    with _client(model_or_url) as client:
        create_mcp(client).run()


def _client(served: str) -> "Client":
    from twofold.serving.client import Client

    if served.startswith(("http://", "https://")):
        return Client(served, os.environ.get(KEY))
    from twofold.serving.folders import app_of_folders
    from twofold.serving.in_process import InProcess

    app = app_of_folders({Path(served).resolve().name: Path(served)}, reloads=False)
    return Client("http://localhost", transport=InProcess(app))
