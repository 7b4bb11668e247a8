"""Refusals and errors: each is a `Problem` in JSON, so that clients read a single format."""

import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from twofold.records import InputError
from twofold.serving.engines.batching import OverloadedError
from twofold.serving.engines.reload import ReloadingError

if TYPE_CHECKING:
    from starlette.types import Send


_UNREADABLE = (
    "the body is not readable as JSON in UTF-8: it is compressed, in another encoding, nested too "
    "deeply, or has a number with too many digits; correct it, and send it as it is"
)


def problem_body(detail: Any) -> bytes:
    """The body in JSON, escaped to ASCII: text that a client sent may not be encodable in UTF-8."""
    return json.dumps({"detail": detail}, default=str).encode()


async def send_problem(
    send: "Send",
    status: int,
    detail: str,
    headers: dict[str, str],
    before_end: Awaitable[None] | None = None,
) -> None:
    """Send a response from middleware, however much of the request was read.

    Args:
        before_end: awaited after the body is sent, before the connection may close.
    """
    body = problem_body(detail)
    sent = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    raw = [(key.lower().encode(), value.encode()) for key, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if before_end is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await before_end
        body = b""
    await send({"type": "http.response.body", "body": body})


def add_problem_handlers(app: FastAPI) -> None:
    """Convert exceptions into responses with a message, never with a traceback."""

    @app.exception_handler(InputError)
    async def bad_input(_: Request, error: InputError) -> Response:
        return _problem(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        sent = request.headers.get("content-type", "")
        return _problem(422, [_described(each, sent) for each in error.errors()])

    @app.exception_handler(OverloadedError)
    async def overloaded(_: Request, error: OverloadedError) -> Response:
        return _problem(429, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(ReloadingError)
    async def reloading(_: Request, error: ReloadingError) -> Response:
        return _problem(409, str(error))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        if error.status_code == 400 and error.__cause__ is not None:  # FastAPI names no reason
            return _problem(400, _UNREADABLE)
        return _problem(error.status_code, error.detail, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return _problem(500, "the server failed on this request; its log says why")


def _problem(status: int, detail: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(problem_body(detail), status, headers, media_type="application/json")


def _described(error: dict[str, Any], content_type: str) -> dict[str, Any]:
    """A validation error without the input itself, which may be large.

    A body whose content type is not JSON, as `curl -d` sends it, is read as text.
    """
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "model_attributes_type" and "json" not in content_type.lower():
        message = f"the content type is '{content_type}'; send content-type: application/json"
    return {"loc": error["loc"], "msg": message, "type": error["type"]}
