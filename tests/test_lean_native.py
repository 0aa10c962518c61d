"""The lean server span and its metrics are what FastAPI's own are, request by request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from opentelemetry import baggage, propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_search.fastapi import lean_native, native, stack
from otel_search.middleware import AccessLog, Excluded, Options, RequestLayer
from otel_search.redaction import Redactor

pytestmark = pytest.mark.skipif(not lean_native._IS_KNOWN, reason="this FastAPI is not replaced")

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    propagator = propagate.get_global_textmap()
    yield
    lean_native.uninstall()
    propagate.set_global_textmap(propagator)


def application(**telemetry: Any) -> FastAPI:
    app = FastAPI(telemetry=telemetry)
    router = APIRouter(prefix="/v1")
    inner = FastAPI()

    @router.get("/items/{number}")
    async def item(number: int, request: Request) -> dict[str, Any]:
        span = trace.get_current_span()
        assert span.get_span_context().is_valid
        return {"number": number, "baggage": dict(baggage.get_all())}

    @app.get("/sync")
    def sync() -> str:
        return format(trace.get_current_span().get_span_context().span_id != 0)

    @app.get("/raises")
    async def raises() -> None:
        raise ValueError("secret")

    @app.get("/refuses")
    async def refuses() -> None:
        raise HTTPException(503)

    @app.api_route("/any", methods=["POST", "QUERY", "BREW"])
    async def anything() -> PlainTextResponse:
        return PlainTextResponse("x", 201)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            yield "a"
            yield "b"

        return StreamingResponse(parts())

    @app.get("/broken-stream")
    async def broken_stream() -> StreamingResponse:
        async def parts() -> Any:
            yield "a"
            raise RuntimeError("later")

        return StreamingResponse(parts())

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: None)

    @app.get("/silent")
    async def silent(request: Request) -> Any:
        class Silent(PlainTextResponse):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await receive()
                await receive()

        return Silent("")

    @inner.get("/leaf/{name}")
    async def leaf(name: str) -> str:
        return name

    app.include_router(router)
    app.mount("/mounted", inner)
    return app


REQUESTS: list[dict[str, Any]] = [
    {"path": "/v1/items/7"},
    {"path": "/v1/items/7", "query": b"q=lamp&token=s3cret&empty="},
    {"path": "/v1/items/x"},
    {"path": "/nowhere"},
    {"path": "/v1/items/7", "method": "POST"},
    {"path": "/any", "method": "POST"},
    {"path": "/any", "method": "QUERY"},
    {"path": "/any", "method": "BREW"},
    {"path": "/sync"},
    {"path": "/raises"},
    {"path": "/refuses"},
    {"path": "/stream"},
    {"path": "/broken-stream"},
    {"path": "/background"},
    {"path": "/silent"},
    {"path": "/mounted/leaf/a"},
    {"path": "/mounted/nowhere"},
    {"path": "/svc/v1/items/1", "root_path": "/svc"},
    {"path": "/v1/items/7", "headers": [(b"traceparent", PARENT), (b"tracestate", b"a=1,b=2")]},
    {"path": "/v1/items/7", "headers": [(b"traceparent", b"nonsense")]},
    {"path": "/v1/items/7", "headers": [(b"baggage", b"k=v")]},
    {"path": "/v1/items/7", "headers": [(b"user-agent", b"browser/1")]},
    {"path": "/v1/items/7", "host": b"shop.example:8443", "scheme": "https"},
    {"path": "/v1/items/7", "host": b"shop.example"},
    {"path": "/v1/items/7", "host": b"user@shop.example"},
    {"path": "/v1/items/7", "host": b"[::1]:80"},
    {"path": "/v1/items/7", "host": None},
    {"path": "/v1/items/7", "host": None, "server": None},
    {"path": "/v1/items/7", "host": None, "server": ["unix", None]},
    {"path": "/v1/items/7", "http_version": "2", "client": None},
]


async def ask(app: Any, request: dict[str, Any]) -> list[Any]:
    """One request through ASGI; what was sent and raised."""
    host = request.get("host", b"127.0.0.1:8000")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": request.get("http_version", "1.1"),
        "method": request.get("method", "GET"),
        "scheme": request.get("scheme", "http"),
        "path": request["path"],
        "raw_path": request["path"].encode(),
        "root_path": request.get("root_path", ""),
        "query_string": request.get("query", b""),
        "headers": [
            *([(b"host", host)] if host else []), (b"x-request-id", b"one"), *request.get("headers", ())
        ],
        "client": request.get("client", ("10.0.0.1", 4000)),
        "server": request.get("server", ("127.0.0.1", 8000)),
        "state": {},
    }  # fmt: skip
    incoming = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append((message["type"], message.get("status"), message.get("body"), message.get("more_body")))

    try:
        await app(scope, receive, send)
    except Exception as error:
        sent.append(repr(error))
    assert "fastapi.telemetry" not in scope
    assert not trace.get_current_span().get_span_context().is_valid
    return sent


def told(lean: bool, requests: list[dict[str, Any]], **telemetry: Any) -> list[Any]:
    """What came of each request: what was sent, its spans, and all metrics at the end; without times and ids."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    app = application(tracer_provider=provider, meter_provider=meters, logs=False, **telemetry)
    native.configure(app, telemetry, operation_spans=telemetry.get("operation_spans", False), silent=False)
    redactor = Redactor()
    lean_native.uninstall()
    if lean:
        lean_native.install(redactor)
    app.middleware_stack = stack.arrange(app.build_middleware_stack(), redactor, False)
    layer = RequestLayer(app, Options(Excluded((), "", ()), AccessLog(lambda: "off", redactor), redactor))
    found: list[Any] = []
    for request in requests:
        sent = asyncio.run(ask(layer, request))
        spans = []
        for span in exporter.get_finished_spans():
            span_told = json.loads(span.to_json())
            for name in ("start_time", "end_time", "context"):
                del span_told[name]
            events = [(event["name"], event["attributes"].get("exception.type")) for event in span_told.pop("events")]
            parent = span.parent and (span.parent.is_remote, span.parent.trace_state.to_header())
            has_parent = span_told.pop("parent_id") is not None
            assert span.instrumentation_scope is not None
            spans.append((span_told, events, parent if span.parent and span.parent.is_remote else has_parent,
                          span.instrumentation_scope.name, span.instrumentation_scope.schema_url))  # fmt: skip
        exporter.clear()
        found.append((request, sent, spans))
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        (metric.name, dict(point.attributes), getattr(point, "count", None) or getattr(point, "value", None))
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    ]
    return [*found, sorted(points, key=str)]


