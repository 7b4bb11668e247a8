"""The application on a socket: signals, and an end at which nobody is cut off."""

import asyncio
import logging
import signal
import socket
from functools import partial

import uvicorn
from fastapi import FastAPI

from twofold.records import InputError
from twofold.serving.engines.reload import Reloader, ReloadingError
from twofold.serving.http.connection import PatientProtocol

log = logging.getLogger(__name__)

_GRACE = 25
"""Seconds in which requests may finish after a signal to stop: longer than any may take, which is
a body's time and an answer's."""


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP reads the model folders again.

    Args:
        app: of `create_app`.
        host: the address to bind.
        port: 0 for any that is free.

    Raises:
        InputError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host {host} --port {port} cannot be bound: {reason}; give another"
        ) from None
    config = uvicorn.Config(
        app,
        http=partial(PatientProtocol, door=app.state.door),  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    name = f"[{host}]" if ":" in host else host
    log.info("serving at http://%s:%d", name, bound.getsockname()[1])
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(uvicorn.Server(config), bound, app.state.reloader))
    except KeyboardInterrupt:
        log.info("stopped")


async def _serve(server: uvicorn.Server, bound: socket.socket, reloader: Reloader) -> None:
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = asyncio.create_task(_reload(reloader))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    await server.serve([bound])


async def _reload(reloader: Reloader) -> None:
    try:
        await reloader.reload()
        log.info("the model folders were read again and are served")
    except (InputError, ReloadingError) as error:
        log.error("%s", error)
