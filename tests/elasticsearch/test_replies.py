"""What came back: a search that answered 200 and is still wrong is visible as such."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from otel_search.elasticsearch.reply import read
from otel_search.settings import Settings
from tests.elasticsearch.clients import Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer


def found(total: Any = 2, hits: int = 2, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "took": 5,
        "timed_out": False,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {"total": total, "hits": [{"_id": str(number)} for number in range(hits)]},
    }
    return body | more


FAILED_SHARDS = {
    "total": 5,
    "successful": 3,
    "skipped": 1,
    "failed": 2,
    "failures": [
        {"shard": 0, "reason": {"type": "script_exception", "reason": "runtime error of jan@example.org"}},
        {"shard": 1, "reason": {"type": "query_shard_exception", "reason": "jan@example.org"}},
    ],
}


def outcomes(recorded: Recorded) -> dict[str, int]:
    return {
        attributes["search.outcome"]: point.value for attributes, point in recorded.points("search.client.searches")
    }


def search(caller: Caller) -> Any:
    return caller(lambda client: client.search(index="products", query={"match": {"name": "jan@example.org"}}))


@pytest.mark.parametrize(
    ("body", "outcome", "expected"),
    [
        (found(), "hits", {"search.hits.total": 2, "db.response.returned_rows": 2, "search.took": 0.005}),
        (
            found({"value": 10000, "relation": "gte"}),
            "hits",
            {"search.hits.total": 10000, "search.hits.relation": "gte"},
        ),
        (found(0, 0), "empty", {"search.hits.total": 0, "db.response.returned_rows": 0}),
        (found({"value": 0, "relation": "eq"}, 0), "empty", {}),
        (found({"value": 7, "relation": "eq"}, 0, aggregations={}), "hits", {"search.aggregations": True}),
        (found(timed_out=True), "timeout", {"search.timed_out": True}),
        (
            found(_shards=FAILED_SHARDS),
            "partial",
            {
                "search.shards.total": 5,
                "search.shards.failed": 2,
                "search.shards.skipped": 1,
                "search.failure": "script_exception",
            },
        ),
        (found(timed_out=True, _shards=FAILED_SHARDS), "timeout", {"search.shards.failed": 2}),
        (found(terminated_early=True), "hits", {"search.terminated_early": True}),
        (found(_clusters={"total": 3, "successful": 2, "skipped": 1}), "partial", {"search.clusters.failed": 1}),
        (found(0, 0, suggest={"names": [{"options": [{"text": "jan@example.org"}]}]}), "hits", {}),
        (found(0, 0, suggest={"names": [{"options": []}]}), "empty", {}),
        ({"took": 1}, "hits", {"search.took": 0.001}),
    ],
)
def test_a_search_says_what_came_of_it(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, body: Any, outcome: str, expected: dict[str, Any]
) -> None:
    server.reply(body)
    search(scripted)
    attributes = recorded.span.attributes
    assert attributes["search.outcome"] == outcome
    assert {key: attributes.get(key) for key in expected} == expected
    assert recorded.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes
    assert outcomes(recorded) == {outcome: 1}
    assert "jan@example.org" not in recorded.everything()


@pytest.mark.parametrize(
    ("body", "error_type"),
    [(found(timed_out=True), "timeout_result"), (found(_shards=FAILED_SHARDS), "script_exception")],
)
def test_partial_answers_are_errors_if_asked(server: ScriptedServer, connect, body: Any, error_type: str) -> None:
    with recording(Settings(partial_is_error=True)) as recorded:
        server.reply(body)
        search(connect(server.url))
        assert recorded.span.status.status_code is StatusCode.ERROR
        assert recorded.span.attributes["error.type"] == error_type
        ((attributes, _),) = recorded.points("db.client.operation.duration")
        assert attributes["error.type"] == error_type


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        {"took": "fast", "hits": [], "_shards": None, "timed_out": "no"},
        {"took": -1, "hits": {"total": "many", "hits": {"a": 1}}, "_shards": {"failed": "two"}},
        {"hits": {"total": {"value": None}, "hits": None}, "_shards": {"failed": 1, "failures": [None]}},
        {"hits": {}, "_shards": {"failed": 1, "failures": [{"reason": "text"}]}, "_clusters": 3, "suggest": {"a": 1}},
        {"errors": True, "items": [None, 1, {}, {"index": None}, {"index": {"error": "text", "_index": 3}}]},
        {"responses": [None, 1, {"error": "text"}, {"hits": 3}], "docs": [None, {"error": 1}], "failures": [1]},
    ],
)
@pytest.mark.parametrize(
    "operation",
    ["search", "bulk", "msearch", "mget", "update_by_query", "esql.query", "eql.search", "async_search.submit", "get"],
)
def test_odd_bodies_never_raise(operation: str, body: Any) -> None:
    read(operation, body)


def test_odd_bodies_reach_the_caller_as_they_came(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    odd = {"took": "fast", "hits": ["?"], "_shards": {"failed": "two"}}
    server.reply(odd)
    assert search(scripted).body == odd
    assert recorded.span.name == "search products"


def test_the_time_of_the_server_is_apart_from_the_clients(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    server.reply(found(took=900))
    server.reply(found(took=5), delay=0.3)
    search(scripted)
    search(scripted)
    slow_there, slow_between = recorded.spans
    assert slow_there.attributes["search.took"] == 0.9
    assert (slow_there.end_time - slow_there.start_time) / 1e9 < 0.9
    assert slow_between.attributes["search.took"] == 0.005
    assert (slow_between.end_time - slow_between.start_time) / 1e9 >= 0.3
    ((attributes, point),) = recorded.points("search.client.took")
    assert attributes == {
        "db.operation.name": "search",
        "db.collection.name": "products",
        "search.query.type": "match",
    }
    assert (point.count, point.sum) == (2, 0.905)


def test_a_multi_search_counts_each_of_its_searches(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    server.reply(
        {
            "took": 12,
            "responses": [
                found() | {"status": 200},
                found(0, 0) | {"status": 200},
                {"error": {"type": "parsing_exception", "reason": "jan@example.org"}, "status": 400},
                found(timed_out=True) | {"status": 200},
            ],
        }
    )
    scripted(
        lambda client: client.msearch(
            searches=[
                {"index": "products"},
                {"query": {"match": {"name": "jan@example.org"}}},
                {"index": "logs-2026.11.25"},
                {"query": {"match_all": {}}},
                {},
                {"query": {"term": {"x": 1}}},
                {"index": ["products", "products"]},
                {"query": {"match": {"name": "b"}}},
            ]
        )
    )
    span = recorded.span
    assert span.attributes["db.operation.batch.size"] == 4
    assert span.attributes["search.batch.failed"] == 1
    assert span.attributes["search.outcome"] == "partial"
    assert span.attributes["search.failure"] == "parsing_exception"
    assert span.attributes["search.query.type"] == "mixed"
    assert span.status.status_code is StatusCode.UNSET
    counted = {
        (attributes.get("db.collection.name"), attributes["search.outcome"]): point.value
        for attributes, point in recorded.points("search.client.searches")
    }
    assert counted == {
        ("products", "hits"): 1,
        ("logs-*", "empty"): 1,
        (None, "error"): 1,
        ("products", "timeout"): 1,
    }
    assert "jan@example.org" not in recorded.everything()


def test_a_multi_search_of_which_all_failed_has_failed(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    failed = {"error": {"type": "index_not_found_exception", "reason": "x"}, "status": 404}
    server.reply({"took": 1, "responses": [failed, failed]})
    scripted(lambda client: client.msearch(searches=[{"index": "a"}, {}, {"index": "b"}, {}]))
    assert recorded.span.status.status_code is StatusCode.ERROR
    assert recorded.span.attributes["error.type"] == "index_not_found_exception"


def test_a_bulk_request_with_failed_items_says_so(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    operations: list[Any] = []
    for number in range(100):
        operations.append({"index": {"_id": str(number)}})
        operations.append({"price": "secret-price" if number % 15 == 0 else number})
    reply = engine(lambda client: client.bulk(index="products", operations=operations))
    assert reply["errors"] is True
    span = recorded.span
    assert span.name == "bulk products"
    assert span.attributes["db.operation.batch.size"] == 100
    assert span.attributes["search.bulk.failed"] == 7
    assert span.attributes["search.outcome"] == "partial"
    assert span.attributes["db.response.status_code"] == "200"
    error = span.attributes["search.bulk.errors"].removesuffix(": 7")
    assert error.endswith("_exception")
    assert span.attributes["search.failure"].startswith(error)
    assert span.status.status_code is StatusCode.UNSET
    assert "db.query.text" not in span.attributes
    counted = {
        (attributes["db.collection.name"], attributes["search.bulk.action"], attributes["search.outcome"]): point.value
        for attributes, point in recorded.points("search.client.bulk.items")
    }
    assert counted == {("products", "index", "ok"): 93, ("products", "index", error): 7}
    assert "secret-price" not in recorded.everything()


def test_a_bulk_request_of_which_all_failed_has_failed(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    engine(lambda client: client.bulk(operations=[{"index": {"_index": "products"}}, {"price": "not a number"}]))
    assert recorded.span.status.status_code is StatusCode.ERROR
    assert recorded.span.attributes["error.type"].endswith("_exception")


def test_a_bulk_reply_that_has_its_failures_alone_is_partial(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    server.reply(
        {"errors": True, "items": [{"index": {"error": {"type": "document_parsing_exception", "reason": "x"}}}]}
    )
    operations = [{"index": {"_index": "products"}}, {"price": 1}] * 3
    scripted(lambda client: client.bulk(operations=operations, filter_path="errors,items.*.error"))
    assert recorded.span.status.status_code is StatusCode.UNSET
    assert recorded.span.attributes["search.outcome"] == "partial"
    assert recorded.span.attributes["search.bulk.errors"] == "document_parsing_exception: 1"
    assert "db.operation.batch.size" not in recorded.span.attributes


def test_the_reason_of_a_failed_item_names_the_field_and_no_value(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    reason = (
        "failed to parse field [price] of type [integer] in document with id 'jan@example.org'. "
        "Preview of field's value: 'jan@example.org'"
    )
    error = {
        "type": "document_parsing_exception",
        "reason": reason,
        "caused_by": {"type": "number_format_exception", "reason": 'For input string: "jan@example.org"'},
    }
    item = {"index": {"_index": "products", "status": 400, "error": error}}
    rejected = {"create": {"_index": "products", "status": 429, "error": {"type": "es_rejected_execution_exception"}}}
    conflict = {"create": {"_index": "products", "status": 409, "error": {"type": "version_conflict_engine_exception"}}}
    fine = {"update": {"_index": "products", "status": 200}}
    gone = {"delete": {"_index": "products", "status": 404, "result": "not_found"}}
    server.reply({"took": 1, "errors": True, "items": [item, item, rejected, conflict, fine, gone]})
    scripted(lambda client: client.bulk(operations=[{"index": {"_index": "products"}}, {"price": 1}]))
    attributes = recorded.span.attributes
    assert attributes["search.failure"] == (
        "document_parsing_exception, field price of type integer, caused by number_format_exception"
    )
    assert attributes["search.bulk.errors"] == (
        "document_parsing_exception: 2, es_rejected_execution_exception: 1, version_conflict_engine_exception: 1"
    )
    assert attributes["search.bulk.failed"] == 4
    assert "jan@example.org" not in recorded.everything()


def test_mget_tells_failures_from_missing_documents(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    server.reply(
        {
            "docs": [
                {"_index": "products", "_id": "1", "found": True},
                {"_index": "products", "_id": "2", "found": False},
                {
                    "_index": "gone",
                    "_id": "3",
                    "error": {"type": "index_not_found_exception", "reason": "no such index"},
                },
            ]
        }
    )
    scripted(lambda client: client.mget(index="products", ids=["1", "2", "3"]))
    attributes = recorded.span.attributes
    assert attributes["db.operation.batch.size"] == 3
    assert attributes["db.response.returned_rows"] == 1
    assert attributes["search.batch.failed"] == 1
    assert attributes["search.outcome"] == "partial"
    assert recorded.span.status.status_code is StatusCode.UNSET


def test_by_query_operations_show_conflicts_and_failures(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    server.reply({"took": 40, "timed_out": False, "total": 10, "updated": 8, "version_conflicts": 2, "failures": []})
    failure = {"index": "products", "id": "7", "cause": {"type": "mapper_parsing_exception", "reason": "secret"}}
    server.reply({"took": 40, "total": 10, "updated": 9, "version_conflicts": 0, "failures": [failure]})
    server.reply({"task": "oTUltX4IQMOUUVeiohTt8A:12345"})
    for _ in range(3):
        scripted(lambda client: client.update_by_query(index="products", query={"match_all": {}}, conflicts="proceed"))
    conflicts, failed, task = recorded.spans
    assert conflicts.attributes["search.version_conflicts"] == 2
    assert conflicts.attributes["search.by_query.total"] == 10
    assert "search.outcome" not in conflicts.attributes
    assert failed.attributes["search.by_query.failed"] == 1
    assert failed.attributes["search.outcome"] == "partial"
    assert failed.attributes["search.failure"] == "mapper_parsing_exception"
    assert "search.took" not in task.attributes
    assert "secret" not in recorded.everything()
    assert recorded.points("search.client.searches") == []


def test_rows_of_query_languages_are_counted(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    server.reply({"columns": [], "rows": [[1], [2], [3]]})
    scripted(lambda client: client.sql.query(query="SELECT a FROM products WHERE mail = 'jan@example.org'"))
    assert recorded.span.attributes["db.response.returned_rows"] == 3
    assert recorded.span.attributes["search.query.type"] == "sql"
    assert recorded.span.attributes["db.query.text"] == '{"query":"SELECT a FROM products WHERE mail = ?"}'
    assert outcomes(recorded) == {"hits": 1}


@pytest.mark.parametrize(
    ("kind", "reply", "outcome"),
    [
        ("text/csv", b"name,price\r\nlamp,3\r\n", "hits"),
        ("text/csv", b"name,price\r\n", "empty"),
        ("text/tab-separated-values", b"name\tprice\n", "empty"),
        ("text/plain", b" name | price \n------+-------\n lamp | 3     \n", "hits"),
        ("text/plain", b" name | price \n------+-------\n", "empty"),
    ],
)
def test_a_query_whose_rows_come_as_text_is_a_search_too(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, kind: str, reply: bytes, outcome: str
) -> None:
    server.reply(reply, headers={"Content-Type": kind})
    scripted(lambda client: client.sql.query(query="SELECT name, price FROM products", format="csv"))
    assert outcomes(recorded) == {outcome: 1}
    assert read("esql.query", b"\xff\xff arrow").outcome == "hits"


def test_an_asynchronous_query_counts_when_it_has_finished(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    headers = {"accept": "application/json", "content-type": "application/json"}
    for reply in (
        {"id": "x", "is_running": True, "is_partial": True},
        {"is_running": False, "columns": [], "values": []},
    ):
        server.reply(reply)
        body = {"query": "FROM products"}
        scripted(lambda client, body=body: client.perform_request("POST", "/_query/async", headers=headers, body=body))
    assert outcomes(recorded) == {"empty": 1}
    assert [span.name for span in recorded.spans] == ["esql.async_query products"] * 2


def test_a_failed_search_counts_as_an_error(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    import elasticsearch

    server.reply({"error": {"type": "search_phase_execution_exception", "reason": "x"}, "status": 503}, 500)
    with pytest.raises(elasticsearch.ApiError):
        search(scripted)
    assert outcomes(recorded) == {"error": 1}
    assert recorded.points("search.client.took") == []


def test_a_page_of_a_scroll_is_no_search_of_its_own(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    server.reply(found(_scroll_id="secret-scroll"))
    server.reply(found(0, 0, _scroll_id="secret-scroll"))
    scripted(lambda client: client.search(index="products", scroll="1m"))
    scripted(lambda client: client.scroll(scroll_id="secret-scroll"))
    assert outcomes(recorded) == {"hits": 1}
    assert [span.attributes["search.query.type"] for span in recorded.spans] == ["match_all", "scroll"]
    assert "secret-scroll" not in recorded.everything()


def test_a_failed_replica_of_a_write_is_partial(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    server.reply({"result": "created", "_shards": {"total": 2, "successful": 1, "failed": 1}}, 201)
    scripted(lambda client: client.index(index="products", id="secret-id", document={"name": "secret-name"}))
    assert recorded.span.attributes["search.outcome"] == "partial"
    assert recorded.span.attributes["search.shards.failed"] == 1
    assert "db.query.text" not in recorded.span.attributes
    assert "secret" not in recorded.everything()


def test_metrics_are_recorded_for_calls_that_are_not_sampled(server: ScriptedServer, connect) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with recording(sampler=ALWAYS_OFF) as recorded:
        server.reply(found())
        search(connect(server.url))
        assert recorded.spans == []
        assert outcomes(recorded) == {"hits": 1}
        for metric in ("db.client.operation.duration", "db.client.response.returned_rows", "search.client.took"):
            ((_, point),) = recorded.points(metric)
            assert point.count == 1
            assert not point.exemplars
        # The server may still log the trace, which is marked as not sampled.
        assert server.requests[0].headers["traceparent"].endswith("-00")


def test_profiles_are_never_kept(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    server.reply(found(profile={"shards": [{"searches": [{"query": [{"description": "name:jan@example.org"}]}]}]}))
    search(scripted)
    assert "jan@example.org" not in recorded.everything()
