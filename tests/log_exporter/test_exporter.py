"""Log records in Elasticsearch: what is sent, what is sent again, what is put off and what is refused."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from opentelemetry.sdk._logs.export import LogRecordExportResult

from otel_search.delivery import losses
from otel_search.log_exporter import bulk
from tests.service import eventually, free_port, serve

from .conftest import BulkServer, bulk_server, exporter, record

SUCCESS, FAILURE = LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_FIRST_DELAY", 0.01)


def test_a_record_is_a_document_of_the_otel_mapping(server: BulkServer) -> None:
    assert exporter(server.url).export([record(7, sku="A1", sizes=(1, 2))]) is SUCCESS
    ((_, _, headers, body),) = server.bulks()
    head, document = (json.loads(line) for line in body.splitlines())
    assert head["create"]["_index"] == "logs-generic.otel-default"
    assert document == {
        "@timestamp": "2025-11-25T00:16:11.123456796Z",
        "observed_timestamp": "2025-11-25T00:16:11.123456797Z",
        "data_stream": {"type": "logs", "dataset": "generic.otel", "namespace": "default"},
        "severity_text": "INFO",
        "severity_number": 9,
        "body": {"text": "products searched"},
        "attributes": {"number": 7, "sku": "A1", "sizes": [1, 2]},
        "resource": {"attributes": {"service.name": "catalogue"}},
        "scope": {"name": "shop.search", "version": "1.0"},
    }
    assert headers["content-encoding"] == "gzip"


def test_a_daily_index_goes_by_the_events_own_utc_time(server: BulkServer) -> None:
    midnight = 1_764_028_800_000_000_000
    found = exporter(server.url, logs_index="app-logs")
    found.export([record(timestamp=midnight - 1), record(timestamp=midnight)])
    heads = [json.loads(line)["create"]["_index"] for line in server.bulks()[0][3].splitlines()[::2]]
    assert heads == ["app-logs-2025.11.24", "app-logs-2025.11.25"]


def test_api_key_and_basic_authentication(server: BulkServer) -> None:
    exporter(server.url, logs_elasticsearch_api_key="a2V5").export([record()])
    exporter(server.url, logs_elasticsearch_username="user", logs_elasticsearch_password="pass").export([record()])
    exporter(server.url.replace("//", "//in:url@")).export([record()])
    sent = [headers["authorization"] for _, _, headers, _ in server.bulks()]
    assert sent == ["ApiKey a2V5", "Basic dXNlcjpwYXNz", "Basic aW46dXJs"]


def test_a_cloud_id_is_a_url_and_a_wrong_one_is_said(caplog: pytest.LogCaptureFixture) -> None:
    # echo -n 'eu.example.com$es1$kb1' | base64
    assert bulk._cloud_url("shop:ZXUuZXhhbXBsZS5jb20kZXMxJGtiMQ==") == "https://es1.eu.example.com:443"
    with caplog.at_level(logging.ERROR):
        found = exporter("http://127.0.0.1:1", logs_elasticsearch_cloud_id="shop:nonsense!")
    assert found.export([record()]) is FAILURE
    assert "OTEL_SEARCH_LOGS_ELASTICSEARCH_CLOUD_ID='shop:…' is not accepted" in caplog.text
    assert "nonsense" not in caplog.text


def test_large_batches_are_sent_in_portions(server: BulkServer) -> None:
    exporter(server.url).export([record(number, text="x" * 15_000) for number in range(200)])
    assert server.order == list(range(200))
    assert len(server.bulks()) == 4
    assert all(len(body) < 1_100_000 for *_, body in server.bulks())


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_only_the_items_that_may_succeed_are_sent_again(server: BulkServer, status: int) -> None:
    tried: dict[int, int] = {}

    def rule(_head: Any, document: Any) -> Any:
        number = document["attributes"]["number"]
        tried[number] = tried.get(number, 0) + 1
        again = number % 10 == 0 and tried[number] < 3
        return (status, {"type": "rejected", "reason": "busy"}) if again else (201, None)

    server.rule = rule
    assert exporter(server.url).export([record(number) for number in range(30)]) is SUCCESS
    assert {number: count for number, count in tried.items() if count > 1} == {0: 3, 10: 3, 20: 3}
    assert len(server.written) == 30


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_unavailable_costs_the_batch_and_says_why(server: BulkServer, status: int) -> None:
    server.status = status
    found = exporter(server.url)
    assert found.export([record(), record(1)]) is FAILURE
    assert found.cause == f"Elasticsearch did not take 2 log records: status {status}"
    assert len(server.bulks()) == 6


def test_an_end_does_not_wait_for_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_FIRST_DELAY", 1000)
    found = exporter(f"http://127.0.0.1:{free_port()}")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(found.export([record()])))
    thread.start()
    found.shutdown()
    thread.join(20)
    assert results == [FAILURE]
    assert "Connection" in found.cause


def test_what_the_mapping_refuses_is_sent_once_more_with_that_field_as_text(server: BulkServer) -> None:
    def rule(_head: Any, document: Any) -> Any:
        if document["attributes"].get("took") == "slow":
            reason = "failed to parse field [attributes.took] of type [long] in document with id '1'"
            return 400, {"type": "document_parsing_exception", "reason": reason}
        return 201, None

    server.rule = rule
    assert exporter(server.url).export([record(1), record(2, took="slow", sku="A1"), record(3)]) is SUCCESS
    documents = {document["attributes"]["number"]: document for document in server.written.values()}
    assert documents[2]["attributes"] == {"number": 2, "sku": "A1", "search.log.refused": '{"took":"slow"}'}
    assert server.order == [1, 3, 2]


def test_what_is_refused_again_is_counted_and_kept_in_the_failure_file(server: BulkServer, tmp_path: Path) -> None:
    error = {"type": "illegal_argument_exception", "reason": "Limit of total fields [1000] has been exceeded"}
    second = "2025-11-25T00:16:11.123456791Z"
    server.rule = lambda _head, document: (400, error) if document["@timestamp"] == second else (201, None)
    before = losses.totals().get("logs refused", 0)
    found = exporter(server.url, logs_failure_file=str(tmp_path / "failures" / "refused.ndjson"))
    assert found.export([record(number) for number in range(4)]) is SUCCESS
    assert losses.totals()["logs refused"] == before + 1
    (line,) = (tmp_path / "failures" / "refused.ndjson").read_text().splitlines()
    kept = json.loads(line)
    assert kept["error"] == "illegal_argument_exception: Limit of total fields [1000] has been exceeded"
    assert json.loads(kept["document"]["attributes"]["search.log.refused"]) == {"number": 2}


def test_an_answer_that_was_lost_writes_nothing_twice(server: BulkServer) -> None:
    answer = server.answer
    lost = [True]

    def losing(method: str, path: str, body: bytes) -> Any:
        done = answer(method, path, body)
        if path == "/_bulk" and lost:
            lost.pop()
            return 504, {}
        return done

    server.answer = losing  # type: ignore[method-assign]
    assert exporter(server.url).export([record(number) for number in range(5)]) is SUCCESS
    assert len(server.written) == 5
    assert len(server.bulks()) == 2


def test_a_template_that_may_not_be_installed_is_done_without(server: BulkServer) -> None:
    answer = server.answer
    server.answer = lambda method, path, body: (  # type: ignore[method-assign]
        (403, {"error": "forbidden"}) if "_template" in path or "_ilm" in path else answer(method, path, body)
    )
    found = exporter(server.url)
    assert found.export([record()]) is SUCCESS
    assert found.export([record(1)]) is SUCCESS
    assert len([path for method, path, *_ in server.requests if method == "PUT"]) == 1


def test_a_service_exports_to_both_and_nothing_of_the_export_itself(server: BulkServer) -> None:
    env = {"OTEL_LOGS_EXPORTER": "elasticsearch,otlp", "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": server.url}
    with serve("chatty:app", env=env) as service:
        trace_id = service.get("/log/20").headers["x-trace-id"]
        service.stop()
        documents = [document for document in server.written.values() if document.get("trace_id") == trace_id]
        assert len(documents) == 21
        assert {document["body"]["text"] for document in documents} == {"chat", "request completed"}
        assert len([log for log in service.recording.logs if log.trace_id == trace_id]) == 21
        assert not [span for span in service.recording.spans if "bulk" in span.name]
        everything = [document["body"]["text"] for document in server.written.values()]
        assert not [text for text in everything if "_bulk" in text]
        assert len(everything) == len(service.recording.logs)


def test_a_value_that_json_cannot_hold_costs_itself_and_not_the_batch(server: BulkServer) -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    odd = [record(1, big=2**70), record(2, body={1: "one", "raw": b"x", "in": cycle}), record(3, text="\ud800")]
    assert exporter(server.url).export([record(0), *odd, record(4)]) is SUCCESS
    assert server.order == [0, 1, 2, 3, 4]
    documents = list(server.written.values())
    assert documents[1]["attributes"]["big"] == str(2**70)
    assert documents[2]["body"]["structured"]["1"] == "one"


def test_an_answer_of_another_shape_is_as_good_as_none(server: BulkServer) -> None:
    answer, wrong = server.answer, [{"items": []}]
    server.answer = lambda method, path, body: (  # type: ignore[method-assign]
        (200, wrong.pop()) if path == "/_bulk" and wrong else answer(method, path, body)
    )
    assert exporter(server.url).export([record(1)]) is SUCCESS
    assert server.order == [1]


def test_a_certificate_is_checked_against_the_authorities_of_the_setting(tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    for name, authority in (("ours.pem", ours), ("theirs.pem", theirs)):
        authority.cert_pem.write_to_path(tmp_path / name)
    with bulk_server(tls=context) as server:
        trusting = exporter(
            server.url, logs_elasticsearch_ca_certs=str(tmp_path / "ours.pem"), logs_elasticsearch_api_key="a2V5"
        )
        assert trusting.export([record(1)]) is SUCCESS
        assert server.bulks()[0][2]["authorization"] == "ApiKey a2V5"
        for path in (str(tmp_path / "theirs.pem"), ""):
            doubting = exporter(server.url, logs_elasticsearch_ca_certs=path)
            assert doubting.export([record(2)]) is FAILURE
            assert "certificate verify failed" in doubting.cause
        assert server.order == [1]


@pytest.mark.parametrize("fault", ["closed", 404, 503])
def test_what_a_failing_export_says_is_not_exported_and_does_not_flood(server: BulkServer, fault: str | int) -> None:
    """C19: at the level debug, where HTTP libraries talk of each attempt."""
    url = f"http://127.0.0.1:{free_port()}" if fault == "closed" else server.url
    if fault != "closed":
        server.status = int(fault)
    env = {
        "OTEL_LOGS_EXPORTER": "elasticsearch,otlp",
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": url,
        "OTEL_SEARCH_LOG_LEVEL": "debug",
        "OTEL_SEARCH_SHUTDOWN_TIMEOUT": "1",
    }
    with serve("chatty:app", env=env) as service:
        service.get("/log/100")
        eventually(lambda: service.events(event="telemetry is being lost"))
        service.get("/log/100")
        service.stop()
        own = ("chatty", "otel_search.access", "uvicorn.error", "asyncio")
        others = [event for event in service.events() if event["logger"] not in own]
        assert len(service.events(event="chat")) == 200
        assert len(others) < 20, others
        exported = {record.scope for record in service.recording.logs}
        assert exported <= {*own, "otel_search.health", "otel_search.telemetry", "otel_search.endpoints"}
        assert len([record for record in service.recording.logs if record.body == "chat"]) == 200
