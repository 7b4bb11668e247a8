"""A client of a running server; its answers are the models of `schemas`.

Invariant: a request is sent again only where the server refused it and said when to come back,
and never before then.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
import pydantic

from twofold.serving.api import schemas

A = TypeVar("A", bound=pydantic.BaseModel)

_BUSY = (429, 503)


class Options(TypedDict, total=False):
    """Which items may come back, and how many: see `schemas.Choice`."""

    k: int
    exclude: Sequence[str]
    filters: Mapping[str, str | Sequence[str]]
    seen: Literal["exclude", "keep"]
    arm: str


class ServerError(Exception):
    """The server did not give what it was asked for.

    Attributes:
        status: of HTTP; None where no answer came.
        detail: what went wrong, in a sentence.
    """

    def __init__(self, asked: str, status: int | None, detail: str) -> None:
        super().__init__(f"{asked}: {'no answer' if status is None else status}: {detail}")
        self.status = status
        self.detail = detail


class Client:
    """Asks a server; safe to share between threads. A method raises ServerError where there is
    no answer.

    Args:
        url: of the server, such as http://127.0.0.1:8000.
        api_key: where the server asks for one.
        timeout: seconds to wait for an answer.
        tries: how often a busy server is asked, at most.
        longest_wait: seconds; a server that wants more time is not waited for.
        transport: how requests travel, for a proxy or an application in this process.
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
        **options: Unpack[Options],
    ) -> schemas.Answer:
        """Items that come next after a history, or after that of a user whom the model knows."""
        return self._post("/recommend", schemas.Answer, history=history, user_id=user_id, **options)

    def retrieve(
        self,
        query: str | None = None,
        history: Sequence[str] = (),
        **options: Unpack[Options],
    ) -> schemas.Answer:
        """Items for a query, a history, or both."""
        return self._post("/retrieve", schemas.Answer, query=query, history=history, **options)

    def retrieve_batch(self, requests: Sequence[schemas.RetrieveRequest]) -> list[schemas.Answer]:
        """An answer to each request, in their order; their `k` add up to 5,000 at most."""
        bodies = [request.model_dump(exclude_unset=True) for request in requests]
        return self._post("/retrieve/batch", schemas.BatchAnswer, requests=bodies).answers

    def score(
        self,
        candidates: Sequence[str],
        query: str | None = None,
        history: Sequence[str] = (),
        *,
        arm: str | None = None,
    ) -> schemas.Answer:
        """The candidates, best first for a query, a history, or both."""
        body = {"candidates": candidates, "query": query, "history": history, "arm": arm}
        return self._post("/score", schemas.Answer, **body)

    def explain(
        self,
        item_id: str,
        query: str | None = None,
        history: Sequence[str] = (),
        *,
        arm: str | None = None,
    ) -> schemas.Explanation:
        """What of a request carries an item's score."""
        body = {"item_id": item_id, "query": query, "history": history, "arm": arm}
        return self._post("/explain", schemas.Explanation, **body)

    def item(self, item_id: str, *, arm: str | None = None) -> schemas.Item:
        """An item that can be retrieved."""
        return self._get(f"/items/{quote(item_id, safe='')}", schemas.Item, arm=arm)

    def similar(self, item_id: str, k: int = 10, *, arm: str | None = None) -> schemas.Answer:
        """Items that come next after this one alone."""
        return self._get(f"/similar/{quote(item_id, safe='')}", schemas.Answer, k=k, arm=arm)

    def titles(self, text: str = "", k: int = 10, *, arm: str | None = None) -> list[schemas.Item]:
        """Items whose title holds the text, popular ones first."""
        return self._get("/titles", schemas.Items, q=text, k=k, arm=arm).items

    def arms(self) -> list[schemas.Arm]:
        """The served models; the first answers where no arm is asked for."""
        return self._get("/arms", schemas.Arms).arms

    def ready(self) -> bool:
        """Whether every model has answered a warm-up request; False where nobody answers."""
        try:
            self._answer("GET", "/ready", schemas.State, tries=1)
        except ServerError as error:
            if error.status not in (None, 503):
                raise
            return False
        return True

    def add_items(self, items: Sequence[Mapping[str, str]]) -> schemas.CatalogChange:
        """Make items retrievable; each has an item_id, a title, and attributes of the catalog."""
        return self._post("/admin/items", schemas.CatalogChange, items=[dict(i) for i in items])

    def remove_items(self, item_ids: Sequence[str]) -> schemas.CatalogChange:
        """Let items never come back."""
        return self._post("/admin/items/remove", schemas.CatalogChange, item_ids=item_ids)

    def reload(self, folder: str | None = None, *, arm: str | None = None) -> list[schemas.Arm]:
        """Serve a new model folder of the server's, or the present ones again."""
        return self._post("/admin/reload", schemas.Arms, folder=folder, arm=arm).arms

    def _post(self, path: str, answer: type[A], **body: Any) -> A:
        given = {name: value for name, value in body.items() if value is not None}
        return self._answer("POST", path, answer, json=given)

    def _get(self, path: str, answer: type[A], **params: Any) -> A:
        given = {name: value for name, value in params.items() if value is not None}
        return self._answer("GET", path, answer, params=given)

    def _answer(
        self, method: str, path: str, answer: type[A], tries: int | None = None, **sent: Any
    ) -> A:
        asked = f"{method} {str(self._http.base_url).rstrip('/')}{path}"
        response = self._patient(asked, method, path, tries or self._tries, sent)
        if not response.is_success:
            raise ServerError(asked, response.status_code, _detail(response))
        try:
            # A later server may say more than this client knows of.
            return answer.model_validate_json(response.content, extra="ignore")
        except pydantic.ValidationError:
            detail = "this is not an answer of Twofold; give the address of its server"
            raise ServerError(asked, response.status_code, detail) from None

    def _patient(
        self, asked: str, method: str, path: str, tries: int, sent: dict[str, Any]
    ) -> httpx.Response:
        for left in reversed(range(tries)):
            try:
                response = self._http.request(method, path, **sent)
            except httpx.HTTPError as error:
                raise ServerError(asked, None, f"{error or type(error).__name__}") from error
            wait = _retry_after(response)
            if not left or wait is None or wait > self._longest_wait:
                break
            time.sleep(wait)
        return response


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds until a busy server wants to be asked again."""
    if response.status_code not in _BUSY:
        return None
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _detail(response: httpx.Response) -> str:
    """The server's own words, or the status's where something else answered."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(
        f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}".lstrip(": ")
        for one in detail
    )
