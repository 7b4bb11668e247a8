"""Counts and times of a server, in the text format of Prometheus."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, exposition
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from twofold.serving.engines.batching import Batcher

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CLIENT_LEFT = 499
"""The status of a request whose client disconnected before the answer, as in nginx."""
_BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_REFUSED = (401, 403, 408, 413, 429)


class Metrics:
    """Counters of one server, in their own registry."""

    media_type = exposition.CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "twofold_requests", "Requests", ["route", "status"], registry=self._registry
        )
        self._latency = Histogram(
            "twofold_request_seconds",
            "Seconds from the first byte read to the last one sent",
            ["route"],
            buckets=_LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._batch_sizes = Histogram(
            "twofold_batch_requests",
            "Requests of a batch",
            buckets=_BATCH_SIZE_BUCKETS,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "twofold_batch_seconds",
            "Seconds that a batch takes",
            buckets=_LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._refusals = Counter(
            "twofold_refusals", "Requests refused, by status", ["status"], registry=self._registry
        )

    def watch(self, batcher: "Batcher") -> None:
        """Report the queue and the served versions at each scrape."""
        self._registry.register(_State(batcher))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return exposition.generate_latest(self._registry)

    def batch_done(self, requests: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_sizes.observe(requests)
        self._batch_seconds.observe(seconds)

    def request_done(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        if status in _REFUSED:
            self._refusals.labels(str(status)).inc()


class _State:
    """Gauges that are read at each scrape."""

    def __init__(self, batcher: "Batcher") -> None:
        self._batcher = batcher

    def collect(self) -> Iterator[Metric]:
        queued = GaugeMetricFamily("twofold_queued_requests", "Requests in the queue")
        queued.add_metric([], self._batcher.queued)
        labels = ["model", "model_version", "catalog_version"]
        versions = GaugeMetricFamily("twofold_served_info", "Served versions", labels=labels)
        items = GaugeMetricFamily("twofold_items", "Items that can be retrieved", labels=["model"])
        for served in self._batcher.served.values():
            versions.add_metric([served.model, served.model_version, served.catalog_version], 1)
            items.add_metric([served.model], served.items)
        yield from (queued, versions, items)


class Measured:
    """Middleware that counts every request by route and status, also those that other middleware
    refuses.
    """

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = _CLIENT_LEFT

        async def observed_send(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        except BaseException:
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.request_done(_route(scope), status, seconds)


def _route(scope: Any) -> str:
    """The pattern of the route, never the path itself: clients must not create label values."""
    route = scope.get("route")
    return getattr(route, "path", "none")
