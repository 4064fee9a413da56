"""What Prometheus reads of one application: each has a registry of its own, so that a process may hold several."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagnn_fast.recommendations import POPULAR, Recommendations
from tagnn_fast.serving.http.models import LoadedModel
from tagnn_fast.serving.http.observer import Observer
from tagnn_fast.serving.http.routes import service_of

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SIZES = tuple(2**power for power in range(10))


class Metrics(Observer):
    """Counts what the service tells of itself. Threads may share it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered.", "route", "status")
        self._seconds = self._histogram("request_seconds", "From arrival to answer, but for 503.", SECONDS, "route")
        self._queue_seconds = self._histogram("queue_seconds", "That a request waited to be scored.", SECONDS)
        self._scoring_seconds = self._histogram("scoring_seconds", "That a call of a model took.", SECONDS)
        self._call_sessions = self._histogram("call_sessions", "Sessions that one call of a model answered.", SIZES)
        self._sessions = self._counter("sessions", "Sessions answered, by what answered.", "model", "answer")
        self._unknown = self._counter("unknown_items", "Clicks on items that the model does not know.", "model")
        self._loads = self._counter("model_loads", "Folders offered, the first among them.", "model", "outcome")
        self._not_stored = self._counter("clicks_not_stored", "Clicks that the session store did not take.")
        self._queue_depth = self._gauge("queue_depth", "Sessions that wait to be scored.")
        self._model = self._gauge("model_info", "1 for each model that answers.", "model", "version", "architecture")
        self._age = self._gauge("model_age_seconds", "Since the model that answers was exported.", "model")
        ProcessCollector(registry=self._registry)  # memory, CPU time, descriptors
        # Counters by their labels: labels() takes longer to find one than the counter to count.
        self._by_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._by_model: dict[str, tuple[Counter, Counter, Counter]] = {}

    def requested(self, route: str, status: int, seconds: float) -> None:
        """See :class:`Observer`."""
        found = self._by_route.get((route, status))
        if found is None:
            found = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._by_route[route, status] = found
        requests, latency = found
        requests.inc()
        if status != 503:  # refused at once: it would look as if shoppers waited less in a crowd
            latency.observe(seconds)

    def scored(self, sessions: int, waited: Sequence[float], seconds: float) -> None:
        """See :class:`Observer`."""
        for wait in waited:
            self._queue_seconds.observe(wait)
        self._scoring_seconds.observe(seconds)
        self._call_sessions.observe(sessions)

    def recommended(self, model: str, answer: Recommendations) -> None:
        """See :class:`Observer`."""
        found = self._by_model.get(model)
        if found is None:
            by_model, by_popularity = (self._sessions.labels(model, by) for by in ("model", "popularity"))
            found = self._by_model[model] = by_model, by_popularity, self._unknown.labels(model)
        by_model, by_popularity, unknown = found
        popular = answer.status.count(POPULAR)
        by_model.inc(len(answer.status) - popular)
        if popular:
            by_popularity.inc(popular)
        skipped = sum(answer.skipped)
        if skipped:
            unknown.inc(skipped)

    def loaded(self, model: str, version: str) -> None:
        """See :class:`Observer`."""
        self._loads.labels(model, "loaded").inc()

    def refused(self, model: str, reason: str) -> None:
        """See :class:`Observer`."""
        self._loads.labels(model, "refused").inc()

    def not_stored(self) -> None:
        """See :class:`Observer`."""
        self._not_stored.inc()

    def text(self, queue_depth: int, models: Iterable[LoadedModel]) -> bytes:
        """All of it as Prometheus reads it, with the sessions that wait and the models that answer now."""
        self._queue_depth.set(queue_depth)
        self._model.clear()  # of those that answered before
        self._age.clear()
        for model in models:
            manifest = model.served.manifest
            self._model.labels(model.name, model.version, manifest["architecture"]).set(1)
            with suppress(KeyError, TypeError, ValueError):  # a manifest need not say when it was made
                created = datetime.fromisoformat(manifest["created"]).timestamp()
                self._age.labels(model.name).set(time.time() - created)
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"tagnn_fast_{name}", what, labels, registry=self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"tagnn_fast_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"tagnn_fast_{name}", what, labels, registry=self._registry, buckets=buckets)


async def read_metrics(request: Request) -> Response:
    """``GET /metrics``."""
    service, metrics = service_of(request), request.app.state.metrics
    return Response(metrics.text(service.queue.depth, service.models), media_type=CONTENT_TYPE_LATEST)


ROUTES = [Route("/metrics", read_metrics)]
