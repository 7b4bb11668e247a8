"""Limits of a request, in one ASGI middleware: load shedding, size of the body, and time.

It handles a request before anything is parsed, so that a refusal is cheap, and uses only the ASGI
interface, so that any server can run the application. It cannot limit what happens before a request
arrives (slow headers, connections without a request) or after the answer (clients that do not
read): uvicorn's settings in `server` and a proxy do, see docs/guides/operate.md.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from twofold.serving.engines.batching import Batcher, OverloadedError
from twofold.serving.http.problems import send_problem
from twofold.serving.http.scope import header, route_path
from twofold.serving.settings import ServingSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_QUEUED_ROUTES = (
    "/search",
    "/recommend",
    "/retrieve",
    "/score",
    "/explain",
    "/items/",
    "/similar/",
    "/titles",
)
"""The prefixes of the routes whose requests are queued."""
_CLOSE = {"Connection": "close"}
_DISCARD_BODIES, _DISCARD_SECONDS = 16, 2.0
"""A refused body is still read, up to this many times the size limit, and for this many seconds."""


class _BodyTooLargeError(Exception):
    """The body is larger than `max_body_bytes`."""


class _ClientLeftError(Exception):
    """The client closed the connection."""


class Limits:
    """Refuses requests that exceed the limits.

    Args:
        app: the wrapped application.
        batcher: the batcher whose queue may be full.
        settings: limits.
    """

    def __init__(self, app: "ASGIApp", batcher: Batcher, settings: ServingSettings) -> None:
        self._app = app
        self._batcher = batcher
        self._settings = settings

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_queued = route_path(scope).startswith(_QUEUED_ROUTES)
        if is_queued and self._batcher.is_full:
            overloaded = OverloadedError(self._batcher.retry_after)
            await _send_busy(send, str(overloaded), overloaded.retry_after)
            return
        try:
            body = await self._body(scope, receive) if scope["method"] == "POST" else b""
        except _ClientLeftError:
            return
        except _BodyTooLargeError:
            limit = self._settings.max_body_bytes
            detail = f"the body is larger than {limit} bytes; send less"
            rest = _discard(receive, _DISCARD_BODIES * limit)
            await send_problem(send, 413, detail, _CLOSE, rest)
            return
        except TimeoutError:
            detail = f"the body took longer than {self._settings.timeout_seconds:g} s"
            await send_problem(send, 408, detail, _CLOSE)
            return
        if is_queued:
            await self._answer_in_time(scope, body, receive, send)
        else:
            await self._app(scope, _replay(body), send)

    async def _body(self, scope: "Scope", receive: "Receive") -> bytes:
        limit = self._settings.max_body_bytes
        length = header(scope, b"content-length")
        if length is not None and length.isdigit() and int(length) > limit:
            raise _BodyTooLargeError
        parts: list[bytes] = []
        size, more = 0, True
        async with asyncio.timeout(self._settings.timeout_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientLeftError
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise _BodyTooLargeError
                more = message.get("more_body", False)
        return b"".join(parts)

    async def _answer_in_time(
        self, scope: "Scope", body: bytes, receive: "Receive", send: "Send"
    ) -> None:
        """Answer the request, or remove it from the queue after the timeout or when the client
        disconnects.
        """
        started = False

        async def observed_send(message: "Message") -> None:
            nonlocal started
            started = True
            await send(message)

        answering = asyncio.ensure_future(self._app(scope, _replay(body), observed_send))
        leaving = asyncio.ensure_future(_client_leaves(receive))
        seconds = self._settings.timeout_seconds
        try:
            done, _ = await asyncio.wait(
                (answering, leaving), timeout=seconds, return_when="FIRST_COMPLETED"
            )
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
                await asyncio.wait((answering,))
        if not answering.cancelled():
            answering.result()
        elif not done and not started:
            # 429 and not 503: the server works, but has more requests than it can answer.
            retry_after = self._batcher.retry_after
            detail = f"no answer in {seconds:g} s; retry in {retry_after} s"
            await _send_busy(send, detail, retry_after)


async def _send_busy(send: "Send", detail: str, retry_after: int) -> None:
    await send_problem(send, 429, detail, {"Retry-After": str(retry_after)})


def _replay(body: bytes) -> "Receive":
    """A `receive` function for a body that was read already; a second call waits forever."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> "Message":
        if not messages:
            await asyncio.Future()
        return messages.pop()

    return receive


async def _client_leaves(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _discard(receive: "Receive", limit: int) -> None:
    """Read more of a refused body for a while.

    A client that is still sending would not see the answer if the connection were closed.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body") and limit > 0:
                limit -= len(message.get("body", b""))
                message = await receive()
