"""What the server counts, in Prometheus' text format."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, exposition
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from twofold.serving.engines.batching import Batcher

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_GONE = 499
"""The status counted where a client left without an answer, as nginx has it."""
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of their own."""

    media_type = exposition.CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "twofold_requests", "Requests", ["route", "status"], registry=self._registry
        )
        self._latency = Histogram(
            "twofold_request_seconds",
            "From the first byte read to the last one sent",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._sizes = Histogram(
            "twofold_batch_requests",
            "Requests of one pass through a model",
            buckets=_SIZES,
            registry=self._registry,
        )
        self._passes = Histogram(
            "twofold_batch_seconds", "One pass", buckets=_SECONDS, registry=self._registry
        )
        self._refusals = Counter(
            "twofold_refusals", "Requests refused, by status", ["status"], registry=self._registry
        )

        self._door = {
            status: (
                self._requests.labels("none", str(status)),
                self._refusals.labels(str(status)),
                self._latency.labels("none"),
            )
            for status in (429, 503)
        }

    def watch(self, batcher: "Batcher") -> None:
        """Report who waits and which versions are served, as they are when asked."""
        self._registry.register(_State(batcher))

    def text(self) -> bytes:
        return exposition.generate_latest(self._registry)

    def passed(self, requests: int, seconds: float) -> None:
        """A pass through a model has ended."""
        self._sizes.observe(requests)
        self._passes.observe(seconds)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request has ended."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        if status in (401, 403, 408, 413, 429):
            self._refusals.labels(str(status)).inc()

    def refused_at_the_door(self, status: int) -> None:
        """As `answered` by this status, for less: there may be thousands a second."""
        requests, refusals, latency = self._door[status]
        requests.inc()
        refusals.inc()
        latency.observe(0.0)


class _State:
    """Gauges that are read when they are asked for."""

    def __init__(self, batcher: "Batcher") -> None:
        self._batcher = batcher

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("twofold_waiting_requests", "Requests that wait for a pass")
        waiting.add_metric([], self._batcher.waiting)
        labels = ["arm", "model_version", "catalog_version"]
        served = GaugeMetricFamily("twofold_served_info", "What is served", labels=labels)
        items = GaugeMetricFamily("twofold_items", "That can be retrieved", labels=["arm"])
        for version in self._batcher.versions.values():
            served.add_metric([version.arm, version.model_version, version.catalog_version], 1)
            items.add_metric([version.arm], version.items)
        yield from (waiting, served, items)


class Measured:
    """Pure ASGI: counts every request by route and status, whoever answers it."""

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = _GONE

        async def counted(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except BaseException:
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(_route(scope), status, seconds)


def _route(scope: Any) -> str:
    """The route's pattern, never the path itself: a client must not invent label values."""
    route = scope.get("route")
    return getattr(route, "path", "none")
