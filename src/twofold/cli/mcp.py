"""`twofold mcp`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.cli.options import Threads, set_threads

if TYPE_CHECKING:
    from twofold.serving.client import Client

KEY = "TWOFOLD_API_KEY"


def mcp(
    model_or_url: Annotated[
        str, typer.Argument(help="A model folder, or the address of a server.")
    ],
    threads: Threads = None,
) -> None:
    """Offer search and recommendation as MCP tools over stdio.

    The environment variable TWOFOLD_API_KEY holds the key for a server that needs one.
    """
    set_threads(threads)
    from twofold.serving.mcp import create_mcp

    with _client(model_or_url) as client:
        create_mcp(client).run()


def _client(served: str) -> "Client":
    from twofold.serving.client import Client

    if served.startswith(("http://", "https://")):
        return Client(served, os.environ.get(KEY))
    from twofold.serving.http.process import loading_models

    with loading_models():
        from twofold.serving.app_from_folders import app_from_folders
        from twofold.serving.in_process_transport import InProcessTransport

        app = app_from_folders({Path(served).resolve().name: Path(served)}, reloads=False)
    return Client("http://localhost", transport=InProcessTransport(app))
