"""The first sketch of this system: three `BaseHTTPMiddleware`, a home-made tracer, metrics in memory.

What it asked for is what otel-search does now; here it is as it was, for comparison. Its spans leave the
process only as log lines, and its metrics not at all.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import structlog
from elasticsearch import AsyncElasticsearch
from starlette.middleware.base import BaseHTTPMiddleware

from benchmarks.searchapp import app

log = structlog.get_logger("sketch")

_span: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("span", default=None)


class Tracer:
    """Spans as dicts, of which the last ones are kept."""

    def __init__(self, kept: int = 1000) -> None:
        self.ended: list[dict[str, Any]] = []
        self._kept = kept

    @contextlib.contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[dict[str, Any]]:
        """A span around a block."""
        parent = _span.get()
        span = {
            "trace_id": parent["trace_id"] if parent else uuid.uuid4().hex,
            "span_id": uuid.uuid4().hex[:16],
            "parent_id": parent["span_id"] if parent else None,
            "name": name,
            "start": time.time(),
            "attributes": attributes,
        }
        token = _span.set(span)
        try:
            yield span
        except Exception as error:
            span["error"] = repr(error)
            raise
        finally:
            _span.reset(token)
            span["duration"] = time.time() - span["start"]
            self.ended.append(span)
            del self.ended[: -self._kept]


class Metrics:
    """Counters and the last durations, by name and labels."""

    def __init__(self, kept: int = 1000) -> None:
        self.counters: dict[tuple[str, ...], int] = defaultdict(int)
        self.durations: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._kept = kept

    def observe(self, *key: str, seconds: float) -> None:
        """Count one request and keep its duration."""
        self.counters[key] += 1
        durations = self.durations[key]
        durations.append(seconds)
        del durations[: -self._kept]


tracer, metrics = Tracer(), Metrics()


class RequestLog(BaseHTTPMiddleware):
    """A JSON line at the start and at the end of a request, `X-Request-ID` and `X-Process-Time`."""

    async def dispatch(self, request, call_next):
        request_id = request.headers.get("x-request-id") or str(uuid.uuid4())
        structlog.contextvars.bind_contextvars(request_id=request_id)
        client = request.client.host if request.client else None
        log.info("request started", method=request.method, path=request.url.path, client=client)
        began = time.perf_counter()
        response = await call_next(request)
        seconds = time.perf_counter() - began
        log.info(
            "request completed",
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            seconds=seconds,
        )
        response.headers["X-Request-ID"] = request_id
        response.headers["X-Process-Time"] = f"{seconds:.6f}"
        return response


class Tracing(BaseHTTPMiddleware):
    """A span a request, and `X-Trace-ID`."""

    async def dispatch(self, request, call_next):
        with tracer.span(f"{request.method} {request.url.path}", url=str(request.url)) as span:
            response = await call_next(request)
            span["attributes"]["status"] = response.status_code
        response.headers["X-Trace-ID"] = span["trace_id"]
        return response


class RequestMetrics(BaseHTTPMiddleware):
    """Counts and times requests."""

    async def dispatch(self, request, call_next):
        began = time.perf_counter()
        response = await call_next(request)
        seconds = time.perf_counter() - began
        metrics.observe(request.method, request.url.path, str(response.status_code), seconds=seconds)
        return response


def logged(operation: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A method of the client with a span, a measurement and a log line around it."""

    @functools.wraps(call)
    async def perform(self: AsyncElasticsearch, *args: Any, **kwargs: Any) -> Any:
        query = kwargs.get("query") or {}
        with tracer.span(f"elasticsearch {operation}", index=kwargs.get("index")):
            began = time.perf_counter()
            found = await call(self, *args, **kwargs)
            seconds = time.perf_counter() - began
        metrics.observe("elasticsearch", operation, seconds=seconds)
        log.info(
            "elasticsearch operation",
            operation=operation,
            index=kwargs.get("index"),
            query_type=next(iter(query), None),
            filters=len(query.get("bool", {}).get("filter", ())),
            aggregations=list(kwargs.get("aggs") or ()),
            results=found["hits"]["total"]["value"] if "hits" in found else len(found["items"]),
            took=found["took"],
        )
        return found

    return perform


for operation in ("search", "bulk"):
    setattr(AsyncElasticsearch, operation, logged(operation, getattr(AsyncElasticsearch, operation)))
for middleware in (RequestMetrics, Tracing, RequestLog):
    app.add_middleware(middleware)

__all__ = ["app"]
