"""`twofold serve`."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from twofold.cli.options import Device, Threads, settle_threads
from twofold.records import InputError

_ARMS = ("joint", "search", "recommendation")
_GARBAGE = (20_000, 20, 20)
"""Allocations, and collections of a younger generation, between collections: at Python's own rate
a fifteenth of the event loop's time went into them."""

Host = Annotated[str, typer.Option("--host", help="The address to bind.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")]
State = Annotated[
    Path | None,
    typer.Option(
        "--state", help="A folder to keep changes of the catalog in; without it, there are none."
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="Lines of NAME KEY [user|admin] [REQUESTS_PER_SECOND], or a JSON list of them; "
        "without it only this machine is answered.",
    ),
]


def serve(
    model: Annotated[Path | None, typer.Argument(help="A model folder.")] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", help="A study's folder instead: its models side by side."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    state: State = None,
    api_key_file: KeyFile = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, help="Requests of one pass, at most.")
    ] = 32,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=1, help="Requests that may wait; more get 429.")
    ] = 64,
    gather_ms: Annotated[
        float, typer.Option("--gather-ms", min=0, help="How long an idle server waits for company.")
    ] = 1.0,
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Serve a model folder: an API, and a page at /."""
    from twofold.serving.http.keys import keys_for
    from twofold.serving.http.memory import keep_freed_memory

    folders = _folders(model, study)
    keys = keys_for(host, api_key_file)
    settle_threads(threads)
    keep_freed_memory()
    gc.disable()  # a fifth of the start would go into looking for garbage among what stays
    from twofold.serving.folders import app_of_folders
    from twofold.serving.http.server import run
    from twofold.serving.settings import ServingSettings

    settings = ServingSettings(max_batch, max_waiting, gather_ms)
    app = app_of_folders(folders, settings, state=state, keys=keys, device=device)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    gc.enable()
    run(app, host, port)


def _folders(model: Path | None, study: Path | None) -> dict[str, Path]:
    """Model folders by the names of their arms."""
    if (model is None) == (study is None):
        raise InputError("serve: give either a model folder or --study DIR")
    if model is not None:
        return {model.resolve().name: model}
    assert study is not None
    folders = {arm: study / "models" / arm / "seed-0" for arm in _ARMS}
    found = {arm: folder for arm, folder in folders.items() if folder.is_dir()}
    if not found:
        raise InputError(f"{study}: holds no models/ARM/seed-0; give the folder of a study")
    return found
