"""Reads ASGI scopes, for middleware that runs before routing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def route_path(scope: "Scope") -> str:
    """The path relative to the mount point of the application."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def header(scope: "Scope", name: bytes) -> bytes | None:
    """The value of the first header of this name, which is in lower case."""
    value: bytes | None = next((value for key, value in scope["headers"] if key == name), None)
    return value
