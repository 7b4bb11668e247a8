"""Routes that answer requests: search, recommendation, both, scores, explanations."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from twofold.records import Request, where_of
from twofold.serving.api import schemas
from twofold.serving.engines.batching import Answered, Batcher, QueuedRequest
from twofold.serving.engines.engine import Engine

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
ItemsRequest = schemas.SearchRequest | schemas.RecommendRequest | schemas.RetrieveRequest


def _refuse_parameters(_: Annotated[schemas.NoParameters, Query()]) -> None:
    """Refuse `?k=3`, which would be ignored: such a setting is a field of the body."""


NO_PARAMETERS = Depends(_refuse_parameters)


def answer_routes(batcher: Batcher) -> APIRouter:
    """Routes that retrieve, score and explain items."""
    routes = APIRouter(tags=["answers"], responses=REFUSALS, dependencies=[NO_PARAMETERS])

    @routes.post("/search")
    async def search(body: schemas.SearchRequest) -> schemas.Answer:
        """Items for a query."""
        return await answer(batcher, body)

    @routes.post("/recommend")
    async def recommend(body: schemas.RecommendRequest) -> schemas.Answer:
        """Items that come next after a history."""
        return await answer(batcher, body)

    @routes.post("/retrieve")
    async def retrieve(body: schemas.RetrieveRequest) -> schemas.Answer:
        """Items for a query, a history, or both: personal search."""
        return await answer(batcher, body)

    @routes.post("/retrieve/batch", response_model=schemas.BatchAnswer)
    async def retrieve_batch(body: schemas.BatchRequest) -> Response:
        """Several requests at once; if one cannot be answered, none is."""
        answered = await batcher.answer([_queued(batcher, each) for each in body.requests])
        # In a thread: serialising thousands of items would block the event loop for all clients.
        content = await asyncio.to_thread(_batch_content, answered)
        return Response(content, media_type="application/json")

    @routes.post("/score")
    async def score(body: schemas.ScoreRequest) -> schemas.Answer:
        """The candidates, best first, by the scores of retrieval."""
        request = _timed(_request(body.query, body.history), body)
        served, (items, unknown) = await batcher.call(
            batcher.model_name(body.model),
            lambda engine: (
                engine.score(request, body.candidates),
                not engine.has_known_word(request),
            ),
        )
        return _answer(Answered(served, items, unknown))

    @routes.post("/explain")
    async def explain(body: schemas.ExplainRequest) -> schemas.Explanation:
        """How much each part of the request contributes to an item's score."""
        request = _timed(_request(body.query, body.history), body)
        served, (score, contributions) = await batcher.call(
            batcher.model_name(body.model),
            lambda engine: _contributions(engine, request, body.item_id),
        )
        return schemas.Explanation(
            **dict(served.version), item_id=body.item_id, score=score, contributions=contributions
        )

    return routes


async def answer(batcher: Batcher, body: ItemsRequest) -> schemas.Answer:
    """The answer to a request for items."""
    [answered] = await batcher.answer([_queued(batcher, body)])
    return _answer(answered)


def _queued(batcher: Batcher, body: ItemsRequest) -> QueuedRequest:
    query = None if isinstance(body, schemas.RecommendRequest) else body.query
    return QueuedRequest(
        model=batcher.model_name(body.model),
        k=body.k,
        is_search=query is not None,
        build=lambda engine: _build(engine, body),
    )


def _build(engine: Engine, body: ItemsRequest) -> Request:
    """The request for an engine; InputError if the engine cannot answer it."""
    query = None if isinstance(body, schemas.RecommendRequest) else body.query
    history: tuple[str, ...] = ()
    if isinstance(body, schemas.RecommendRequest) and body.user_id is not None:
        history = engine.history_of(body.user_id)
    elif not isinstance(body, schemas.SearchRequest):
        history = tuple(body.history)
    request = _request(query, history, body)
    if isinstance(body, schemas.Timed):
        request = _timed(request, body)
    engine.check(request)
    seen = body.seen
    if seen is None:
        seen = "exclude" if query is None and engine.excludes_seen(request) else "keep"
    exclude = request.exclude | (frozenset(history) if seen == "exclude" else frozenset())
    return replace(request, exclude=exclude)


def _timed(request: Request, body: schemas.Timed) -> Request:
    return replace(request, time=body.time, last_event_time=body.last_event_time)


def _request(
    query: str | None, history: Sequence[str], choice: schemas.Choice | None = None
) -> Request:
    exclude = frozenset(choice.exclude if choice else ())
    where = where_of(choice.filters if choice else None)
    request_id = str(next(_request_ids))
    return Request(request_id, query=query, history=tuple(history), exclude=exclude, where=where)


def _contributions(
    engine: Engine, request: Request, item_id: str
) -> tuple[float, list[schemas.Contribution]]:
    score, parts = engine.explain(request, item_id)
    contributions = []
    for part in parts:
        item = engine.item(part.value) if part.kind == "history" else None
        title = item.title if item else part.value
        contributions.append(
            schemas.Contribution.model_validate({**part._asdict(), "title": title})
        )
    return score, contributions


def _batch_content(answered: Sequence[Answered]) -> str:
    answers = [_answer(each) for each in answered]
    return schemas.BatchAnswer(answers=answers).model_dump_json()


def _answer(answered: Answered) -> schemas.Answer:
    ranked = [
        schemas.AnswerItem(
            item_id=item.item_id,
            title=item.title,
            attributes=dict(item.attributes),
            rank=rank,
            score=item.score,
        )
        for rank, item in enumerate(answered.items, start=1)
    ]
    return schemas.Answer(
        **dict(answered.served.version), items=ranked, no_known_words=answered.no_known_words
    )
