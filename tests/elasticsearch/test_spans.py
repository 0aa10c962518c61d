"""One call is one CLIENT span with the schema's name and attributes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from tests.elasticsearch.clients import NATIVE, Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer

native = pytest.mark.skipif(not NATIVE, reason="clients below 8.13 have no native telemetry")


def test_a_search_is_one_client_span_below_the_current_one(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    with recorded.tracer.start_as_current_span("GET /search") as request:
        engine(lambda client: client.search(index="products", query={"match": {"name": "red shoes"}}))
    search, server = recorded.spans
    assert search.name == "search products"
    assert search.kind is SpanKind.CLIENT
    assert search.status.status_code is StatusCode.UNSET
    assert search.parent == request.get_span_context()
    assert search.attributes["db.system.name"] == "elasticsearch"
    assert search.attributes["db.operation.name"] == "search"
    assert search.attributes["db.collection.name"] == "products"
    assert search.attributes["server.address"] == "127.0.0.1"
    assert isinstance(search.attributes["server.port"], int)
    assert search.attributes["db.response.status_code"] == "200"
    assert search.attributes["db.query.text"] == '{"query":{"match":{"name":"?"}}}'
    assert not search.events
    assert server.name == "GET /search"


def test_the_samplers_attributes_are_there_when_the_span_starts(
    server: ScriptedServer, connect: Callable[..., Caller]
) -> None:
    from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

    seen = []

    class Watching(Sampler):
        def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None):
            seen.append((name, kind, dict(attributes)))
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

        def get_description(self):
            return "Watching"

    with recording(sampler=Watching()):
        caller = connect(server.url)
        caller(lambda client: client.options(request_timeout=7).search(index="products"))
    assert seen == [
        (
            "search products",
            SpanKind.CLIENT,
            {
                "db.system.name": "elasticsearch",
                "db.operation.name": "search",
                "db.collection.name": "products",
                "server.address": "127.0.0.1",
                "server.port": server.port,
                "http.request.method": "POST",
            },
        )
    ]


def test_calls_of_a_client_made_before_instrumenting_are_seen(
    server: ScriptedServer, connect: Callable[..., Caller]
) -> None:
    caller = connect(server.url)
    with recording() as recorded:
        caller(lambda client: client.search(index="products"))
        assert recorded.span.attributes["server.port"] == server.port


def test_every_call_counts_once_in_the_duration(recorded: Recorded, scripted: Caller) -> None:
    for _ in range(3):
        scripted(lambda client: client.search(index="logs-2026.11.25"))
    ((attributes, point),) = recorded.points("db.client.operation.duration")
    assert point.count == 3
    assert attributes == {
        "db.system.name": "elasticsearch",
        "db.operation.name": "search",
        "db.collection.name": "logs-*",
        "db.response.status_code": "200",
    }
    assert {span.name for span in recorded.spans} == {"search logs-*"}
    assert {span.attributes["db.collection.name"] for span in recorded.spans} == {"logs-2026.11.25"}


def test_the_duration_of_a_sampled_call_has_its_exemplar(recorded: Recorded, scripted: Caller) -> None:
    scripted(lambda client: client.count(index="products"))
    ((_, point),) = recorded.points("db.client.operation.duration")
    assert [exemplar.trace_id for exemplar in point.exemplars] == [recorded.span.context.trace_id]


def test_elasticsearchs_error_type_is_the_spans(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    import elasticsearch

    server.reply(
        {
            "error": {
                "type": "search_phase_execution_exception",
                "reason": "all shards failed",
                "root_cause": [{"type": "index_not_found_exception", "reason": "no such index [jan@example.org]"}],
            },
            "status": 404,
        },
        404,
    )
    with pytest.raises(elasticsearch.NotFoundError):
        scripted(lambda client: client.search(index="products"))
    assert recorded.span.status.status_code is StatusCode.ERROR
    assert recorded.span.attributes["error.type"] == "search_phase_execution_exception"
    assert recorded.span.attributes["db.response.status_code"] == "404"
    assert recorded.span.attributes["search.failure"] == "index_not_found_exception"
    ((attributes, _),) = recorded.points("db.client.operation.duration")
    assert attributes["error.type"] == "search_phase_execution_exception"
    assert "jan@example.org" not in recorded.everything()


def test_a_missing_document_is_not_an_error(recorded: Recorded, engine: Caller) -> None:
    import elasticsearch

    recorded.exporter.clear()
    with pytest.raises(elasticsearch.NotFoundError):
        engine(lambda client: client.get(index="products", id="missing"))
    assert engine(lambda client: client.exists(index="products", id="missing")).body is False
    assert [span.name for span in recorded.spans] == ["get products", "exists products"]
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}
    assert not [span for span in recorded.spans if "error.type" in span.attributes]


def test_a_refused_connection_is_an_error_of_its_own(
    recorded: Recorded, server: ScriptedServer, connect: Callable[..., Caller]
) -> None:
    import elastic_transport

    server.close()
    try:
        caller = connect(server.url, max_retries=0)
        with pytest.raises(elastic_transport.ConnectionError):
            caller(lambda client: client.search(index="products"))
    finally:
        server.__init__()
    assert recorded.span.attributes["error.type"] == "ConnectionError"
    assert recorded.span.status.status_code is StatusCode.ERROR


def test_suppressed_calls_leave_nothing_and_still_work(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    with suppress_instrumentation():
        scripted(lambda client: client.ping())
    assert recorded.spans == []
    assert recorded.points("db.client.operation.duration") == []
    assert "traceparent" not in server.requests[0].headers


@native
def test_the_clients_own_switch_leaves_nothing(
    server: ScriptedServer, connect: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED", "false")
    with recording() as recorded:
        connect(server.url)(lambda client: client.search(index="products"))
        assert recorded.spans == []
        assert recorded.points("db.client.operation.duration") == []


def test_elasticsearch_gets_the_spans_own_traceparent_and_no_more(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    scripted(lambda client: client.search(index="products"))
    context = recorded.span.context
    headers = server.requests[0].headers
    assert headers["traceparent"] == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    assert not {"tracestate", "baggage"} & headers.keys()


def test_a_callers_own_traceparent_is_kept(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    scripted(lambda client: client.options(headers={"traceparent": own}).search(index="products"))
    scripted(lambda client: client.search(index="products"))
    assert server.requests[0].headers["traceparent"] == own
    # The header of one call stays with that call: the client's own headers are not touched.
    assert server.requests[1].headers["traceparent"] != own


def test_urls_hold_no_document_id_and_no_query(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    scripted(lambda client: client.get(index="products", id="jan@example.org", routing="user-4711"))
    scripted(lambda client: client.search(index="products", q="email:jan@example.org", scroll="1m"))
    get, search = recorded.spans
    assert get.attributes["url.full"] == f"{server.url}/products/_doc/{{id}}?routing=[redacted: value]"
    assert search.attributes["url.full"] == f"{server.url}/products/_search?q=[redacted: value]&scroll=1m"
    assert "jan" not in recorded.everything()
    assert "4711" not in recorded.everything()


def test_credentials_reach_no_telemetry(
    recorded: Recorded, server: ScriptedServer, connect: Callable[..., Caller]
) -> None:
    url = server.url.replace("http://", "http://elastic:hunter2@")
    connect(url)(lambda client: client.search(index="products"))
    assert "hunter2" not in recorded.everything()
    assert "authorization" in server.requests[0].headers


def test_a_fault_of_ours_does_not_reach_the_caller(
    recorded: Recorded, scripted: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from otel_search.elasticsearch import conclusion, faults

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken on purpose by jan@example.org")

    monkeypatch.setattr(faults, "_said", set())
    monkeypatch.setattr(conclusion, "read", broken)
    monkeypatch.setattr(conclusion, "describe", broken)
    for _ in range(2):
        assert scripted(lambda client: client.search(index="products", query={"match_all": {}})).body == {}
    assert [span.name for span in recorded.spans] == ["search products"] * 2
    said = [record for record in caplog.records if record.name == "otel_search.elasticsearch"]
    assert len(said) == 2
    for record in said:
        assert "RuntimeError" in record.getMessage()
        assert "test_spans.py" in record.getMessage()
        assert "jan@example.org" not in caplog.text


def test_uninstrumenting_puts_everything_back(server: ScriptedServer, connect: Callable[..., Caller]) -> None:
    import logging

    import elastic_transport
    from elasticsearch._async.client._base import BaseClient as AsyncBaseClient
    from elasticsearch._sync.client._base import BaseClient

    def state() -> list[object]:
        return [
            elastic_transport.Transport.__dict__["perform_request"],
            elastic_transport.AsyncTransport.__dict__["perform_request"],
            dict(BaseClient.__dict__),
            dict(AsyncBaseClient.__dict__),
            logging.getLogger("elastic_transport").level,
        ]

    before = state()
    with recording() as recorded:
        caller = connect(server.url)
        assert state() != before
    assert state() == before
    caller(lambda client: client.search(index="products"))
    assert recorded.spans == []


def test_the_transports_own_line_is_quiet_unless_the_user_set_a_level(
    scripted: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    caplog.set_level(logging.INFO)
    with recording():
        scripted(lambda client: client.search(index="products", q="secret"))
        assert not [record for record in caplog.records if record.name.startswith("elastic_transport")]
    monkeypatch.setattr(logging.getLogger("elastic_transport"), "level", logging.INFO)
    with recording():
        scripted(lambda client: client.search(index="products"))
        assert [record for record in caplog.records if record.name.startswith("elastic_transport")]
