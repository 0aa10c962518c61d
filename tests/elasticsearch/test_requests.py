"""What was asked for: every way of writing a search has its text and shape, and none of its values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_search.settings import Settings
from tests.elasticsearch.clients import NATIVE, VERSION, Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer

SECRET = "jan@example.org"
BODY = {"query": {"bool": {"must": [{"match": {"mail": SECRET}}], "filter": [{"term": {"brand": SECRET}}]}}, "size": 5}
TEXT = '{"query":{"bool":{"must":[{"match":{"mail":"?"}}],"filter":[{"term":{"brand":"?"}}]}},"size":"?"}'


def attributes(recorded: Recorded) -> dict[str, Any]:
    return dict(recorded.span.attributes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda client: client.search(index="products", **BODY), id="keywords"),
        pytest.param(lambda client: client.search(index="products", body=BODY), id="body"),
        pytest.param(
            lambda client: client.perform_request(
                "POST",
                "/products/_search",
                headers={"accept": "application/json", "content-type": "application/json"},
                body=BODY,
            ),
            id="raw request",
        ),
        pytest.param(
            lambda client: client.perform_request(
                "POST",
                "/products/_search",
                headers={"accept": "application/json", "content-type": "application/json"},
                body=json.dumps(BODY),
            ),
            id="text",
        ),
        pytest.param(
            lambda client: client.perform_request(
                "POST",
                "/products/_search",
                headers={"accept": "application/json", "content-type": "application/json"},
                body=json.dumps(BODY).encode(),
            ),
            id="bytes",
        ),
    ],
)
def test_a_search_is_known_however_it_was_written(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, call: Callable[[Any], Any]
) -> None:
    scripted(call)
    found = attributes(recorded)
    assert recorded.span.name == "search products"
    assert found["db.query.text"] == TEXT
    assert found["db.query.summary"] == "search products bool"
    assert found["search.query.type"] == "bool"
    assert found["search.query.filtered"] is True
    assert found["search.query.aggregated"] is False
    assert found["search.query.sorted"] is False
    assert found["search.query.size"] == 5
    assert found["search.query.depth"] == 2
    assert len(found["search.query.hash"]) == 16
    assert json.loads(server.requests[0].body) == BODY
    assert SECRET not in recorded.everything()


def test_a_dsl_search_is_known(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    dsl = pytest.importorskip("elasticsearch.dsl", reason="this client has no elasticsearch.dsl")
    kind = dsl.Search if scripted.kind == "sync" else dsl.AsyncSearch

    def run(client: Any) -> Any:
        search = kind(using=client, index="products").query("match", mail=SECRET).filter("term", brand=SECRET)
        search.aggs.bucket("brands", "terms", field="brand")
        return search.sort("-price")[10:15].execute()

    server.reply({"took": 1, "hits": {"total": 0, "hits": []}, "_shards": {"total": 1, "successful": 1, "failed": 0}})
    scripted(run)
    found = attributes(recorded)
    assert recorded.span.name == "search products"
    assert found["search.query.type"] == "bool"
    assert found["search.query.filtered"] is True
    assert found["search.query.aggregated"] is True
    assert found["search.query.sorted"] is True
    assert (found["search.query.from"], found["search.query.size"]) == (10, 5)
    assert '"terms":{"field":"brand"}' in found["db.query.text"]
    assert SECRET not in recorded.everything()


def test_a_search_of_the_separate_dsl_package_is_known(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    dsl = pytest.importorskip("elasticsearch_dsl", reason="elasticsearch-dsl is not installed")
    kind = dsl.Search if scripted.kind == "sync" else dsl.AsyncSearch
    server.reply({"took": 1, "hits": {"total": 0, "hits": []}, "_shards": {"total": 1, "successful": 1, "failed": 0}})
    scripted(lambda client: kind(using=client, index="products").query("match", mail=SECRET).execute())
    assert recorded.span.name == "search products"
    assert attributes(recorded)["db.query.text"] == '{"query":{"match":{"mail":"?"}}}'


def test_a_dsl_query_in_the_clients_own_search_is_known(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    dsl = pytest.importorskip("elasticsearch.dsl", reason="this client has no elasticsearch.dsl")
    query = dsl.Q("bool", filter=[dsl.Q("term", brand=SECRET)])
    scripted(lambda client: client.search(index="products", query=query.to_dict()))
    assert attributes(recorded)["search.query.filtered"] is True


def test_a_query_string_search_is_known(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    scripted(lambda client: client.search(index="products", q=f"mail:{SECRET}", df="mail"))
    found = attributes(recorded)
    assert found["search.query.type"] == "query_string"
    assert (
        found["url.full"].endswith("/products/_search?df=[redacted: value]&q=[redacted: value]")
        or "q=[redacted: value]" in found["url.full"]
    )
    assert found["db.query.text"] == '{"query":{"query_string":{"query":"?","default_field":"mail"}}}'
    assert SECRET.split("@", maxsplit=1)[0] not in recorded.everything()
    recorded.exporter.clear()
    scripted(lambda client: client.count(index="products", q="name:lamp shade", df="mail"))
    assert attributes(recorded)["search.query.hash"] == found["search.query.hash"]


@pytest.mark.parametrize(
    ("method", "path", "body", "name", "collection"),
    [
        ("POST", "/_query", {"query": "FROM logs-2026.11.25 | LIMIT 3"}, "esql.query logs-*", "logs-2026.11.25"),
        (
            "POST",
            "/_query",
            {"query": 'from products, "shops" METADATA _id'},
            "esql.query products,shops",
            "products,shops",
        ),
        ("POST", "/_query", {"query": f'ROW mail="FROM {SECRET}"'}, "esql.query", None),
        (
            "POST",
            "/_sql",
            {"query": f"SELECT name FROM products WHERE mail = '{SECRET}'"},
            "sql.query products",
            "products",
        ),
        ("POST", "/_sql", {"query": f"SELECT 'FROM {SECRET}'"}, "sql.query", None),
        ("POST", "/_reindex", {"source": {"index": ["a", "b"]}, "dest": {"index": "c"}}, "reindex a,b", "a,b"),
        ("POST", "/_reindex", {"source": "?", "dest": {}}, "reindex", None),
    ],
)
def test_a_target_within_the_body_is_known(
    recorded: Recorded,
    server: ScriptedServer,
    scripted: Caller,
    method: str,
    path: str,
    body: Any,
    name: str,
    collection: str | None,
) -> None:
    server.reply({"took": 1, "values": [[1]], "rows": [[1]], "columns": []})
    headers = {"accept": "application/json", "content-type": "application/json"}
    scripted(lambda client: client.perform_request(method, path, headers=headers, body=body))
    assert recorded.span.name == name
    assert attributes(recorded).get("db.collection.name") == collection
    ((found, _),) = recorded.points("db.client.operation.duration")
    assert found.get("db.collection.name") == (name.partition(" ")[2] or None)
    assert SECRET not in recorded.everything()


def test_paging_is_known(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    scripted(lambda client: client.search(pit={"id": SECRET}, sort=["price"], search_after=[SECRET]))
    scripted(lambda client: client.search(index="products", scroll="1m"))
    scripted(lambda client: client.search(index="products", search_after=[SECRET], sort=["price"]))
    assert [span.attributes["search.query.paging"] for span in recorded.spans] == ["pit", "scroll", "search_after"]
    assert SECRET not in recorded.everything()


@pytest.mark.parametrize(
    "operations",
    [
        [{"index": {"_index": "products"}}, {"mail": SECRET}],
        [b'{"index":{"_index":"products"}}', json.dumps({"mail": SECRET}).encode()],
        ['{"index":{"_index":"products"}}', json.dumps({"mail": SECRET})],
    ],
)
def test_bulk_bodies_are_never_recorded(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, operations: Any
) -> None:
    server.reply({"took": 1, "errors": False, "items": [{"index": {"_index": "products", "status": 201}}]})
    scripted(lambda client: client.bulk(operations=operations))
    assert "db.query.text" not in attributes(recorded)
    assert SECRET not in recorded.everything()
    assert server.requests[0].body.count(b"\n") == 2


def test_generators_reach_elasticsearch_whole(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    def operations() -> Iterator[Any]:
        for number in range(3):
            yield {"index": {"_index": "products", "_id": str(number)}}
            yield {"mail": SECRET}

    server.reply({"took": 1, "errors": False, "items": [{"index": {"_index": "products", "status": 201}}] * 3})
    scripted(
        lambda client: client.perform_request(
            "POST",
            "/_bulk",
            headers={"accept": "application/json", "content-type": "application/x-ndjson"},
            body=operations(),
        )
    )
    assert server.requests[0].body.count(b"\n") == 6
    assert attributes(recorded)["db.operation.name"] == "bulk"
    assert attributes(recorded)["db.operation.batch.size"] == 3
    assert SECRET not in recorded.everything()
    recorded.exporter.clear()
    server.reply({"took": 1, "responses": []})
    lines = ({"query": {"term": {"mail": SECRET}}} if number % 2 else {} for number in range(4))
    headers = {"accept": "application/json", "content-type": "application/x-ndjson"}
    scripted(lambda client: client.perform_request("POST", "/_msearch", headers=headers, body=lines))
    assert server.requests[1].body.count(b"\n") == 4
    assert "search.query.type" not in attributes(recorded)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_multi_search_bodies_keep_their_lines(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, as_bytes: bool
) -> None:
    lines: list[Any] = [
        {"index": "products"},
        {"query": {"match": {"mail": SECRET}}},
        {},
        {"query": {"match": {"a": 1}}},
    ]
    searches = [json.dumps(line).encode() for line in lines] if as_bytes else lines
    scripted(lambda client: client.msearch(searches=searches))
    found = attributes(recorded)
    assert json.loads(found["db.query.text"]) == [
        {"index": "?"},
        {"query": {"match": {"mail": "?"}}},
        {},
        {"query": {"match": {"a": "?"}}},
    ]
    assert found["search.query.type"] == "match"
    assert SECRET not in recorded.everything()


def test_bodies_that_cannot_be_read_are_sent_all_the_same(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    for body in (b"\xff\xfe not json", "{broken", b"[" * 100_000, b'{"a":' + b"1" * 300_000 + b"}"):
        scripted(
            lambda client, body=body: client.perform_request(
                "POST",
                "/products/_search",
                headers={"accept": "application/json", "content-type": "application/json"},
                body=body,
            )
        )
    assert [span.name for span in recorded.spans] == ["search products"] * 4
    assert not [span for span in recorded.spans if "db.query.text" in span.attributes]
    assert len(server.requests) == 4


def test_large_vectors_are_one_value(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    vector = [0.123456789] * 1536
    scripted(
        lambda client: client.search(
            index="products", knn={"field": "v", "query_vector": vector, "k": 5, "num_candidates": 9}
        )
    )
    found = attributes(recorded)
    assert found["search.query.type"] == "knn"
    assert '"query_vector":["?"]' in found["db.query.text"]
    assert "0.123456789" not in recorded.everything()


def test_documents_and_settings_are_no_queries(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    scripted(lambda client: client.index(index="products", document={"query": {"match": {"mail": SECRET}}}))
    scripted(lambda client: client.update(index="products", id=SECRET, doc={"query": SECRET}))
    scripted(lambda client: client.indices.create(index="products", settings={"query": SECRET}))
    assert not [span for span in recorded.spans if "db.query.text" in span.attributes]
    assert SECRET not in recorded.everything()
    assert "jan" not in recorded.everything()


def test_the_text_is_off_or_raw_if_asked(server: ScriptedServer, connect) -> None:
    with recording(Settings(query_text="off")) as recorded:
        connect(server.url)(lambda client: client.search(index="products", **BODY))
        assert "db.query.text" not in recorded.span.attributes
        assert recorded.span.attributes["search.query.type"] == "bool"
    with recording(Settings(query_text="raw")) as recorded:
        connect(server.url)(lambda client: client.search(index="products", **BODY))
        assert json.loads(recorded.span.attributes["db.query.text"]) == BODY
        # The name of the shape is that of the sanitized text: it stays the same for all values.
        hashes = {recorded.span.attributes["search.query.hash"]}
    with recording() as recorded:
        connect(server.url)(lambda client: client.search(index="products", **BODY))
        hashes.add(recorded.span.attributes["search.query.hash"])
    assert len(hashes) == 1


def test_the_clients_own_variable_for_the_text_wins(server: ScriptedServer, connect) -> None:
    with recording(Settings(query_text="off", capture_search_query="raw")) as recorded:
        connect(server.url)(lambda client: client.search(index="products", **BODY))
        assert json.loads(recorded.span.attributes["db.query.text"]) == BODY
    with recording(Settings(capture_search_query="omit")) as recorded:
        connect(server.url)(lambda client: client.search(index="products", **BODY))
        assert "db.query.text" not in recorded.span.attributes


def test_a_raw_text_is_bounded_too(server: ScriptedServer, connect) -> None:
    with recording(Settings(query_text="raw")) as recorded:
        query = {"terms": {"id": ["x" * 50] * 1000}}
        connect(server.url)(lambda client: client.search(index="products", query=query))
        text = recorded.span.attributes["db.query.text"]
        assert len(text) == 2048
        assert text.endswith("…")


@pytest.mark.skipif(VERSION < (8, 11), reason="this client has no ES|QL")
def test_es_ql_loses_its_literals(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    server.reply({"took": 4, "columns": [], "values": [[1], [2]]})
    query = f'FROM products | WHERE mail == "{SECRET}" AND price > 4711 | LIMIT 5'
    scripted(lambda client: client.esql.query(query=query, params=[SECRET]))
    found = attributes(recorded)
    assert json.loads(found["db.query.text"]) == {
        "query": "FROM products | WHERE mail == ? AND price > ? | LIMIT ?",
        "params": ["?"],
    }
    assert found["search.query.type"] == "esql"
    assert found["db.response.returned_rows"] == 2
    assert "4711" not in recorded.everything()
    assert SECRET not in recorded.everything()


def test_templates_show_their_parameters_names(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    scripted(
        lambda client: client.search_template(
            index="products",
            source=f'{{"query":{{"match":{{"mail":"{SECRET}"}}}}}}',
            params={"mail": SECRET, "size": 3},
        )
    )
    found = attributes(recorded)
    assert found["search.query.type"] == "template"
    assert json.loads(found["db.query.text"]) == {"source": "?", "params": {"mail": "?", "size": "?"}}


@pytest.mark.parametrize(
    ("method", "path", "name", "url"),
    [
        ("GET", "/", "info", "/"),
        ("HEAD", "/", "ping", "/"),
        ("GET", "/products/_doc/jan", "get products", "/products/_doc/{id}"),
        ("PUT", "/products/_doc/jan?routing=jan", "index products", "/products/_doc/{id}?routing=[redacted: value]"),
        ("POST", "/logs-2026.11.25/_search?size=3", "search logs-*", "/logs-2026.11.25/_search?size=3"),
        ("GET", "/_cluster/health", "cluster.health", "/_cluster/health"),
        ("GET", "/_cat/indices/jan", "cat.indices", "/_cat/indices/{part1}"),
        ("DELETE", "/products", "indices.delete products", "/products"),
        ("GET", "/_plugins/jan/x", "GET", "/_plugins/{part2}/{part3}"),
        ("POST", "/_search/scroll/jan", "scroll", "/_search/scroll/{part1}"),
        (
            "GET",
            "/products/_unknown?jan&secret%40=jan",
            "GET products",
            "/products/_unknown?[redacted: value]&[redacted: value]",
        ),
    ],
)
def test_a_request_without_an_endpoint_is_named_by_its_path(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, method: str, path: str, name: str, url: str
) -> None:
    scripted(lambda client: client.perform_request(method, path, headers={"accept": "application/json"}))
    assert recorded.span.name == name
    assert recorded.span.attributes["url.full"] == server.url + url
    assert "jan" not in recorded.everything()


@pytest.mark.skipif(not NATIVE, reason="clients below 8.13 do not take a provider of their own")
def test_a_clients_own_tracer_is_kept(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    from elasticsearch._otel import OpenTelemetry

    own = Recorded()
    scripted.client._otel = OpenTelemetry(enabled=True, tracer=own.tracer)
    scripted(lambda client: client.search(index="products"))
    assert recorded.spans == []
    assert own.span.name == "search products"
    assert own.span.attributes["server.port"] == server.port
    own.close()
