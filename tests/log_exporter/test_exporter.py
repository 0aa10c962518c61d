"""Log records in Elasticsearch: what is sent, what is sent again, what is put off and what is refused."""

from __future__ import annotations

import json
import logging
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import LogRecordExportResult

from otel_search.delivery import losses
from otel_search.log_exporter import bulk
from tests.service import free_port, serve

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
    assert "OTEL_SEARCH_LOGS_ELASTICSEARCH_CLOUD_ID='shop:nonsense!' is not accepted" in caplog.text


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


def test_the_spool_survives_a_restart_and_is_replayed_in_order(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for first in (0, 10, 20):  # three lives of the process, the server is down in all of them
        found = exporter(url, logs_spool=str(tmp_path / "spool"))
        for number in range(first, first + 10):
            assert found.export([record(number)]) is SUCCESS
        found.shutdown()
    assert len(list((tmp_path / "spool").glob("*.ndjson"))) == 30
    with bulk_server(port) as server:
        found = exporter(url, logs_spool=str(tmp_path / "spool"))
        assert found.export([record(30)]) is SUCCESS
        assert server.order == list(range(31))
        assert len(server.written) == 31
        assert list((tmp_path / "spool").glob("*.ndjson")) == []


def test_a_full_spool_keeps_what_it_has_and_says_what_it_cannot_take(tmp_path: Path) -> None:
    found = exporter(f"http://127.0.0.1:{free_port()}", logs_spool=str(tmp_path), logs_spool_megabytes=1)
    results = [found.export([record(number, text="x" * 100_000)]) for number in range(12)]
    assert results == [SUCCESS] * 9 + [FAILURE] * 3
    assert f"the spool {tmp_path} is full" in found.cause


def _export_in_child(url: str, spool: str, first: int) -> None:
    found = exporter(url, logs_spool=spool)
    for number in range(first, first + 50):
        found.export([record(number)])


def test_several_workers_share_one_spool(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    context = multiprocessing.get_context("spawn")
    for running in (False, True):
        children = [
            context.Process(target=_export_in_child, args=(url, str(tmp_path), 1000 * child + 100 * running))
            for child in range(3)
        ]
        if not running:
            for child in children:
                child.start()
            for child in children:
                child.join(60)
            continue
        with bulk_server(port) as server:
            for child in children:
                child.start()
            for child in children:
                child.join(60)
            exporter(url, logs_spool=str(tmp_path)).export([record(9999)])
            assert len(server.written) == 301
            assert sorted(server.order) == sorted({*server.order})


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


@pytest.mark.engine
def test_a_real_engine_is_searched_by_trace_id_and_by_field(engine: str) -> None:
    import httpx

    dataset = f"test{free_port()}"
    with serve(
        "chatty:app",
        env={
            "OTEL_LOGS_EXPORTER": "elasticsearch",
            "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": engine,
            "OTEL_SEARCH_LOGS_DATASET": dataset,
        },
    ) as service:
        trace_id = service.get("/log/20?text=lamp").headers["x-trace-id"]
        service.get("/log/5?text=other")
        service.stop()
    stream = f"logs-{dataset}.otel-default"
    httpx.post(f"{engine}/{stream}/_refresh").raise_for_status()

    def count(query: dict[str, Any]) -> int:
        answer = httpx.post(f"{engine}/{stream}/_search", json={"query": query}).raise_for_status().json()
        return int(answer["hits"]["total"]["value"])

    assert count({"term": {"trace_id": trace_id}}) == 21
    assert count({"term": {"attributes.text": "lamp"}}) == 20
    assert (
        count({"bool": {"filter": [{"term": {"body.text": "chat"}}, {"range": {"attributes.number": {"lt": 3}}}]}}) == 6
    )
    assert count({"term": {"resource.attributes.service.name": "test-service"}}) >= 27
    (mapping,) = httpx.get(f"{engine}/{stream}/_mapping").json().values()
    properties = mapping["mappings"]["properties"]
    assert properties["@timestamp"]["type"] == "date_nanos"
    assert properties["trace_id"]["type"] == "keyword"
    assert properties["attributes"]["properties"]["number"]["type"] == "long"


@pytest.mark.engine
@pytest.mark.parametrize("index", ["", "app-logs"])
def test_a_mapping_conflict_in_a_real_engine_costs_the_field_its_type_and_not_the_record(
    engine: str, index: str
) -> None:
    import httpx

    unique = f"test{free_port()}"
    found = exporter(engine, logs_dataset=unique, logs_index=index and f"{index}-{unique}")
    batch = [
        record(1, took=3),
        record(2, took="slow"),
        record(3, took={"ms": 3}),
        record(4, **{"took.seconds": 1}),
        record(5, took=5),
    ]
    assert found.export(batch) is SUCCESS
    name = f"{index}-{unique}-*" if index else f"logs-{unique}.otel-default"
    httpx.post(f"{engine}/{name}/_refresh").raise_for_status()
    hits = httpx.post(f"{engine}/{name}/_search", json={"sort": "attributes.number"}).json()["hits"]["hits"]
    by_number = {hit["_source"]["attributes"].get("number"): hit["_source"]["attributes"] for hit in hits}
    assert by_number[1]["took"] == 3
    assert by_number[5]["took"] == 5
    assert json.loads(by_number[2]["search.log.refused"]) == {"took": "slow"}
    assert json.loads(by_number[3]["search.log.refused"]) == {"took": {"ms": 3}}
    assert json.loads(by_number[4]["search.log.refused"]) == {"took.seconds": 1}
