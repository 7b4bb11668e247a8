"""A client of a running server; its answers are the types of `schemas`.

Invariant: a request is sent again only if the server refused it with a time to retry after, and
never before that time.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
import pydantic

from twofold.records import Seen
from twofold.serving.api import schemas

A = TypeVar("A", bound=pydantic.BaseModel)

_BUSY = (429, 503)


class Options(TypedDict, total=False):
    """Which items may be returned, and how many: see `schemas.Choice`."""

    k: int
    exclude: Sequence[str]
    filters: Mapping[str, str | Sequence[str]]
    seen: Seen
    model: str


class TimedOptions(Options, total=False):
    """`Options`, and the times of `schemas.Timed`."""

    time: float
    last_event_time: float


class ServerError(Exception):
    """The server did not answer a request, or refused it.

    Attributes:
        status: HTTP status; None without a response.
        detail: what went wrong, in a sentence.
    """

    def __init__(self, request: str, status: int | None, detail: str) -> None:
        super().__init__(f"{request}: {'no answer' if status is None else status}: {detail}")
        self.status = status
        self.detail = detail


class Client:
    """Sends requests to a server; threads may share it.

    Every method raises ServerError if the server does not answer.

    Args:
        url: address of the server, such as http://127.0.0.1:8000.
        api_key: required if the server has keys.
        timeout: seconds to wait for an answer.
        tries: the largest number of times that a request is sent to a busy server.
        longest_wait: seconds; the client gives up if the server asks for a longer wait.
        transport: replaces the network transport, for a proxy or an application in this process.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        tries: int = 4,
        longest_wait: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout, transport=transport
        )
        self._tries = max(1, tries)
        self._longest_wait = longest_wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def search(self, query: str, **options: Unpack[Options]) -> schemas.Answer:
        """Items for a query."""
        return self._post("/search", schemas.Answer, query=query, **options)

    def recommend(
        self,
        history: Sequence[str] = (),
        *,
        user_id: str | None = None,
        **options: Unpack[TimedOptions],
    ) -> schemas.Answer:
        """Items that come next after a history, or after the stored history of a user."""
        return self._post("/recommend", schemas.Answer, history=history, user_id=user_id, **options)

    def retrieve(
        self,
        query: str | None = None,
        history: Sequence[str] = (),
        **options: Unpack[TimedOptions],
    ) -> schemas.Answer:
        """Items for a query, a history, or both."""
        return self._post("/retrieve", schemas.Answer, query=query, history=history, **options)

    def retrieve_batch(self, requests: Sequence[schemas.RetrieveRequest]) -> list[schemas.Answer]:
        """The answers to several requests, in order; the sum of their `k` is 5,000 or less."""
        bodies = [request.model_dump(exclude_unset=True) for request in requests]
        return self._post("/retrieve/batch", schemas.BatchAnswer, requests=bodies).answers

    def score(
        self,
        candidates: Sequence[str],
        query: str | None = None,
        history: Sequence[str] = (),
        *,
        model: str | None = None,
        time: float | None = None,
        last_event_time: float | None = None,
    ) -> schemas.Answer:
        """The candidates, best first for a query, a history, or both."""
        body = {"candidates": candidates, "query": query, "history": history, "model": model}
        times = {"time": time, "last_event_time": last_event_time}
        return self._post("/score", schemas.Answer, **body, **times)

    def explain(
        self,
        item_id: str,
        query: str | None = None,
        history: Sequence[str] = (),
        *,
        model: str | None = None,
        time: float | None = None,
        last_event_time: float | None = None,
    ) -> schemas.Explanation:
        """How much each part of a request contributes to an item's score."""
        body = {"item_id": item_id, "query": query, "history": history, "model": model}
        times = {"time": time, "last_event_time": last_event_time}
        return self._post("/explain", schemas.Explanation, **body, **times)

    def item(self, item_id: str, *, model: str | None = None) -> schemas.Item:
        """An item that can be retrieved."""
        return self._get(f"/items/{_in_path(item_id)}", schemas.Item, model=model)

    def similar(self, item_id: str, k: int = 10, *, model: str | None = None) -> schemas.Answer:
        """Items recommended for a history of only this item."""
        return self._get(f"/similar/{_in_path(item_id)}", schemas.Answer, k=k, model=model)

    def titles(
        self, text: str = "", k: int = 10, *, model: str | None = None
    ) -> list[schemas.Item]:
        """Items whose title contains the text, popular ones first."""
        return self._get("/titles", schemas.Items, q=text, k=k, model=model).items

    def models(self) -> list[schemas.ServedModel]:
        """The served models; the first is the default."""
        return self._get("/models", schemas.Models).models

    def ready(self) -> bool:
        """Whether every model has answered a warm-up request; False if no server answers."""
        try:
            self._answer("GET", "/ready", schemas.State, tries=1)
        except ServerError as error:
            if error.status not in (None, 503):
                raise
            return False
        return True

    def add_items(self, items: Sequence[Mapping[str, str]]) -> schemas.ChangedCatalog:
        """Make items retrievable; each has an item_id, a title, and attributes of the catalog."""
        return self._post("/admin/items", schemas.ChangedCatalog, items=[dict(i) for i in items])

    def remove_items(self, item_ids: Sequence[str]) -> schemas.ChangedCatalog:
        """Remove items from all answers."""
        return self._post("/admin/items/remove", schemas.ChangedCatalog, item_ids=item_ids)

    def reload(
        self, folder: str | None = None, *, model: str | None = None
    ) -> list[schemas.ServedModel]:
        """Let the server load another model folder, or the present ones again."""
        return self._post("/admin/reload", schemas.Models, folder=folder, model=model).models

    def _post(self, path: str, answer: type[A], **body: Any) -> A:
        given = {name: value for name, value in body.items() if value is not None}
        return self._answer("POST", path, answer, json=given)

    def _get(self, path: str, answer: type[A], **params: Any) -> A:
        given = {name: value for name, value in params.items() if value is not None}
        return self._answer("GET", path, answer, params=given)

    def _answer(
        self, method: str, path: str, answer: type[A], tries: int | None = None, **sent: Any
    ) -> A:
        request = f"{method} {str(self._http.base_url).rstrip('/')}{path}"
        response = self._send(request, method, path, tries or self._tries, sent)
        if not response.is_success:
            raise ServerError(request, response.status_code, _detail(response))
        try:
            # A newer server may send fields that this client does not have.
            return answer.model_validate_json(response.content, extra="ignore")
        except pydantic.ValidationError:
            detail = "this is not an answer of Twofold; give the address of its server"
            raise ServerError(request, response.status_code, detail) from None

    def _send(
        self, request: str, method: str, path: str, tries: int, sent: dict[str, Any]
    ) -> httpx.Response:
        """The response; a request to a busy server is sent up to `tries` times."""
        for left in reversed(range(tries)):
            try:
                response = self._http.request(method, path, **sent)
            except httpx.HTTPError as error:
                raise ServerError(request, None, f"{error or type(error).__name__}") from error
            wait = _retry_after(response)
            if not left or wait is None or wait > self._longest_wait:
                break
            time.sleep(wait)
        return response


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds after which a busy server accepts a retry."""
    if response.status_code not in _BUSY:
        return None
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _detail(response: httpx.Response) -> str:
    """The server's message, or the status phrase if the response is not from this server."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}".lstrip(": ")
        for each in detail
    )


def _in_path(item_id: str) -> str:
    """An item id as the last part of a path; `.` and `..` would name a folder of it."""
    quoted = quote(item_id, safe="")
    return quoted.replace(".", "%2E") if item_id in (".", "..") else quoted
