"""Refusals: every one a `Problem` in JSON, so that a client reads one form."""

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from twofold.records import InputError
from twofold.serving.engines.batching import OverloadedError
from twofold.serving.engines.reload import ReloadingError


def problem(status: int, detail: Any, headers: dict[str, str] | None = None) -> Response:
    """A refusal; escaped to ASCII, as what a client sent may not be encodable."""
    return Response(problem_body(detail), status, headers, media_type="application/json")


def problem_body(detail: Any) -> bytes:
    """The body of a refusal, in JSON."""
    return json.dumps({"detail": detail}, default=str).encode()


def add_problems(app: FastAPI) -> None:
    """Say what went wrong, never how the code stood."""

    @app.exception_handler(InputError)
    async def bad_input(_: Request, error: InputError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return problem(422, [_told(one) for one in error.errors()])

    @app.exception_handler(OverloadedError)
    async def overloaded(_: Request, error: OverloadedError) -> Response:
        return problem(429, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(ReloadingError)
    async def busy(_: Request, error: ReloadingError) -> Response:
        return problem(409, str(error))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, error.detail, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        return problem(500, "the server failed on this request; its log says why")


def _told(error: dict[str, Any]) -> dict[str, Any]:
    """What is wrong with a field; without the input itself, which may be large."""
    words = error["msg"].removeprefix("Value error, ")
    return {"loc": error["loc"], "msg": words, "type": error["type"]}
