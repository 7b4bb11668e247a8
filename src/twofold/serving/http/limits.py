"""What gets in: nothing where too many wait, no large or slow body, nothing that takes too long.

Before anything is parsed, so that a refusal costs next to nothing: a connection of our own server
asks `Door` as soon as it has read a request's head, and any ASGI server meets `Admission`.
"""

import asyncio
import contextlib
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from twofold.serving.engines.batching import Batcher
from twofold.serving.http.errors import problem_body
from twofold.serving.http.metrics import Metrics
from twofold.serving.http.refusals import header, refuse, route_path
from twofold.serving.settings import ServingSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ANSWERS = ("/search", "/recommend", "/retrieve", "/score", "/explain")
_IN_LINE = (*_ANSWERS, "/items/", "/similar/", "/titles")
_FULL = "too many requests are waiting"
_CLOSE = {"Connection": "close"}
_REST = 0.02
"""Seconds between two looks at what arrives, where the line is full and a pass runs."""
_LINGER_BYTES, _LINGER_SECONDS = 16, 2.0
"""Bodies' worth, and time, that are read of a body that was refused already."""


class _BodyTooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


class Door:
    """Whether a request may come in at all, by its path.

    Args:
        batcher: whose line may be full.
        metrics: counts the refusals, which no middleware sees.
    """

    def __init__(self, batcher: Batcher, metrics: Metrics) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._rests = False

    def refusal(self, path: str) -> bytes | None:
        """The whole answer in HTTP/1.1 to one that would wait in a full line, else None."""
        if not (self._batcher.full and path.startswith(_IN_LINE)):
            return None
        self._metrics.refused_at_the_door(429)
        self._rest_soon()
        return _whole_answer(429, _FULL, self._batcher.retry_after)

    def no_room(self) -> bytes:
        """The whole answer to who connects where too many are connected."""
        self._metrics.refused_at_the_door(503)
        return _whole_answer(503, "too many clients are connected", 1, b"connection: close\r\n")

    def _rest_soon(self) -> None:
        """Let more arrive before the next look: on a core shared with the engines each look costs
        them more, in what the core has at hand, than the refusals of it."""
        if not self._rests:
            self._rests = True
            asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        self._rests = False
        if self._batcher.full:
            self._batcher.rest(_REST)


class Admission:
    """Bounds of waiting, size and time.

    Args:
        app: what is protected.
        batcher: whose line may be full.
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
        in_line = route_path(scope).startswith(_IN_LINE)
        if in_line and self._batcher.full:
            await self._busy(send, _FULL)
            return
        try:
            body = await self._body(scope, receive) if scope["method"] == "POST" else b""
        except _GoneError:
            return
        except _BodyTooLargeError:
            most = self._settings.max_body
            detail = f"the body is larger than {most} bytes; send less"
            await refuse(send, 413, detail, _CLOSE, _rest(receive, _LINGER_BYTES * most))
            return
        except TimeoutError:
            seconds = self._settings.seconds
            await refuse(send, 408, f"the body took longer than {seconds:g} s", _CLOSE)
            return
        if in_line:
            await self._answer(scope, body, receive, send)
        else:
            await self._app(scope, _replay(body), send)

    async def _busy(self, send: "Send", detail: str) -> None:
        seconds = self._batcher.retry_after
        headers = {"Retry-After": str(seconds)}
        await refuse(send, 429, _busy(detail, seconds), headers)

    async def _body(self, scope: "Scope", receive: "Receive") -> bytes:
        most = self._settings.max_body
        length = header(scope, b"content-length")
        if length is not None and length.isdigit() and int(length) > most:
            raise _BodyTooLargeError
        parts: list[bytes] = []
        size, more = 0, True
        async with asyncio.timeout(self._settings.seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _GoneError
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise _BodyTooLargeError
                more = message.get("more_body", False)
        return b"".join(parts)

    async def _answer(self, scope: "Scope", body: bytes, receive: "Receive", send: "Send") -> None:
        """Answer in time, or give the place in line away; also where the client has gone."""
        started = False

        async def watched(message: "Message") -> None:
            nonlocal started
            started = True
            await send(message)

        work = asyncio.ensure_future(self._app(scope, _replay(body), watched))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            done, _ = await asyncio.wait(
                (work, gone), timeout=self._settings.seconds, return_when="FIRST_COMPLETED"
            )
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
        elif not done and not started:
            # No fault of the server's, nor of the client's: more was asked of it than it can do.
            await self._busy(send, f"no answer in {self._settings.seconds:g} s")


@lru_cache
def _whole_answer(status: int, detail: str, seconds: int, more: bytes = b"") -> bytes:
    """A refusal, head and body."""
    body = problem_body(_busy(detail, seconds))
    phrase = HTTPStatus(status).phrase.encode()
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nretry-after: %d\r\n%b\r\n%b"
        % (status, phrase, len(body), seconds, more, body)
    )


def _busy(detail: str, seconds: int) -> str:
    return f"{detail}; come back in {seconds} s"


def _replay(body: bytes) -> "Receive":
    """A body that was read already; who asks for more waits for good."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> "Message":
        if not messages:
            await asyncio.Future()
        return messages.pop()

    return receive


async def _gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _rest(receive: "Receive", most: int) -> None:
    """Read on for a while: who still sends would not see the answer, were the connection cut."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body") and most > 0:
                most -= len(message.get("body", b""))
                message = await receive()
