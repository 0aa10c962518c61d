"""Log records in a real search engine, OpenSearch: found again, in spite of mappings, refusals and outages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk._logs.export import LogRecordExportResult

from otel_search.delivery import losses
from otel_search.log_exporter import bulk
from tests.backends.fixtures import require
from tests.backends.opensearch import OpenSearch
from tests.service import eventually, free_port, serve

from .conftest import EngineProxy, bulk_server, exporter, record

pytestmark = pytest.mark.backends

SUCCESS = LogRecordExportResult.SUCCESS
BUSY = {"type": "rejected_execution_exception", "reason": "rejected execution of coordinating operation"}


class Stream:
    """A data stream, or the daily indices, of one test."""

    def __init__(self, url: str, name: str) -> None:
        self._url = f"{url}/{name}"

    def hits(self, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The documents that a query finds, by the time of their events."""
        httpx.post(f"{self._url}/_refresh").raise_for_status()
        body = {"query": query or {"match_all": {}}, "size": 1000, "sort": "@timestamp"}
        answer = httpx.post(f"{self._url}/_search", json=body).raise_for_status().json()
        return [hit["_source"] for hit in answer["hits"]["hits"]]

    def numbers(self) -> list[int]:
        return [hit["attributes"]["number"] for hit in self.hits()]

    def properties(self) -> dict[str, Any]:
        (mapping,) = httpx.get(f"{self._url}/_mapping").raise_for_status().json().values()
        return mapping["mappings"]["properties"]


@pytest.fixture
def dataset() -> str:
    return f"test{free_port()}"


@pytest.fixture
def stream(opensearch: OpenSearch, dataset: str) -> Stream:
    return Stream(opensearch.url, f"logs-{dataset}.otel-default")


@pytest.fixture
def proxy(opensearch: OpenSearch, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineProxy]:
    monkeypatch.setattr(bulk, "_FIRST_DELAY", 0.05)
    monkeypatch.setattr(bulk, "_LONGEST_DELAY", 0.2)
    with bulk_server(made=EngineProxy) as made:
        made.engine = opensearch.url
        yield made


def test_what_a_service_logs_is_searched_by_trace_id_and_by_field(
    opensearch: OpenSearch, stream: Stream, dataset: str
) -> None:
    with serve(
        "chatty:app",
        env={
            "OTEL_LOGS_EXPORTER": "elasticsearch",
            "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": opensearch.url,
            "OTEL_SEARCH_LOGS_DATASET": dataset,
        },
    ) as service:
        trace_id = service.get("/log/20?text=lamp").headers["x-trace-id"]
        service.get("/log/5?text=other")
        service.stop()

    assert len(stream.hits({"term": {"trace_id": trace_id}})) == 21
    assert len(stream.hits({"term": {"attributes.text": "lamp"}})) == 20
    both = [{"match": {"body.text": "chat"}}, {"range": {"attributes.number": {"lt": 3}}}]
    assert len(stream.hits({"bool": {"filter": both}})) == 6
    assert len(stream.hits({"term": {"resource.attributes.service.name": "test-service"}})) >= 27
    properties = stream.properties()
    assert properties["@timestamp"]["type"] == "date_nanos"
    assert properties["trace_id"]["type"] == "keyword"
    assert properties["span_id"]["type"] == "keyword"
    assert properties["severity_number"]["type"] == "byte"
    assert properties["body"]["properties"]["text"]["type"] == "text"
    assert properties["attributes"]["properties"]["number"]["type"] == "long"
    assert properties["attributes"]["properties"]["text"]["type"] == "keyword"


def test_a_daily_index_has_the_same_mapping(opensearch: OpenSearch, dataset: str) -> None:
    day = 86_400_000_000_000
    found = exporter(opensearch.url, logs_index=f"app-{dataset}")
    assert found.export([record(1), record(2, timestamp=record().log_record.timestamp + day)]) is SUCCESS
    first, second = (
        Stream(opensearch.url, f"app-{dataset}-2025.11.25"),
        Stream(opensearch.url, f"app-{dataset}-2025.11.26"),
    )
    assert (first.numbers(), second.numbers()) == ([1], [2])
    assert first.properties()["@timestamp"]["type"] == "date_nanos"
    assert first.properties()["attributes"]["properties"]["number"]["type"] == "long"


