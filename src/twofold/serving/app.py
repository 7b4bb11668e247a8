"""The service as an ASGI application. A factory: nothing happens at import."""

import asyncio
import contextlib
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer

from twofold.serving.api.routes_admin import admin_routes
from twofold.serving.api.routes_answers import answer_routes, item_routes
from twofold.serving.api.routes_operations import Readiness, operation_routes
from twofold.serving.engines.batching import Batcher
from twofold.serving.engines.engine import Engine
from twofold.serving.engines.reload import Load, Reloader, warm_up
from twofold.serving.http.errors import add_problems
from twofold.serving.http.keys import Access, Key
from twofold.serving.http.limits import Admission, Door
from twofold.serving.http.metrics import Measured, Metrics
from twofold.serving.settings import ServingSettings
from twofold.serving.web.page import WEB, page_files, page_routes

log = logging.getLogger(__name__)

_OPEN = ("/health", "/ready", "/docs", "/openapi.json")


def create_app(
    engines: Mapping[str, Engine],
    settings: ServingSettings | None = None,
    *,
    folders: Mapping[str, Path] | None = None,
    load: Load | None = None,
    keys: Sequence[Key] = (),
    web: Path = WEB,
) -> FastAPI:
    """One API and one page over one or several models.

    Args:
        engines: by the arm's name; the first answers where no arm is asked for.
        settings: limits.
        folders: of the models, by arm: what a reload without a folder reads again.
        load: reads a model folder for an arm; without it nothing can be reloaded.
        keys: without one, only clients on this machine are answered.
        web: the folder of the page.
    """
    settings = settings or ServingSettings()
    metrics, readiness = Metrics(), Readiness()
    batcher = Batcher(engines, settings, metrics)
    reloader = Reloader(batcher, folders or {}, load)
    metrics.watch(batcher)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        warming = asyncio.create_task(_warm(batcher, readiness))
        yield
        warming.cancel()
        await batcher.close()

    app = FastAPI(
        title="Twofold",
        version=importlib.metadata.version("twofold"),
        summary="One generative model for search and recommendation.",
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.batcher, app.state.reloader = batcher, reloader
    app.state.door = Door(batcher, metrics)
    shown = [Security(HTTPBearer(auto_error=False))] if keys else []  # in the docs: see Access
    for routes in (
        answer_routes(batcher),
        item_routes(batcher),
        operation_routes(batcher, metrics, readiness),
        admin_routes(batcher, reloader),
    ):
        app.include_router(routes, dependencies=shown)
    app.include_router(page_routes(web))
    add_problems(app)
    # The last one added sees a request first.
    app.add_middleware(Admission, batcher=batcher, settings=settings)
    app.add_middleware(Access, keys=keys, open_paths=(*_OPEN, *page_files(web)))
    app.add_middleware(Measured, metrics=metrics)
    return app


async def _warm(batcher: Batcher, readiness: Readiness) -> None:
    """Ready once every model has answered."""

    def each(engines: dict[str, Engine]) -> None:
        for engine in engines.values():
            warm_up(engine)

    try:
        await batcher.change(each)
        readiness.ready = True
    except Exception as error:
        readiness.reason = f"the warm-up request failed: {error}"
        log.exception("the warm-up request failed")
