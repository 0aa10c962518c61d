"""A real search engine behind the client: what only an engine can get wrong. OpenSearch, not Elasticsearch."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import elasticsearch
import pytest
from elasticsearch import helpers
from opentelemetry.trace import StatusCode

from otel_search.context import REQUEST_ID
from tests.backends.opensearch import OpenSearch
from tests.elasticsearch.clients import Caller
from tests.elasticsearch.recorded import Recorded
from tests.elasticsearch.scripted import Reply, Request, ScriptedServer

pytestmark = [pytest.mark.backends, pytest.mark.engine]

SECRET = "jan@example.org"


@pytest.fixture
def client(opensearch: OpenSearch, connect, recorded: Recorded) -> Caller:
    """A client of OpenSearch, with an empty index of two shards."""
    caller = connect(opensearch.url, request_timeout=30)
    caller(
        lambda client: client.options(ignore_status=404).indices.delete(
            index="products,copies", ignore_unavailable=True
        )
    )
    caller(
        lambda client: client.indices.create(
            index="products",
            settings={"number_of_shards": 2, "number_of_replicas": 0},
            mappings={"properties": {"price": {"type": "integer"}, "bad": {"type": "boolean"}}},
        )
    )
    return caller


def fill(caller: Caller, recorded: Recorded, count: int, **more: Any) -> None:
    operations: list[Any] = []
    for number in range(count):
        operations += [
            {"index": {"_id": str(number)}},
            {"name": f"product {number}", "price": number, "bad": number == 0} | more,
        ]
    caller(lambda client: client.bulk(index="products", operations=operations, refresh=True))
    recorded.exporter.clear()


def test_a_search_that_loses_a_shard_is_partial(recorded: Recorded, client: Caller) -> None:
    fill(client, recorded, 40, mail=SECRET)
    source = "if (doc['bad'].value) { throw new RuntimeException(params.mail) } return true"
    script = {"source": source, "params": {"mail": SECRET}}
    reply = client(lambda client: client.search(index="products", query={"script": {"script": script}}))
    assert reply["_shards"]["failed"] == 1
    span = recorded.span
    assert span.name == "search products"
    assert span.attributes["search.outcome"] == "partial"
    assert span.attributes["search.shards.total"] == 2
    assert span.attributes["search.shards.failed"] == 1
    assert span.attributes["search.failure"].startswith("script_exception")
    assert span.status.status_code is StatusCode.UNSET
    outcomes = {
        attributes["search.outcome"]: point.value for attributes, point in recorded.points("search.client.searches")
    }
    assert outcomes == {"partial": 1}
    assert SECRET not in recorded.everything()


def test_a_search_of_which_all_shards_fail_is_an_error(recorded: Recorded, client: Caller) -> None:
    fill(client, recorded, 40)
    script = {"source": "throw new RuntimeException(params.mail)", "params": {"mail": SECRET}}
    with pytest.raises(elasticsearch.ApiError):
        client(lambda client: client.search(index="products", query={"script": {"script": script}}))
    assert recorded.span.attributes["error.type"] == "search_phase_execution_exception"
    assert recorded.span.status.status_code is StatusCode.ERROR
    assert SECRET not in recorded.everything()


def test_a_search_that_runs_out_of_time_says_so(recorded: Recorded, client: Caller) -> None:
    fill(client, recorded, 3000)
    slow = "double x = 0; for (int i = 0; i < 20000; ++i) { x += Math.sqrt(i + doc['price'].value) } return x >= 0"
    reply = client(
        lambda client: client.search(index="products", query={"script": {"script": {"source": slow}}}, timeout="10ms")
    )
    assert reply["timed_out"] is True
    assert recorded.span.attributes["search.timed_out"] is True
    assert recorded.span.attributes["search.outcome"] == "timeout"
    assert recorded.span.status.status_code is StatusCode.UNSET


def test_documents_that_do_not_fit_the_mapping_are_counted(recorded: Recorded, client: Caller) -> None:
    operations: list[Any] = []
    for number in range(100):
        operations += [{"index": {"_id": str(number)}}, {"price": SECRET if number < 7 else number}]
    client(lambda client: client.bulk(index="products", operations=operations))
    attributes = recorded.spans[-1].attributes
    assert attributes["db.operation.batch.size"] == 100
    assert attributes["search.bulk.failed"] == 7
    assert attributes["search.bulk.errors"] == "mapper_parsing_exception: 7"
    assert attributes["search.failure"] == (
        "mapper_parsing_exception, field price of type integer, caused by number_format_exception"
    )
    assert SECRET not in recorded.everything()


def test_version_conflicts_are_seen_in_every_way_they_come(recorded: Recorded, client: Caller) -> None:
    fill(client, recorded, 1)
    with pytest.raises(elasticsearch.ConflictError):
        client(lambda client: client.create(index="products", id="0", document={"mail": SECRET}))
    assert recorded.span.attributes["error.type"] == "version_conflict_engine_exception"
    recorded.exporter.clear()
    # The search of the query sees the first version, the write meets the second.
    client(lambda client: client.index(index="products", id="0", document={"price": 2}))
    script = {"source": "ctx._source.price += 1"}
    client(lambda client: client.update_by_query(index="products", script=script, conflicts="proceed"))
    client(lambda client: client.index(index="products", id="0", document={"price": 3}))
    with pytest.raises(elasticsearch.ConflictError):
        client(lambda client: client.update_by_query(index="products", script=script))
    _, proceeded, _, aborted = recorded.spans
    assert proceeded.attributes["search.version_conflicts"] == 1
    assert proceeded.attributes["search.by_query.total"] == 1
    assert proceeded.status.status_code is StatusCode.UNSET
    assert aborted.attributes["error.type"] == "version_conflict_engine_exception"
    assert aborted.status.status_code is StatusCode.ERROR
    assert SECRET not in recorded.everything()


def test_a_scroll_over_thousands_of_documents_is_one_run(recorded: Recorded, client: Caller) -> None:
    fill(client, recorded, 5000)
    if client.kind == "sync":
        count = sum(1 for _ in helpers.scan(client.client, index="products", size=500))
    else:

        async def run(found: Any) -> int:
            return len([hit async for hit in helpers.async_scan(found, index="products", size=500)])

        count = client(run)
    assert count == 5000
    (parent,) = [span for span in recorded.spans if span.name.startswith("helpers.")]
    assert parent.attributes["db.response.returned_rows"] == 5000
    children = [span for span in recorded.spans if span is not parent]
    assert [span.name for span in children].count("scroll") == 10
    assert {span.parent.span_id for span in children} == {parent.context.span_id}
    outcomes = {
        attributes["search.outcome"]: point.value for attributes, point in recorded.points("search.client.searches")
    }
    assert outcomes == {"hits": 1}


@pytest.mark.filterwarnings("ignore:This API is in technical preview")
def test_the_task_list_names_the_service_and_the_request(recorded: Recorded, client: Caller) -> None:
    fill(client, recorded, 500)
    slow = "double x = 0; for (int i = 0; i < 50000; ++i) { x += Math.sqrt(i + doc['price'].value) } return x >= 0"
    token = REQUEST_ID.set("req-1")
    started = client(
        lambda client: client.update_by_query(
            index="products", query={"script": {"script": {"source": slow}}}, wait_for_completion=False
        )
    )
    REQUEST_ID.reset(token)
    task = client(lambda client: client.tasks.get(task_id=started["task"]))
    assert task["task"]["headers"]["X-Opaque-Id"].endswith("/req-1")
    client(lambda client: client.tasks.cancel(task_id=started["task"], wait_for_completion=True))


def test_a_killed_node_among_two_shows_as_a_retry(
    recorded: Recorded, opensearch: OpenSearch, client: Caller, connect, tmp_path
) -> None:
    fill(client, recorded, 10)
    with OpenSearch(tmp_path / "second") as second:
        caller = connect([second.url, opensearch.url], max_retries=2, request_timeout=30)
        operations = [{"index": {"_id": "0"}}, {"name": "product"}]
        connect(second.url)(lambda client: client.bulk(index="products", operations=operations, refresh=True))
        for _ in range(2):
            caller(lambda client: client.search(index="products"))
        recorded.exporter.clear()
        second.kill()
        for _ in range(4):
            caller(lambda client: client.search(index="products"))
    assert {span.attributes["server.port"] for span in recorded.spans} == {opensearch.ports["http"]}
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}
    (retried,) = [span for span in recorded.spans if span.events]
    assert retried.events[0].attributes["server.port"] == second.ports["http"]
    assert retried.events[0].attributes["search.retry.reason"] == "ConnectionError"
    states = {
        attributes["search.node.state"]: point.value for attributes, point in recorded.points("search.client.nodes")
    }
    assert states["dead"] == 1


@pytest.fixture
def busy_proxy(opensearch: OpenSearch) -> Iterator[ScriptedServer]:
    """A proxy before the engine that turns every second request away."""

    def forward(request: Request) -> Reply:
        if len(server.requests) % 2 == 1:
            error = {"type": "es_rejected_execution_exception", "reason": f"queue is full of {SECRET}"}
            return Reply({"error": error, "status": 429}, 429)
        headers = {name: value for name, value in request.headers.items() if name not in {"host", "content-length"}}
        onward = urllib.request.Request(
            opensearch.url + request.target, request.body or None, headers, method=request.method
        )
        with urllib.request.urlopen(onward, timeout=30) as answer:
            return Reply(answer.read(), answer.status)

    server = ScriptedServer(forward)
    yield server
    server.close()


def test_a_busy_cluster_shows_as_retries(
    recorded: Recorded, client: Caller, busy_proxy: ScriptedServer, connect
) -> None:
    fill(client, recorded, 10)
    caller = connect(busy_proxy.url, max_retries=3, retry_on_status=(429,))
    reply = caller(lambda client: client.search(index="products"))
    assert reply["hits"]["total"]["value"] == 10
    assert recorded.span.attributes["search.retries"] == 1
    assert recorded.span.events[0].attributes["search.retry.reason"] == "429"
    caller = connect(busy_proxy.url, max_retries=0)
    recorded.exporter.clear()
    with pytest.raises(elasticsearch.ApiError):
        caller(lambda client: client.search(index="products"))
    assert recorded.span.attributes["error.type"] == "es_rejected_execution_exception"
    assert recorded.span.attributes["db.response.status_code"] == "429"
    assert SECRET not in recorded.everything()
