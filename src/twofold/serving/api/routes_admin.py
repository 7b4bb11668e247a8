"""Routes that change the catalog and the models."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException, Request

from twofold.records import InputError
from twofold.serving.api import schemas
from twofold.serving.api.routes_answers import NO_PARAMETERS, REFUSALS, Refusals
from twofold.serving.api.routes_operations import served_models
from twofold.serving.engines.batching import Batcher, lower_thread_priority
from twofold.serving.engines.engine import Engine
from twofold.serving.engines.reload import Reloader
from twofold.serving.http.keys import ADMIN

CONFLICT: Refusals = {409: {"model": schemas.Problem, "description": "A reload is under way"}}

_NICE = 7
"""Niceness of the thread that places new items; answers have a higher priority, a niceness of 5."""


def admin_routes(batcher: Batcher, reloader: Reloader) -> APIRouter:
    """Routes that need an admin key."""
    routes = APIRouter(
        prefix="/admin",
        tags=["admin"],
        responses=REFUSALS,
        dependencies=[Depends(_admins_only), NO_PARAMETERS],
    )
    placing = futures.ThreadPoolExecutor(
        1, "placing", initializer=lower_thread_priority, initargs=(_NICE,)
    )

    async def change_catalog(change: Callable[[Engine], int]) -> schemas.ChangedCatalog:
        def change_all(engines: dict[str, Engine]) -> schemas.ChangedCatalog:
            if not engines:
                raise InputError("no model is served")
            first, *others = engines.values()
            changed = change(first)
            for engine in others:  # all models read the same log
                engine.catch_up()
            served = first.served
            return schemas.ChangedCatalog(
                catalog_version=served.catalog_version, changed=changed, items=served.items
            )

        return await batcher.change(change_all)

    @routes.post("/items")
    async def add_items(body: schemas.AddItems) -> schemas.ChangedCatalog:
        """Add items to all models or to none; the response describes the first model."""
        items = [item.model_dump() for item in body.items]
        # A placement is valid until another item is added or a model is replaced.
        async with reloader.placement_lock:
            engines = await batcher.change(lambda served: list(served.values()))
            loop = asyncio.get_running_loop()
            placed = await loop.run_in_executor(placing, _place, engines, items)
            return await change_catalog(lambda engine: engine.add(items, placed))

    @routes.post("/items/remove")
    async def remove_items(body: schemas.RemoveItems) -> schemas.ChangedCatalog:
        """Remove items from the answers of all models; the response describes the first model."""
        return await change_catalog(lambda engine: engine.remove(body.item_ids))

    @routes.post("/reload", responses=CONFLICT)
    async def reload(body: schemas.ReloadRequest) -> schemas.Models:
        """Serve a new model folder; the old model answers until the new one has been warmed up."""
        await reloader.reload(body.model, Path(body.folder) if body.folder else None)
        return served_models(batcher)

    return routes


def _place(engines: Sequence[Engine], items: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Every model's placement of the items, before anything is written: any model may refuse."""
    placed: dict[str, str] = {}
    for engine in engines:
        placed |= engine.place(items)
    return placed


async def _admins_only(request: Request) -> None:
    if not request.scope.get(ADMIN, False):
        raise HTTPException(
            403, "this needs an admin key, or without keys a client on this machine"
        )
