"""The routes that answer: search, recommendation, both at once, scores, reasons, items."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Response

from twofold.records import Request
from twofold.serving.api import schemas
from twofold.serving.engines.batching import Batcher, Version, Wanted
from twofold.serving.engines.engine import Engine, Found

_request_ids = itertools.count()
Refusals = dict[int | str, dict[str, Any]]
REFUSALS: Refusals = {
    401: {"model": schemas.Problem, "description": "No valid key"},
    403: {"model": schemas.Problem, "description": "Not allowed from here, or with this key"},
    408: {"model": schemas.Problem, "description": "The body did not arrive in time"},
    413: {"model": schemas.Problem, "description": "The body is too large"},
    422: {"model": schemas.Problem, "description": "The request cannot be answered as it is"},
    429: {"model": schemas.Problem, "description": "Too many requests; see Retry-After"},
}
UNKNOWN: Refusals = {404: {"model": schemas.Problem, "description": "No such item"}}

ItemPath = Annotated[str, Path(min_length=1, max_length=512, examples=["260"])]
ArmQuery = Annotated[
    schemas.ArmName | None, Query(description="one of the served models; the first by default")
]
Asks = schemas.SearchRequest | schemas.RecommendRequest | schemas.RetrieveRequest


def answer_routes(batcher: Batcher) -> APIRouter:
    """Routes that find, score and explain items."""
    routes = APIRouter(tags=["answers"], responses=REFUSALS)

    async def answered(body: Asks) -> schemas.Answer:
        [(version, found)] = await batcher.answer([_wanted(batcher, body)])
        return _answer(version, found)

    @routes.post("/search")
    async def search(body: schemas.SearchRequest) -> schemas.Answer:
        """Items for a query."""
        return await answered(body)

    @routes.post("/recommend")
    async def recommend(body: schemas.RecommendRequest) -> schemas.Answer:
        """Items that come next after a history."""
        return await answered(body)

    @routes.post("/retrieve")
    async def retrieve(body: schemas.RetrieveRequest) -> schemas.Answer:
        """Items for a query, a history, or both: search that knows what one likes."""
        return await answered(body)

    @routes.post("/retrieve/batch", response_model=schemas.BatchAnswer)
    async def retrieve_batch(body: schemas.BatchRequest) -> Response:
        """Several requests at once; if one cannot be answered, none is."""
        wanted = [_wanted(batcher, each) for each in body.requests]
        found = await batcher.answer(wanted)
        # Not in the event loop, where everybody would wait for thousands of items.
        content = await asyncio.to_thread(_batch_content, found)
        return Response(content, media_type="application/json")

    @routes.post("/score")
    async def score(body: schemas.ScoreRequest) -> schemas.Answer:
        """The candidates, best first, by the same weights that retrieve."""
        request = _request(body.query, body.history)
        version, found = await batcher.call(
            batcher.arm(body.arm), lambda engine: engine.score(request, body.candidates)
        )
        return _answer(version, found)

    @routes.post("/explain")
    async def explain(body: schemas.ExplainRequest) -> schemas.Explanation:
        """What of the request carries an item's score."""
        request = _request(body.query, body.history)
        version, (score, parts) = await batcher.call(
            batcher.arm(body.arm), lambda engine: _explained(engine, request, body.item_id)
        )
        return schemas.Explanation(
            **_served(version), item_id=body.item_id, score=score, contributions=parts
        )

    return routes


