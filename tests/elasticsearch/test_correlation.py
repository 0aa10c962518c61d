"""What Elasticsearch is told about the caller, for its slow log, audit log and task list."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_search.context import REQUEST_ID
from otel_search.elasticsearch import ElasticsearchInstrumentor
from otel_search.settings import Settings
from tests.elasticsearch.clients import Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer


def search(caller: Caller, **options: Any) -> Any:
    return caller(lambda client: client.options(**options).search(index="products"))


@pytest.fixture
def shop(server: ScriptedServer):
    """Telemetry of a service with a name."""
    provider = TracerProvider(resource=Resource({"service.name": "søk shop"}))
    instrumentor = ElasticsearchInstrumentor()
    instrumentor.instrument(tracer_provider=provider, settings=Settings())
    yield provider
    instrumentor.uninstrument()
    provider.shutdown()


def test_the_opaque_id_names_service_and_request(shop: TracerProvider, server: ScriptedServer, connect) -> None:
    caller = connect(server.url)
    search(caller)
    token = REQUEST_ID.set("req-1")
    try:
        search(caller)
        search(caller, opaque_id="the callers own")
    finally:
        REQUEST_ID.reset(token)
    sent = [request.headers.get("x-opaque-id") for request in server.requests]
    assert sent == ["s_k_shop", "s_k_shop/req-1", "the callers own"]


def test_headers_of_one_call_do_not_stay_on_the_client(shop: TracerProvider, server: ScriptedServer, connect) -> None:
    caller = connect(server.url)
    token = REQUEST_ID.set("req-1")
    search(caller)
    REQUEST_ID.reset(token)
    search(caller)
    first, second = (request.headers for request in server.requests)
    assert second["x-opaque-id"] == "s_k_shop"
    assert first["traceparent"] != second["traceparent"]


def test_each_header_can_be_switched_off(server: ScriptedServer, connect) -> None:
    with recording(Settings(elasticsearch_traceparent=False)):
        search(connect(server.url))
    with recording(Settings(elasticsearch_opaque_id=False)):
        search(connect(server.url))
    first, second = (request.headers for request in server.requests)
    assert "traceparent" not in first
    assert "x-opaque-id" in first
    assert "traceparent" in second
    assert "x-opaque-id" not in second


def test_tracestate_and_baggage_of_the_caller_are_not_sent(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

    state = TraceState([(f"vendor{number}", "x" * 250) for number in range(30)])
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    current = baggage.set_baggage("user", "y" * 4000, set_span_in_context(NonRecordingSpan(remote)))
    token = context.attach(current)
    try:
        search(scripted)
    finally:
        context.detach(token)
    headers = server.requests[0].headers
    assert headers["traceparent"].split("-")[1] == f"{1:032x}"
    assert not {"tracestate", "baggage"} & headers.keys()
    assert sum(map(len, headers.values())) < 1000


def test_all_attempts_of_a_call_carry_the_same_headers(recorded: Recorded, server: ScriptedServer, connect) -> None:
    server.reply({}, 503)
    search(connect(server.url, retry_on_status=(503,)))
    first, second = (request.headers for request in server.requests)
    assert first["traceparent"] == second["traceparent"]
