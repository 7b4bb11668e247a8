"""The service as an ASGI application. A factory: nothing happens at import."""

import asyncio
import contextlib
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from twofold.serving.api.routes_admin import admin_routes
from twofold.serving.api.routes_answers import answer_routes
from twofold.serving.api.routes_items import item_routes
from twofold.serving.api.routes_operations import Readiness, operation_routes
from twofold.serving.engines.batching import Batcher
from twofold.serving.engines.engine import Engine
from twofold.serving.engines.reload import Load, Reloader, warm_up
from twofold.serving.http.keys import Access, Key
from twofold.serving.http.limits import Limits
from twofold.serving.http.metrics import Measured, Metrics
from twofold.serving.http.problems import add_problem_handlers
from twofold.serving.settings import ServingSettings
from twofold.serving.web.page import page_files, page_routes

_log = logging.getLogger(__name__)

_VIEWER = "/docs-viewer"
_OPEN_PATHS = (
    "/health",
    "/ready",
    "/openapi.json",
    "/docs",
    *(f"{_VIEWER}/{file}" for file in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")),
)


def create_app(
    engines: Mapping[str, Engine],
    settings: ServingSettings | None = None,
    *,
    folders: Mapping[str, Path] | None = None,
    load: Load | None = None,
    keys: Sequence[Key] = (),
) -> FastAPI:
    """An application with an API and a page, for one or several models.

    Args:
        engines: the engines by the name of the model; the first is the default.
        settings: limits.
        folders: model folders by name, which a reload without a folder loads again.
        load: loads a model folder under a name; without it no model can be reloaded.
        keys: API keys; without keys, only clients on this machine are answered.
    """
    settings = settings or ServingSettings()
    metrics, readiness = Metrics(), Readiness()
    batcher = Batcher(engines, settings, metrics)
    reloader = Reloader(batcher, folders or {}, load)
    metrics.watch(batcher)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        warming = asyncio.create_task(_warm_up(batcher, readiness))
        yield
        warming.cancel()
        await batcher.close()

    app = FastAPIOffline(  # /docs needs no network
        redoc_url=None,
        static_url=_VIEWER,
        title="Twofold",
        version=importlib.metadata.version("twofold"),
        summary="One generative model for search and recommendation.",
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.batcher, app.state.reloader = batcher, reloader
    in_docs = [Security(HTTPBearer(auto_error=False))] if keys else []  # `Access` checks the key
    for routes in (
        answer_routes(batcher),
        item_routes(batcher),
        operation_routes(batcher, metrics, readiness),
        admin_routes(batcher, reloader),
    ):
        app.include_router(routes, dependencies=in_docs)
    app.include_router(page_routes())
    add_problem_handlers(app)
    # The last one added handles a request first, so the body of a client without a key is not read.
    app.add_middleware(Limits, batcher=batcher, settings=settings)
    app.add_middleware(Access, keys=keys, open_paths=(*_OPEN_PATHS, *page_files()))
    app.add_middleware(Measured, metrics=metrics)
    return app


async def _warm_up(batcher: Batcher, readiness: Readiness) -> None:
    """Let every model answer a request, then report that the server is ready."""

    def warm_up_all(engines: dict[str, Engine]) -> None:
        for engine in engines.values():
            warm_up(engine)

    try:
        await batcher.change(warm_up_all)
        readiness.ready = True
    except Exception as error:
        readiness.reason = f"the warm-up request failed: {error}"
        _log.exception("the warm-up request failed")