@pytest.mark.parametrize("telemetry", [{}, {"operation_spans": True}], ids=str)
def test_every_request_is_told_as_fastapi_tells_it(telemetry: dict[str, Any]) -> None:
    expected = told(False, REQUESTS, **telemetry)
    seen = told(True, REQUESTS, **telemetry)
    for one, other in zip(seen, expected, strict=True):
        assert one == other
    assert all(len(spans) >= 1 for _, _, spans in seen[:-1])


def test_secrets_in_a_query_never_reach_the_span() -> None:
    ((_, _, [span]), _) = told(True, [REQUESTS[1]])
    assert "s3cret" not in str(span)
    assert span[0]["attributes"]["url.query"].startswith("q=lamp&token=[redacted")


def test_other_propagators_are_asked() -> None:
    class Mine(CompositePropagator):
        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
            span = trace.NonRecordingSpan(trace.SpanContext(1, 2, True, trace.TraceFlags(1)))
            return trace.set_span_in_context(span, context)

    propagate.set_global_textmap(Mine([]))
    ((_, _, [span]), _) = told(True, [REQUESTS[0]])
    assert span[2] == (True, "")


@pytest.mark.parametrize("telemetry", [{"tracing": False}, {"metrics": False}], ids=str)
def test_what_is_switched_off_stays_off(telemetry: dict[str, Any]) -> None:
    if telemetry == {"tracing": False}:
        expected, seen = told(False, REQUESTS, **telemetry), told(True, REQUESTS, **telemetry)
        assert seen == expected
        assert not any(spans for _, _, spans in seen[:-1])
    else:
        with pytest.raises(AssertionError):
            told(True, REQUESTS[:1], **telemetry)  # there are no metrics to read
