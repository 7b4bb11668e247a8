"""Routes for monitoring: liveness, readiness, metrics, and the served models."""

from typing import Any

from fastapi import APIRouter, HTTPException, Response

from twofold.serving.api import schemas
from twofold.serving.engines.batching import Batcher
from twofold.serving.http.metrics import Metrics

NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": schemas.Problem, "description": "The models are warming up, or cannot answer"}
}


def operation_routes(batcher: Batcher, metrics: Metrics, readiness: "Readiness") -> APIRouter:
    """Liveness, readiness, metrics, and the served models."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/health")
    async def health() -> schemas.State:
        """Liveness: the process responds."""
        return schemas.State(state="alive")

    @routes.get("/ready", responses=NOT_READY)
    async def ready() -> schemas.State:
        """Readiness: every model has answered a warm-up request."""
        if not readiness.ready:
            raise HTTPException(503, readiness.reason)
        return schemas.State(state="ready")

    @routes.get("/models")
    async def models() -> schemas.Models:
        """The served models and their versions."""
        return served_models(batcher)

    @routes.get("/metrics", response_class=Response)
    async def scrape() -> Response:
        """Counts and times in the text format of Prometheus."""
        return Response(metrics.text(), media_type=metrics.media_type)

    return routes


class Readiness:
    """Whether the models have answered a warm-up request, and if not, the reason."""

    def __init__(self) -> None:
        self.ready = False
        self.reason = "the models are warming up"


def served_models(batcher: Batcher) -> schemas.Models:
    """The models that are served now."""
    return schemas.Models(models=list(batcher.served.values()))
