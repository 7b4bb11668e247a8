"""The routes for whoever watches the server."""

from typing import Any

from fastapi import APIRouter, HTTPException, Response

from twofold.serving.api import schemas
from twofold.serving.engines.batching import Batcher
from twofold.serving.http.metrics import Metrics

NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": schemas.Problem, "description": "No warm-up request has passed yet"}
}


def operation_routes(batcher: Batcher, metrics: Metrics, readiness: "Readiness") -> APIRouter:
    """Health, readiness, metrics, and what is served."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/health")
    async def health() -> schemas.State:
        """The process lives."""
        return schemas.State(state="alive")

    @routes.get("/ready", responses=NOT_READY)
    async def ready() -> schemas.State:
        """Every model has answered a warm-up request."""
        if not readiness.ready:
            raise HTTPException(503, readiness.reason)
        return schemas.State(state="ready")

    @routes.get("/arms")
    async def arms() -> schemas.Arms:
        """The served models and their versions."""
        return arms_of(batcher)

    @routes.get("/metrics", response_class=Response)
    async def scrape() -> Response:
        """Counts and times in Prometheus' text format."""
        return Response(metrics.text(), media_type=metrics.media_type)

    return routes


class Readiness:
    """Whether the models have answered, and if not, why."""

    def __init__(self) -> None:
        self.ready = False
        self.reason = "the models are warming up"


def arms_of(batcher: Batcher) -> schemas.Arms:
    """What is served now."""
    return schemas.Arms(
        arms=[
            schemas.Arm(
                arm=version.arm,
                model_version=version.model_version,
                catalog_version=version.catalog_version,
                items=version.items,
                carries_histories=version.carries_histories,
                tasks=list(version.tasks),
            )
            for version in batcher.versions.values()
        ]
    )
