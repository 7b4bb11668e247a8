"""Routes that look up items of the catalog."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from twofold.serving.api import schemas
from twofold.serving.api.routes_answers import REFUSALS, Refusals, answer
from twofold.serving.engines.batching import Batcher
from twofold.serving.engines.engine import ScoredItem

UNKNOWN: Refusals = {404: {"model": schemas.Problem, "description": "No such item"}}

ItemPath = Annotated[str, Path(min_length=1, max_length=512, examples=["260"])]


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
    async def item(
        item_id: ItemPath, given: Annotated[schemas.ModelParameter, Query()]
    ) -> schemas.Item:
        """An item that can be retrieved."""
        return _item(await known_item(item_id, given.model))

    @routes.get("/similar/{item_id:path}", responses=UNKNOWN)
    async def similar(
        item_id: ItemPath, given: Annotated[schemas.SimilarParameters, Query()]
    ) -> schemas.Answer:
        """Items recommended for a history of only this item."""
        await known_item(item_id, given.model)
        body = schemas.RecommendRequest(
            history=[item_id], k=given.k, seen="exclude", model=given.model
        )
        return await answer(batcher, body)

    @routes.get("/titles")
    async def titles(given: Annotated[schemas.TitlesParameters, Query()]) -> schemas.Items:
        """Items whose title contains the text, popular ones first, for choosing a history."""
        name = batcher.model_name(given.model)
        _, items = await batcher.call(name, lambda engine: engine.find_titles(given.q, given.k))
        return schemas.Items(items=[_item(each) for each in items])

    return routes


def _item(item: ScoredItem) -> schemas.Item:
    return schemas.Item(item_id=item.item_id, title=item.title, attributes=dict(item.attributes))