@pytest.mark.parametrize("index", ["", "app-logs"])
def test_a_mapping_conflict_costs_the_field_its_type_and_not_the_record(
    opensearch: OpenSearch, dataset: str, index: str
) -> None:
    found = exporter(opensearch.url, logs_dataset=dataset, logs_index=index and f"{index}-{dataset}")
    batch = [
        record(1, took=3),
        record(2, took="slow"),
        record(3, took={"ms": 3}),
        record(4, **{"took.seconds": 1}),
        record(5, took=5),
    ]
    assert found.export(batch) is SUCCESS
    stream = Stream(opensearch.url, f"{index}-{dataset}-*" if index else f"logs-{dataset}.otel-default")
    by_number = {hit["attributes"]["number"]: hit["attributes"] for hit in stream.hits()}
    assert by_number[1]["took"] == 3
    assert by_number[5]["took"] == 5
    assert json.loads(by_number[2]["search.log.refused"]) == {"took": "slow"}
    assert json.loads(by_number[3]["search.log.refused"]) == {"took": {"ms": 3}}
    assert json.loads(by_number[4]["search.log.refused"]) == {"took.seconds": 1}


def test_what_no_mapping_can_take_is_in_the_failure_file(
    opensearch: OpenSearch, stream: Stream, dataset: str, tmp_path: Path
) -> None:
    path = tmp_path / "refused.ndjson"
    found = exporter(opensearch.url, logs_dataset=dataset, logs_failure_file=str(path))
    before = losses.totals().get("logs refused", 0)
    # Not an attribute: turning all of them to text does not help.
    body = record(2, body={"text": {"is": "an object where a text is mapped"}})
    assert found.export([record(1), record(3)]) is SUCCESS
    assert found.export([_structured_as_text(body), record(4)]) is SUCCESS
    assert stream.numbers() == [1, 3, 4]
    (line,) = path.read_text().splitlines()
    kept = json.loads(line)
    assert "severity_number" in kept["error"]
    assert json.loads(kept["document"]["attributes"]["search.log.refused"]) == {"number": 2}
    assert losses.totals()["logs refused"] == before + 1


def _structured_as_text(made: Any) -> Any:
    made.log_record.severity_number = _OutOfRange
    return made


class _OutOfRange:
    """A severity that is no byte, as no SDK makes it."""

    value = 70_000


def test_a_busy_engine_gets_only_what_it_did_not_take_again(proxy: EngineProxy, stream: Stream, dataset: str) -> None:
    tried: dict[int, int] = {}

    def rule(_head: Any, document: Any) -> Any:
        number = document["attributes"]["number"]
        tried[number] = tried.get(number, 0) + 1
        return (429, BUSY) if number % 7 == 0 and tried[number] < 3 else (201, None)

    proxy.rule = rule
    assert exporter(proxy.url, logs_dataset=dataset).export([record(number) for number in range(50)]) is SUCCESS
    assert stream.numbers() == list(range(50))
    assert {count for number, count in tried.items() if number % 7} == {1}
    assert {count for number, count in tried.items() if number % 7 == 0} == {3}


def test_a_request_that_is_refused_as_a_whole_is_sent_again(proxy: EngineProxy, stream: Stream, dataset: str) -> None:
    answer, refusals = proxy.answer, [429, 503, 502]

    def refusing(method: str, path: str, body: bytes) -> Any:
        return (refusals.pop(), {}) if path == "/_bulk" and refusals else answer(method, path, body)

    proxy.answer = refusing  # type: ignore[method-assign]
    assert exporter(proxy.url, logs_dataset=dataset).export([record(number) for number in range(10)]) is SUCCESS
    assert stream.numbers() == list(range(10))


def test_an_engine_that_is_killed_and_started_again_has_everything_once(
    tmp_path: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(OpenSearch.program)
    monkeypatch.setattr(bulk, "_FIRST_DELAY", 0.05)
    monkeypatch.setattr(bulk, "_LONGEST_DELAY", 0.2)
    spool = tmp_path / "spool"
    before = losses.totals()
    engine = OpenSearch(tmp_path / "engine")
    with bulk_server(made=EngineProxy) as proxy:
        with engine:
            proxy.engine = engine.url
            found = exporter(proxy.url, logs_dataset=dataset, logs_spool=str(spool))
            for number in range(0, 100, 10):
                assert found.export([record(number + offset) for offset in range(10)]) is SUCCESS
            engine.kill()
            for number in range(100, 300, 10):
                assert found.export([record(number + offset) for offset in range(10)]) is SUCCESS
            found.shutdown()
        assert len(list(spool.glob("*.ndjson"))) == 20
        # Another life of the service, in which nothing is logged, and another of the engine.
        again = exporter(proxy.url, logs_dataset=dataset, logs_spool=str(spool))
        with engine:
            proxy.engine = engine.url
            eventually(lambda: not list(spool.glob("*.ndjson")), 60)
            assert Stream(engine.url, f"logs-{dataset}.otel-default").numbers() == list(range(300))
        again.shutdown()
    assert losses.totals() == before
