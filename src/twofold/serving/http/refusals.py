"""What middleware reads of a request and answers, below the level of routes."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from twofold.serving.http.errors import problem_body

if TYPE_CHECKING:
    from starlette.types import Scope, Send


def route_path(scope: "Scope") -> str:
    """The path below where the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def header(scope: "Scope", name: bytes) -> bytes | None:
    """The first header of this name, in lower case."""
    found: bytes | None = next((value for key, value in scope["headers"] if key == name), None)
    return found


async def refuse(
    send: "Send",
    status: int,
    detail: str,
    headers: dict[str, str],
    before_end: Awaitable[None] | None = None,
) -> None:
    """Answer with a problem, whatever of the request was read.

    Args:
        before_end: awaited when all was sent, before the connection may close.
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
