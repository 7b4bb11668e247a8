"""API keys with their roles and rates; without keys, only clients on this machine are answered."""

import hashlib
import hmac
import ipaddress
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic

from twofold.records import InputError
from twofold.serving.http.problems import send_problem
from twofold.serving.http.scope import header, route_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ADMIN = "twofold.admin"
"""Key in an ASGI scope: whether the client may change the catalog and the models."""
_MIN_KEY_LENGTH = 16
_FORWARDED = (b"forwarded", b"x-forwarded-")
"""Headers that a proxy adds to the request of another client."""
_NO_PROXY = (
    "without keys this server answers only clients on this machine, and a proxy may forward "
    "others; start it with --api-key-file"
)


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key, of which only the SHA-256 is stored.

    Attributes:
        name: the client's name, for messages.
        digest: SHA-256 of the key.
        admin: whether the client may change the catalog and the models.
        per_second: the HTTP requests per second that the client may send; None for no limit.
    """

    name: str
    digest: bytes
    admin: bool = False
    per_second: float | None = None


class _Entry(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = pydantic.Field(min_length=1)
    key: str = pydantic.Field(min_length=_MIN_KEY_LENGTH, pattern=r"^[!-~]+$")
    role: str = pydantic.Field("user", pattern="^(user|admin)$")
    per_second: float | None = pydantic.Field(None, ge=0.001, strict=False, allow_inf_nan=False)


def read_keys(path: Path) -> list[Key]:
    """Read keys from a file: a JSON list of {name, key, role, per_second}, or lines of
    `NAME KEY [user|admin] [REQUESTS_PER_SECOND]`.

    Raises:
        InputError: the file cannot be read, or an entry is invalid; the message contains no key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = json.loads(text) if text.lstrip().startswith("[") else list(_lines(text))
        read = [_Entry.model_validate(entry) for entry in entries]
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {where}: {first['msg']}; an entry is NAME KEY [user|admin] "
            f"[REQUESTS_PER_SECOND], its key of at least {_MIN_KEY_LENGTH} printable characters"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as keys: {error}") from None
    if not read:
        raise InputError(f"{path}: has no key; write a line NAME KEY")
    if len({entry.name for entry in read}) < len(read) or len({e.key for e in read}) < len(read):
        raise InputError(f"{path}: two entries share a name or a key; give each its own")
    return [
        Key(entry.name, _digest(entry.key.encode()), entry.role == "admin", entry.per_second)
        for entry in read
    ]


def keys_for(host: str, api_key_file: Path | None) -> list[Key]:
    """The keys of a file; without a file there are none, and the address must be a loopback
    address.

    Raises:
        InputError: the file has no valid keys, or other machines could reach the address without a
            key.
    """
    if api_key_file is not None:
        return read_keys(api_key_file)
    if is_loopback(host):
        return []
    raise InputError(
        f"--host {host} can be reached from other machines; give --api-key-file, or leave it at "
        f"127.0.0.1"
    )


def _lines(text: str) -> Iterable[dict[str, Any]]:
    names = ("name", "key", "role", "per_second")
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if parts and not line.lstrip().startswith("#"):
            if len(parts) > len(names):
                raise ValueError(f"line {number} has more than {len(names)} parts")
            yield dict(zip(names, parts, strict=False))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is a loopback one."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class _TokenBucket:
    """A rate limit with bursts of up to one second's requests."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._capacity = max(1.0, per_second)
        self._tokens = self._capacity
        self._refilled = time.monotonic()

    def take(self) -> float:
        """Take a token and return 0; without a token, return the seconds until there is one."""
        now = time.monotonic()
        gained = (now - self._refilled) * self._rate
        self._tokens = min(self._capacity, self._tokens + gained)
        self._refilled = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class _Refusal(NamedTuple):
    """The response to a client that is refused.

    Attributes:
        status: the status of HTTP.
        detail: the reason and the remedy.
        headers: further headers.
    """

    status: int
    detail: str
    headers: dict[str, str]


class Access:
    """Middleware that admits clients with a key or, without keys, clients on this machine.

    Args:
        app: the application behind it.
        keys: empty where only this machine can reach the server.
        open_paths: paths that need no key.
    """

    def __init__(self, app: "ASGIApp", keys: Sequence[Key], open_paths: Iterable[str]) -> None:
        self._app = app
        self._keys = list(keys)
        self._open_paths = frozenset(open_paths)
        self._rates = {
            key.name: _TokenBucket(key.per_second) for key in keys if key.per_second is not None
        }

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse_without_key(scope) if self._keys else self._refuse_remote(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await send_problem(send, *refusal)

    def _refuse_without_key(self, scope: "Scope") -> _Refusal | None:
        key = self._key(scope)
        scope[ADMIN] = key is not None and key.admin
        if key is None:
            if route_path(scope) in self._open_paths:
                return None
            detail = "give a valid key: Authorization: Bearer KEY, or X-API-Key: KEY"
            return _Refusal(401, detail, {"WWW-Authenticate": "Bearer"})
        wait = self._rates[key.name].take() if key.name in self._rates else 0.0
        if wait:
            seconds = math.ceil(wait)
            detail = f"key '{key.name}' exceeds its rate limit; retry in {seconds} s"
            return _Refusal(429, detail, {"Retry-After": str(seconds)})
        return None

    def _key(self, scope: "Scope") -> Key | None:
        """The client's key; it is compared with all keys, against timing attacks."""
        sent = header(scope, b"x-api-key")
        scheme, _, value = (header(scope, b"authorization") or b"").partition(b" ")
        if sent is None and scheme.lower() == b"bearer":
            sent = value.strip()
        digest = _digest(sent or b"")
        matching = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return matching[0] if matching else None

    def _refuse_remote(self, scope: "Scope") -> _Refusal | None:
        """Why a client is refused if there are no keys; None for a client on this machine.

        A web page in a browser on this machine must not use the server, neither by a host name that
        resolves to this machine (DNS rebinding) nor by a form that posts to it (CSRF). A client on
        another machine must not use it through a proxy.
        """
        client = scope.get("client")
        if client is not None and not is_loopback(client[0]):
            return _Refusal(
                403, "without keys this server answers only clients on this machine", {}
            )
        if any(name.startswith(_FORWARDED) for name, _ in scope["headers"]):
            return _Refusal(403, _NO_PROXY, {})
        scope[ADMIN] = True
        host = (header(scope, b"host") or b"").decode("latin-1")
        if not is_loopback(_name(host)):
            return _Refusal(
                403, "without keys this server answers only to the host name localhost", {}
            )
        origin = header(scope, b"origin")
        own_origin = f"{scope.get('scheme', 'http')}://{host}"
        safe = scope["method"] in ("GET", "HEAD", "OPTIONS")
        same_origin = origin is None or origin.decode("latin-1").lower() == own_origin.lower()
        if not (safe or same_origin):
            return _Refusal(
                403, "without keys this server takes no requests from other web pages", {}
            )
        return None


def _name(host: str) -> str:
    """The host name of a Host header, without the port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
