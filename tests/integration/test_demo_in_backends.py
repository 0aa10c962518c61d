"""The demo service under the launcher, seen in the real Collector, Jaeger and Prometheus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import httpx
import pytest

from otel_search.demo import engine
from otel_search.demo.run import fill
from otel_search.processes import Processes
from tests.backends.fixtures import Backends
from tests.backends.jaeger import Span
from tests.service import Service, eventually, serve

pytestmark = pytest.mark.backends

SERVICE = "product-search-in-backends"


@pytest.fixture(scope="module")
def service(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Processes(tmp_path_factory.mktemp("engine")) as processes:
        engine_url = engine.start_engine(processes, os.environ)
        asyncio.run(fill(engine_url))
        variables = {
            "ELASTICSEARCH_URL": engine_url,
            "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS,
            "OTEL_EXPORTER_OTLP_ENDPOINT": backends.collector.http_url,
            "OTEL_SERVICE_NAME": SERVICE,
        }
        with serve("otel_search.demo.app:app", env=variables) as running:
            yield running


@pytest.fixture(scope="module")
def searched(service: Service) -> httpx.Response:
    response = service.get("/products/search", params={"q": "running shoes", "in_stock": "true"})
    assert response.status_code == 200
    return response


def spans_of(backends: Backends, trace_id: str, count: int) -> list[Span]:
    return eventually(lambda: len(found := backends.jaeger.spans(trace_id)) >= count and found)


def test_jaeger_shows_the_request_with_its_elasticsearch_call_beneath(
    backends: Backends, searched: httpx.Response
) -> None:
    trace_id = searched.headers["x-trace-id"]
    server, *calls = sorted(spans_of(backends, trace_id, 2), key=lambda span: span.parent_id is not None)
    assert (server.name, server.kind, server.parent_id) == ("GET /products/search", "server", None)
    assert server.attributes["http.route"] == "/products/search"
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["search.request.id"] == searched.headers["x-request-id"]
    assert server.service == SERVICE
    assert server.resource["telemetry.distro.name"] == "otel-search"
    (call,) = calls
    assert (call.name, call.kind, call.parent_id) == ("search products", "client", server.span_id)
    assert call.attributes["db.system.name"] == "elasticsearch"
    assert call.attributes["db.operation.name"] == "search"
    assert call.attributes["db.collection.name"] == "products"
    assert call.attributes["server.address"] == "127.0.0.1"
    assert "running shoes" not in str(call.attributes)
    assert "multi_match" in call.attributes["db.query.text"] or "match" in call.attributes["db.query.text"]
    assert call.duration <= server.duration


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        (
            "http_server_request_duration_seconds",
            {"http_route": "/products/search", "http_request_method": "GET", "http_response_status_code": "200"},
        ),
        ("db_client_operation_duration_seconds", {"db_operation_name": "search", "db_collection_name": "products"}),
    ],
)
def test_prometheus_counts_it_with_exemplars_whose_traces_are_in_jaeger(
    backends: Backends, searched: httpx.Response, metric: str, labels: dict[str, str]
) -> None:
    selector = ",".join(f'{name}="{value}"' for name, value in {**labels, "job": SERVICE}.items())
    (series,) = eventually(lambda: backends.prometheus.query(f"{metric}_count{{{selector}}}"))
    assert series.value >= 1
    exemplars = eventually(lambda: backends.prometheus.exemplars(f"{metric}_bucket{{{selector}}}"))
    for exemplar in exemplars:
        assert spans_of(backends, exemplar.labels["trace_id"], 1)


def test_the_collector_has_the_log_records_of_the_trace(backends: Backends, searched: httpx.Response) -> None:
    trace_id = searched.headers["x-trace-id"]
    (access,) = eventually(
        lambda: [
            record
            for record in backends.collector.log_records()
            if record.trace_id == trace_id and record.body == "request completed"
        ]
    )
    assert access.attributes["http.route"] == "/products/search"
    assert access.attributes["request_id"] == searched.headers["x-request-id"]
    assert access.resource["service.name"] == SERVICE
    server = next(span for span in spans_of(backends, trace_id, 2) if span.kind == "server")
    assert access.span_id == server.span_id


def test_a_missing_document_is_not_an_error_of_the_call(backends: Backends, service: Service) -> None:
    response = service.get("/products/no-such-product")
    assert response.status_code == 404
    spans = spans_of(backends, response.headers["x-trace-id"], 2)
    assert not [span for span in spans if span.attributes.get("error")]


def test_the_backends_know_the_service_by_its_own_name(backends: Backends, searched: httpx.Response) -> None:
    eventually(lambda: SERVICE in backends.jaeger.services())
    (info, *_) = eventually(lambda: backends.prometheus.query(f'target_info{{job="{SERVICE}"}}'))
    assert info.labels["telemetry_distro_name"] == "otel-search"
