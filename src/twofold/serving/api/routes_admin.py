"""The routes that change what is served: the catalog, and the models."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException, Request

from twofold.records import InputError
from twofold.serving.api import schemas
from twofold.serving.api.routes_answers import REFUSALS, Refusals
from twofold.serving.api.routes_operations import arms_of
from twofold.serving.engines.batching import Batcher, give_way
from twofold.serving.engines.engine import Engine
from twofold.serving.engines.reload import Reloader
from twofold.serving.http.keys import ADMIN

CONFLICT: Refusals = {409: {"model": schemas.Problem, "description": "A reload is under way"}}

_NICE = 7
"""Of the thread that places new items, added to the process's own: the engines' goes before it."""


def admin_routes(batcher: Batcher, reloader: Reloader) -> APIRouter:
    """Routes for whoever runs the server."""
    routes = APIRouter(
        prefix="/admin", tags=["admin"], responses=REFUSALS, dependencies=[Depends(_admins_only)]
    )
    placing = futures.ThreadPoolExecutor(1, "placing", initializer=give_way, initargs=(_NICE,))

    async def changed(change: Callable[[list[Engine]], int]) -> schemas.CatalogChange:
        def everywhere(engines: dict[str, Engine]) -> schemas.CatalogChange:
            served = list(engines.values())
            if not served:
                raise InputError("no model is served")
            count = change(served)
            for engine in served[1:]:  # they share the first one's log
                engine.catch_up()
            return schemas.CatalogChange(
                catalog_version=served[0].catalog_version, changed=count, items=served[0].items
            )

        return await batcher.change(everywhere)

    @routes.post("/items")
    async def add_items(body: schemas.AddItems) -> schemas.CatalogChange:
        """Make items retrievable in every arm, or in none; the answer is of the first."""
        rows = [item.model_dump() for item in body.items]
        # A place rests on the items before it: until it is taken, none comes and no model changes.
        async with reloader.growing:
            served = await batcher.change(lambda engines: list(engines.values()))
            loop = asyncio.get_running_loop()
            placed = await loop.run_in_executor(placing, _placed, served, rows)
            return await changed(lambda served: served[0].add(rows, placed))

    @routes.post("/items/remove")
    async def remove_items(body: schemas.RemoveItems) -> schemas.CatalogChange:
        """Let items never come back, in any arm; the answer is of the first."""
        return await changed(lambda served: served[0].remove(body.item_ids))

    @routes.post("/reload", responses=CONFLICT)
    async def reload(body: schemas.ReloadRequest) -> schemas.Arms:
        """Serve a new model folder; the old one answers until the new one is warm."""
        await reloader.reload(body.arm, Path(body.folder) if body.folder else None)
        return arms_of(batcher)

    return routes


def _placed(served: Sequence[Engine], rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Where each model places the rows, before anything is written: each of them may refuse."""
    placed: dict[str, str] = {}
    for engine in served:
        placed |= engine.place(rows)
    return placed


async def _admins_only(request: Request) -> None:
    if not request.scope.get(ADMIN, False):
        raise HTTPException(
            403, "this needs an admin key, or without keys a client on this machine"
        )
