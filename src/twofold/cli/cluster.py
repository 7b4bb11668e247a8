"""`twofold cluster serve`."""

from typing import Annotated

import typer

from twofold.cli.options import Device, Model
from twofold.cli.serve import Host, KeyFile, State

cluster = typer.Typer(help="`twofold serve` on Ray Serve.", rich_markup_mode=None)


@cluster.callback()
def _jobs() -> None:
    """Keep `serve` a subcommand while it is the only one."""


@cluster.command()
def serve(
    model: Model,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="Number of processes that answer.")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Address of a running cluster, or auto: deploy there and return. Without it, a "
            "cluster on this machine runs until interrupted.",
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port of the HTTP proxies.")
    ] = 8000,
    state: State = None,
    api_key_file: KeyFile = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=1, help="CPU threads of a replica, which reserves as many cores."
        ),
    ] = 1,
    device: Device = "cpu",
) -> None:
    """Serve a model folder by Ray Serve; every node needs the folder at the same path."""
    from twofold.cluster.serve import serve_on_ray
    from twofold.serving.http.keys import keys_for

    serve_on_ray(
        model,
        replicas=replicas,
        address=address,
        host=host,
        port=port,
        state=state,
        keys=keys_for(host, api_key_file),
        threads=threads,
        device=device,
    )
