"""One call is one span, whatever else is installed and switched on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from otel_search.settings import Settings
from tests.elasticsearch.clients import NATIVE, Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer

HTTP = {
    "urllib3": ("urllib3", "URLLib3Instrumentor", "sync"),
    "requests": ("requests", "RequestsInstrumentor", "sync"),
    "httpx": ("httpx", "HTTPXClientInstrumentor", "sync"),
    "aiohttp": ("aiohttp_client", "AioHttpClientInstrumentor", "async"),
    "httpxasync": ("httpx", "HTTPXClientInstrumentor", "async"),
}


@contextmanager
def instrumented(module: str, name: str, recorded: Recorded) -> Iterator[Any]:
    found = pytest.importorskip(f"opentelemetry.instrumentation.{module}", reason=f"{name} is not installed")
    instrumentor = getattr(found, name)()
    instrumentor.instrument(
        tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider, skip_dep_check=True
    )
    try:
        yield instrumentor
    finally:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


def open_node(connect: Any, server: ScriptedServer, node: str, kind: str) -> Caller:
    from elastic_transport._transport import NODE_CLASS_NAMES

    if HTTP[node][2] != kind:
        pytest.skip(f"{node} is not {kind}")
    if node not in NODE_CLASS_NAMES:
        pytest.skip(f"this elastic_transport has no {node} node")
    try:
        return connect(server.url, node_class=node)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("node", sorted(HTTP))
def test_http_clients_make_no_second_span(
    recorded: Recorded, server: ScriptedServer, connect, kind: str, node: str
) -> None:
    module, name, _ = HTTP[node]
    with instrumented(module, name, recorded):
        caller = open_node(connect, server, node, kind)
        with recorded.tracer.start_as_current_span("request"):
            for _ in range(10):
                caller(lambda client: client.search(index="products"))
    assert [span.name for span in recorded.spans] == ["search products"] * 10 + ["request"]
    ((_, point),) = recorded.points("db.client.operation.duration")
    assert point.count == 10


@pytest.mark.parametrize("node", sorted(HTTP))
def test_http_clients_make_child_spans_if_asked(server: ScriptedServer, connect, kind: str, node: str) -> None:
    module, name, _ = HTTP[node]
    with recording(Settings(elasticsearch_http_spans=True)) as recorded, instrumented(module, name, recorded):
        open_node(connect, server, node, kind)(lambda client: client.search(index="products"))
        http, search = recorded.spans
    assert search.name == "search products"
    assert http.kind is SpanKind.CLIENT
    assert http.parent.span_id == search.context.span_id


@pytest.mark.skipif(not NATIVE, reason="clients below 8.13 have no switch of their own")
def test_with_the_clients_switch_off_nobody_else_steps_in(
    server: ScriptedServer, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED", "false")
    with recording() as recorded:
        connect(server.url)(lambda client: client.search(index="products"))
        assert recorded.spans == []


def test_uninstrumenting_leaves_contribs_instrumentor_stopped(server: ScriptedServer, connect) -> None:
    found = pytest.importorskip("opentelemetry.instrumentation.elasticsearch", reason="contrib's is not installed")
    with recording():
        pass
    assert not found.ElasticsearchInstrumentor().is_instrumented_by_opentelemetry
    connect(server.url)(lambda client: client.search(index="products"))


def test_contribs_instrumentor_that_was_there_before_is_stopped(server: ScriptedServer, connect) -> None:
    first = Recorded()
    with instrumented("elasticsearch", "ElasticsearchInstrumentor", first), recording() as recorded:
        caller = connect(server.url)
        for _ in range(10):
            caller(lambda client: client.search(index="products"))
        assert [span.name for span in recorded.spans] == ["search products"] * 10
        assert first.spans == []
    first.close()


def test_contribs_instrumentor_that_comes_later_makes_no_second_span(
    recorded: Recorded, server: ScriptedServer, connect
) -> None:
    with instrumented("elasticsearch", "ElasticsearchInstrumentor", recorded), warnings.catch_warnings():
        # It warns that it steps back.
        warnings.simplefilter("ignore")
        connect(server.url)(lambda client: client.search(index="products"))
    assert [span.name for span in recorded.spans] == ["search products"]
    assert "db.statement" not in recorded.span.attributes
