"""Routes that look up items of the catalog."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from twofold.serving.api import schemas
from twofold.serving.api.routes_answers import REFUSALS, Refusals, answer
from twofold.serving.engines.batching import Batcher
from twofold.serving.engines.engine import ScoredItem

UNKNOWN: Refusals = {404: {"model": schemas.Problem, "description": "No such item"}}

ItemPath = Annotated[str, Path(min_length=1, max_length=512, examples=["260"])]
ModelQuery = Annotated[
    schemas.ModelName | None,
    Query(description="name of a served model; the first one by default"),
]


def item_routes(batcher: Batcher) -> APIRouter:
    """An item, similar items, and items by title."""
    routes = APIRouter(tags=["items"], responses=REFUSALS)

    async def known_item(item_id: str, model: str | None) -> ScoredItem:
        name = batcher.model_name(model)
        _, item = await batcher.call(name, lambda engine: engine.item(item_id))
        if item is None:
            raise HTTPException(404, f"item '{item_id}' is not in the catalog")
        return item

    @routes.get("/items/{item_id:path}", responses=UNKNOWN)
    async def item(item_id: ItemPath, model: ModelQuery = None) -> schemas.Item:
        """An item that can be retrieved."""
        return _item(await known_item(item_id, model))

    @routes.get("/similar/{item_id:path}", responses=UNKNOWN)
    async def similar(
        item_id: ItemPath,
        k: Annotated[int, Query(ge=1, le=schemas.MAX_ITEMS)] = 10,
        model: ModelQuery = None,
    ) -> schemas.Answer:
        """Items recommended for a history of only this item."""
        await known_item(item_id, model)
        body = schemas.RecommendRequest(history=[item_id], k=k, seen="exclude", model=model)
        return await answer(batcher, body)

    @routes.get("/titles")
    async def titles(
        q: Annotated[str, Query(max_length=200, description="a part of a title")] = "",
        k: Annotated[int, Query(ge=1, le=100)] = 10,
        model: ModelQuery = None,
    ) -> schemas.Items:
        """Items whose title contains the text, popular ones first, for choosing a history."""
        name = batcher.model_name(model)
        _, items = await batcher.call(name, lambda engine: engine.find_titles(q, k))
        return schemas.Items(items=[_item(each) for each in items])

    return routes


def _item(item: ScoredItem) -> schemas.Item:
    return schemas.Item(item_id=item.item_id, title=item.title, attributes=dict(item.attributes))
