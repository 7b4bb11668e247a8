"""`twofold serve`."""

from pathlib import Path
from typing import Annotated

import typer

from twofold.cli.options import Device, Threads, set_threads
from twofold.records import InputError

_ARMS = ("joint", "search", "recommendation")

Host = Annotated[str, typer.Option("--host", help="Address to bind.")]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port to bind; 0 for any free port.")
]
State = Annotated[
    Path | None,
    typer.Option(
        "--state", help="Folder for catalog changes; without it, the catalog cannot change."
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File with lines NAME KEY [user|admin] [REQUESTS_PER_SECOND], or a JSON list; without "
        "it, only clients on this machine are answered.",
    ),
]


def serve(
    model: Annotated[Path | None, typer.Argument(help="A model folder.")] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", help="Folder of a study, to serve the models of its first seed."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    state: State = None,
    api_key_file: KeyFile = None,
    max_batch_size: Annotated[
        int,
        typer.Option("--max-batch-size", min=1, help="Most requests that are answered together."),
    ] = 32,
    max_queue_size: Annotated[
        int,
        typer.Option("--max-queue-size", min=1, help="Most queued requests; further ones get 429."),
    ] = 64,
    batch_window_ms: Annotated[
        float,
        typer.Option(
            "--batch-window-ms",
            min=0,
            help="Time for which an idle server collects requests into a batch.",
        ),
    ] = 1.0,
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Serve a model folder: an API, and a page at /."""
    from twofold.serving.http.keys import keys_for
    from twofold.serving.http.process import loading_models

    folders = _folders(model, study)
    keys = keys_for(host, api_key_file)
    set_threads(threads)
    with loading_models():
        from twofold.serving.app_from_folders import app_from_folders
        from twofold.serving.http.server import run
        from twofold.serving.settings import ServingSettings

        settings = ServingSettings(max_batch_size, max_queue_size, batch_window_ms)
        app = app_from_folders(folders, settings, state=state, keys=keys, device=device)
    run(app, host, port)


def _folders(model: Path | None, study: Path | None) -> dict[str, Path]:
    """Model folders by the names under which they are served."""
    if model is not None and study is None:
        return {model.resolve().name: model}
    if model is not None or study is None:
        raise InputError("serve: give either a model folder or --study DIR")
    from twofold.studies.folder import StudyFolder

    folders = {arm: StudyFolder(study).model(arm, 0) for arm in _ARMS}
    existing = {arm: folder for arm, folder in folders.items() if folder.is_dir()}
    if not existing:
        raise InputError(f"{study}: has no models/ARM/seed-0; give the folder of a study")
    return existing
