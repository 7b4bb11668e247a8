"""Runs the application with uvicorn: limits, signals, and a graceful shutdown.

Only uvicorn's public settings are used. docs/project/decisions/0021 explains which part enforces
which limit.
"""

import asyncio
import logging
import signal
import socket

import uvicorn
from fastapi import FastAPI

from twofold.records import InputError
from twofold.serving.engines.reload import Reloader, ReloadingError
from twofold.serving.http.keys import is_loopback

_log = logging.getLogger(__name__)

_STOP_SECONDS = 25
"""The seconds for requests to finish after a stop signal: more than the limits of a body and an
answer together.
"""


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP loads the model folders again.

    Args:
        app: from `create_app`.
        host: the address to bind.
        port: 0 for any free port.

    Raises:
        InputError: the address cannot be bound.
    """
    bound = _bind(host, port)
    config = uvicorn.Config(
        app,
        # httptools takes half the time of h11 but does not limit the size of headers; h11 does,
        # to 64 KiB. Clients on this machine are trusted, or use a proxy.
        http="httptools" if is_loopback(host) else "h11",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    name = f"[{host}]" if ":" in host else host
    _log.info("serving at http://%s:%d", name, bound.getsockname()[1])
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(uvicorn.Server(config), bound, app.state.reloader))
    except KeyboardInterrupt:
        _log.info("stopped")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host {host} --port {port} cannot be bound: {reason}; give another"
        ) from None


async def _serve(server: uvicorn.Server, bound: socket.socket, reloader: Reloader) -> None:
    reloads: set[asyncio.Task[None]] = set()

    def reload_soon() -> None:
        task = asyncio.create_task(_reload(reloader))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_soon)
    await server.serve([bound])


async def _reload(reloader: Reloader) -> None:
    try:
        await reloader.reload()
        _log.info("the model folders were reloaded")
    except (InputError, ReloadingError) as error:
        _log.error("%s", error)
