"""Routes for the page: one for each file of this folder."""

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

_FOLDER = Path(__file__).parent
_SHOWN = (".css", ".html", ".js", ".svg")
_HEADERS = {
    # A browser revalidates each time, and gets 304 if nothing changed.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page_routes() -> APIRouter:
    """`/` is `index.html`; the other files are next to it by their names."""
    routes = APIRouter(include_in_schema=False)
    for path, file in page_files().items():
        routes.add_api_route(path, _served(file), methods=["GET", "HEAD"])
    return routes


def page_files() -> dict[str, Path]:
    """The files of the page, by their paths on the server."""
    files = sorted(file for file in _FOLDER.glob("*.*") if file.suffix in _SHOWN)
    return {"/" if file.name == "index.html" else f"/{file.name}": file for file in files}


def _served(file: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise HTTPException(404, "Not Found") from None
        headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_media_type(file), headers=headers)

    return serve


def _media_type(file: Path) -> str:
    types = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
    guessed = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return types.get(file.suffix, guessed)