def item_routes(batcher: Batcher) -> APIRouter:
    """Routes that look at the catalog."""
    routes = APIRouter(tags=["items"], responses=REFUSALS)

    async def found_item(item_id: str, arm: str) -> Found:
        _, found = await batcher.call(arm, lambda engine: engine.item(item_id))
        if found is None:
            raise HTTPException(404, f"item '{item_id}' is not in the catalog")
        return found

    @routes.get("/items/{item_id:path}", responses=UNKNOWN)
    async def item(item_id: ItemPath, arm: ArmQuery = None) -> schemas.Item:
        """An item that can be retrieved."""
        return _item(await found_item(item_id, batcher.arm(arm)))

    @routes.get("/similar/{item_id:path}", responses=UNKNOWN)
    async def similar(
        item_id: ItemPath,
        k: Annotated[int, Query(ge=1, le=schemas.MOST_ITEMS)] = 10,
        arm: ArmQuery = None,
    ) -> schemas.Answer:
        """Items that come next after this one alone."""
        await found_item(item_id, batcher.arm(arm))
        body = schemas.RecommendRequest(history=[item_id], k=k, seen="exclude", arm=arm)
        [(version, found)] = await batcher.answer([_wanted(batcher, body)])
        return _answer(version, found)

    @routes.get("/titles")
    async def titles(
        q: Annotated[str, Query(max_length=200, description="a part of a title")] = "",
        k: Annotated[int, Query(ge=1, le=100)] = 10,
        arm: ArmQuery = None,
    ) -> schemas.Items:
        """Items whose title holds the text, popular ones first: to pick a history from."""
        _, found = await batcher.call(batcher.arm(arm), lambda engine: engine.find_titles(q, k))
        return schemas.Items(items=[_item(each) for each in found])

    return routes


def _wanted(batcher: Batcher, body: Asks) -> Wanted:
    query = None if isinstance(body, schemas.RecommendRequest) else body.query
    return Wanted(
        batcher.arm(body.arm), body.k, query is not None, lambda engine: _asked(engine, body)
    )


def _asked(engine: Engine, body: Asks) -> Request:
    """The request as the engine sees it; InputError where it cannot answer it."""
    query = None if isinstance(body, schemas.RecommendRequest) else body.query
    history: tuple[str, ...] = ()
    if isinstance(body, schemas.RecommendRequest) and body.user_id is not None:
        history = engine.history_of(body.user_id)
    elif not isinstance(body, schemas.SearchRequest):
        history = tuple(body.history)
    request = _request(query, history, body)
    engine.check(request)
    seen = body.seen
    if seen is None:
        seen = "exclude" if query is None and engine.excludes_seen(request) else "keep"
    return _request(query, history, body, history) if seen == "exclude" else request


def _request(
    query: str | None,
    history: "list[str] | tuple[str, ...]",
    choice: schemas.Choice | None = None,
    seen: tuple[str, ...] = (),
) -> Request:
    exclude = frozenset(choice.exclude if choice else ()) | frozenset(seen)
    where = tuple(
        (attribute, frozenset([values] if isinstance(values, str) else values))
        for attribute, values in (choice.filters if choice else {}).items()
    )
    return Request(str(next(_request_ids)), query, tuple(history), exclude, where=where)


def _explained(
    engine: Engine, request: Request, item_id: str
) -> tuple[float, list[schemas.Contribution]]:
    score, parts = engine.explain(request, item_id)
    contributions = []
    for kind, value, part in parts:
        item = engine.item(value) if kind == "history" else None
        title = item.title if item else value
        contributions.append(
            schemas.Contribution.model_validate(
                {"kind": kind, "value": value, "title": title, "score": part}
            )
        )
    return score, contributions


def _served(version: Version) -> dict[str, str]:
    return {
        "arm": version.arm,
        "model_version": version.model_version,
        "catalog_version": version.catalog_version,
    }


def _item(found: Found) -> schemas.Item:
    return schemas.Item(item_id=found.item_id, title=found.title, attributes=dict(found.attributes))


def _batch_content(found: Sequence[tuple[Version, list[Found]]]) -> str:
    answers = [_answer(*each) for each in found]
    return schemas.BatchAnswer(answers=answers).model_dump_json()


def _answer(version: Version, found: list[Found]) -> schemas.Answer:
    items = [
        schemas.RankedItem(
            item_id=each.item_id,
            title=each.title,
            attributes=dict(each.attributes),
            rank=rank,
            score=each.score,
        )
        for rank, each in enumerate(found, start=1)
    ]
    return schemas.Answer(**_served(version), items=items)
