"""Query text keeps structure and loses values; the shape says what kind of query it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from otel_search.query import (
    LANGUAGE_BODY,
    MAX_LENGTH,
    SQL_BODY,
    Shape,
    mask_literals,
    query_hash,
    query_type,
    sanitize,
    shape_of,
)

SECRET = "jan@example.org"


def text(body: Any) -> str:
    return sanitize(body)[0]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "{}"),
        ({"query": {"term": {"email": SECRET}}}, '{"query":{"term":{"email":"?"}}}'),
        (
            {"query": {"term": {"email": {"value": SECRET, "boost": 2}}}},
            '{"query":{"term":{"email":{"value":"?","boost":"?"}}}}',
        ),
        ({"query": {"terms": {"email": [SECRET, "b"]}}}, '{"query":{"terms":{"email":["?"]}}}'),
        ({"query": {"range": {"price": {"gte": 1, "lt": 5.5}}}}, '{"query":{"range":{"price":{"gte":"?","lt":"?"}}}}'),
        ({"query": {"exists": {"field": "stock"}}}, '{"query":{"exists":{"field":"stock"}}}'),
        ({"query": {"exists": {"field": "@timestamp"}}}, '{"query":{"exists":{"field":"@timestamp"}}}'),
        ({"query": {"exists": {"field": "größe.cm"}}}, '{"query":{"exists":{"field":"größe.cm"}}}'),
        ({"query": {"exists": {"field": SECRET}}}, '{"query":{"exists":{"field":"?"}}}'),
        # A field that is called like a clause is a field: its value goes.
        ({"query": {"term": {"field": "red"}}}, '{"query":{"term":{"field":"?"}}}'),
        ({"query": {"match": {"exists": {"field": "red"}}}}, '{"query":{"match":{"exists":{"field":"?"}}}}'),
        (
            {"query": {"multi_match": {"query": SECRET, "fields": ["name^3", "brand"]}}},
            '{"query":{"multi_match":{"query":"?","fields":["name^3","brand"]}}}',
        ),
        (
            {"query": {"query_string": {"query": f"mail:{SECRET}", "default_field": "name"}}},
            '{"query":{"query_string":{"query":"?","default_field":"name"}}}',
        ),
        (
            {"query": {"nested": {"path": "offers", "query": {"term": {"offers.seller": SECRET}}}}},
            '{"query":{"nested":{"path":"offers","query":{"term":{"offers.seller":"?"}}}}}',
        ),
        (
            {
                "query": {
                    "script_score": {"query": {"match_all": {}}, "script": {"source": SECRET, "params": {"a": SECRET}}}
                }
            },
            '{"query":{"script_score":{"query":{"match_all":{}},"script":{"source":"?","params":{"a":"?"}}}}}',
        ),
        (
            {"aggs": {"brands": {"terms": {"field": "brand", "size": 5, "include": SECRET}}}},
            '{"aggs":{"brands":{"terms":{"field":"brand","size":"?","include":"?"}}}}',
        ),
        (
            {"aggs": {"dear": {"filter": {"term": {"field": SECRET}}, "aggs": {"p": {"avg": {"field": "price"}}}}}},
            '{"aggs":{"dear":{"filter":{"term":{"field":"?"}},"aggs":{"p":{"avg":{"field":"price"}}}}}}',
        ),
        (
            {"sort": ["price", {"name": {"order": "asc"}}, "_score"]},
            '{"sort":["price",{"name":{"order":"?"}},"_score"]}',
        ),
        ({"sort": "price"}, '{"sort":"price"}'),
        (
            {"knn": {"field": "v", "query_vector": [0.25] * 1536, "k": 3}},
            '{"knn":{"field":"v","query_vector":["?"],"k":"?"}}',
        ),
        (
            {"suggest": {"text": SECRET, "s": {"term": {"field": "name"}}}},
            '{"suggest":{"text":"?","s":{"term":{"field":"name"}}}}',
        ),
        ({"params": {"a": [1, 2, {"b": SECRET}]}}, '{"params":{"a":["?"]}}'),
        # Keys that are a user's words, or a document's.
        (
            {"query": {"sparse_vector": {"field": "ml.tokens", "query_vector": {SECRET: 0.7, "b": 1}}}},
            '{"query":{"sparse_vector":{"field":"ml.tokens","query_vector":"?"}}}',
        ),
        (
            {"query": {"weighted_tokens": {"ml.tokens": {"tokens": {SECRET: 0.7}, "boost": 2}}}},
            '{"query":{"weighted_tokens":{"ml.tokens":{"tokens":"?","boost":"?"}}}}',
        ),
        (
            {"query": {"percolate": {"field": "query", "document": {SECRET: 1}, "documents": [{SECRET: 1}]}}},
            '{"query":{"percolate":{"field":"query","document":"?","documents":["?"]}}}',
        ),
        (
            {"query": {"more_like_this": {"fields": ["name"], "like": [SECRET, {"doc": {SECRET: 1}}]}}},
            '{"query":{"more_like_this":{"fields":["name"],"like":["?",{"doc":"?"}]}}}',
        ),
        (
            {"script_fields": {"s": {"script": {"source": SECRET, "params": {"likes": {SECRET: 1}, "n": 1}}}}},
            '{"script_fields":{"s":{"script":{"source":"?","params":{"likes":"?","n":"?"}}}}}',
        ),
        (
            {"aggs": {"a": {"scripted_metric": {"params": {"likes": {SECRET: 1}}}, "meta": {"for": {SECRET: 1}}}}},
            '{"aggs":{"a":{"scripted_metric":{"params":{"likes":"?"}},"meta":{"for":"?"}}}}',
        ),
        # Field names, wherever the grammar has them.
        (
            {
                "_source": ["name", "offers.*"],
                "fields": ["at", {"field": "day", "format": SECRET}],
                "stored_fields": "x",
            },
            '{"_source":["name","offers.*"],"fields":["at",{"field":"day","format":"?"}],"stored_fields":"x"}',
        ),
        ({"_source": {"excludes": ["v"], "includes": "n"}}, '{"_source":{"excludes":["v"],"includes":"n"}}'),
        ({"_source": False, "docvalue_fields": []}, '{"_source":"?","docvalue_fields":[]}'),
        (
            {
                "sort": [
                    "price:desc",
                    {"offers.price": {"nested": {"path": "offers", "filter": {"term": {"a": SECRET}}}}},
                ]
            },
            '{"sort":["price:desc",{"offers.price":{"nested":{"path":"offers","filter":{"term":{"a":"?"}}}}}]}',
        ),
        # Coordinates are values, however many.
        (
            {"query": {"geo_shape": {"at": {"shape": {"type": "polygon", "coordinates": [[[1, 2], [3, 4], [5, 6]]]}}}}},
            '{"query":{"geo_shape":{"at":{"shape":{"type":"?","coordinates":[[["?"]]]}}}}}',
        ),
        ({"a": None, "b": True, "c": []}, '{"a":"?","b":"?","c":[]}'),
        ([{"index": "x"}, {"query": {"term": {"a": 1}}}], '[{"index":"?"},{"query":{"term":{"a":"?"}}}]'),
        (("a", "b"), '["?"]'),
        (SECRET, '"?"'),
        ({1: {2.5: SECRET}}, '{"1":{"2.5":"?"}}'),
    ],
)
def test_structure_stays_and_values_go(body: Any, expected: str) -> None:
    found = text(body)
    json.loads(found)
    assert found == expected


def test_depth_counts_queries_within_queries() -> None:
    body = {"query": {"bool": {"must": [{"nested": {"path": "a", "query": {"term": {"a.b": 1}}}}], "filter": []}}}
    assert sanitize(body)[1] == 3
    assert sanitize({"aggs": {}})[1] == 0


def test_queries_of_one_shape_have_one_text_and_one_hash() -> None:
    first = text({"query": {"terms": {"id": list(range(3))}}, "size": 10})
    second = text({"query": {"terms": {"id": list(range(5000))}}, "size": 20})
    assert first == second
    assert query_hash(first) == query_hash(second)
    assert len(query_hash(first)) == 16
    assert query_hash(first) != query_hash(text({"query": {"term": {"id": 1}}}))


def test_a_long_text_is_cut_where_json_allows_it_and_says_so() -> None:
    found = text({"query": {"bool": {"should": [{"match": {f"field_{number}": SECRET}} for number in range(5000)]}}})
    assert len(found) <= MAX_LENGTH
    assert len(found) > MAX_LENGTH - 200
    assert "…" in found
    assert json.loads(found)["query"]["bool"]["should"][0] == {"match": {"field_0": "?"}}


def test_long_keys_are_cut() -> None:
    assert len(text({"k" * 5000: 1})) < 200


def test_deep_bodies_end_somewhere() -> None:
    body: dict[str, Any] = {}
    for _ in range(100_000):
        body = {"bool": {"must": [body]}}
    found = text({"query": body})
    json.loads(found)
    assert "…" in found


class Watched(Sequence[Any]):
    """A long array that knows how much of it was looked at."""

    def __init__(self, item: Any) -> None:
        self.item = item
        self.looks = 0

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return self.item


@pytest.mark.parametrize("item", [0.5, {"term": {"a": 1}}])
def test_a_huge_array_is_not_walked_to_its_end(item: Any) -> None:
    array = Watched(item)
    assert len(text({"query": {"dis_max": {"queries": array}}, "size": 1})) <= MAX_LENGTH
    assert array.looks < 2000


def test_what_is_no_json_is_a_value_and_is_not_touched() -> None:
    def consumed() -> Iterator[int]:
        raise AssertionError("an iterator was consumed")
        yield 0

    class Odd:
        def __str__(self) -> str:
            raise AssertionError("an object was turned into text")

        __repr__ = __str__

    found = text({"a": consumed(), "b": Odd(), "c": {1, 2}, "d": memoryview(b"x"), "e": bytearray(b"y")})
    assert json.loads(found) == dict.fromkeys("abcde", "?")


def test_objects_of_the_dsl_are_read_as_their_json() -> None:
    dsl = pytest.importorskip("elasticsearch.dsl", reason="this client has no elasticsearch.dsl")
    query = dsl.Q("bool", must=[dsl.Q("match", name=SECRET)], filter=[dsl.Q("term", brand=SECRET)])
    expected = '{"query":{"bool":{"filter":[{"term":{"brand":"?"}}],"must":[{"match":{"name":"?"}}]}}}'
    assert json.loads(text({"query": query})) == json.loads(expected)
    assert shape_of({"query": query}, {}).type == "bool"
    assert shape_of({"query": query}, {}).filtered


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            f'FROM logs | WHERE mail == "{SECRET}" AND n > 5 | LIMIT 10',
            "FROM logs | WHERE mail == ? AND n > ? | LIMIT ?",
        ),
        ('ROW a = "x \\" secret", b = 1', "ROW a = ?, b = ?"),
        ('ROW a = """x "secret" y""", b = 1', "ROW a = ?, b = ?"),
        ('ROW a = """x secret"""", b = "secret"', "ROW a = ?, b = ?"),
        ("FROM a // secret\n| LIMIT 1", "FROM a | LIMIT ?"),
        ("FROM a /* secret */ | KEEP `odd name`", "FROM a | KEEP `odd name`"),
        ("FROM a /* one /* two */ secret */ | KEEP b", "FROM a"),
        ("FROM logs-2026.11.25 | EVAL x = .5e3 + 1e-7", "FROM logs-? | EVAL x = ? + ?-?"),
        ('FROM a | WHERE b == "secret', "FROM a | WHERE b == ?"),
        ('FROM a | WHERE b == "secret\\', "FROM a | WHERE b == ?"),
        ('process where name == ?"C:\\" and b == "secret"', "process where name == ? and b == ?"),
        ('FROM a | DISSECT b "%{secret}" | WHERE QSTR("c:secret")', "FROM a | DISSECT b ? | WHERE QSTR(?)"),
        ("FROM søk | WHERE größe == 7", "FROM søk | WHERE größe == ?"),
    ],
)
def test_literals_of_piped_languages_go(query: str, expected: str) -> None:
    assert mask_literals(query) == expected
    assert json.loads(sanitize({"query": query}, LANGUAGE_BODY)[0]) == {"query": expected}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT a FROM b WHERE c = 'it''s secret' AND d = 5", "SELECT a FROM b WHERE c = ? AND d = ?"),
        ("SELECT a FROM b WHERE c = 'x\\' AND d = 'secret'", "SELECT a FROM b WHERE c = ? AND d = ?"),
        ("SELECT a FROM b -- secret\nLIMIT 5", "SELECT a FROM b LIMIT ?"),
        ('SELECT "a b" FROM c', "SELECT ? FROM c"),
    ],
)
def test_literals_of_sql_go(query: str, expected: str) -> None:
    assert mask_literals(query, sql=True) == expected
    assert json.loads(sanitize({"query": query}, SQL_BODY)[0]) == {"query": expected}


def test_a_long_query_text_is_cut_between_escapes() -> None:
    for length in range(200):
        found = sanitize({"query": "SELECT " + "x" * length + "`\\`, " * 3000}, SQL_BODY)[0]
        assert len(found) <= MAX_LENGTH
        json.loads(found)


@pytest.mark.parametrize(
    ("body", "parameters", "expected"),
    [
        (None, {}, Shape("match_all")),
        ({}, {}, Shape("match_all")),
        ({"query": {"match": {"a": 1}}, "size": 5, "from": 10}, {}, Shape("match", size=5, offset=10)),
        ({"query": {"bool": {"filter": [{}]}}, "aggs": {}}, {}, Shape("bool", filtered=True, aggregated=True)),
        ({"query": {"bool": {"must": [{}]}}}, {}, Shape("bool")),
        ({"query": {"function_score": {"query": {"bool": {"filter": {}}}}}}, {}, Shape("function_score")),
        (
            {"query": {"function_score": {"query": {"bool": {"filter": {"a": 1}}}}}},
            {},
            Shape("function_score", filtered=True),
        ),
        ({"query": {"constant_score": {"filter": {}}}}, {}, Shape("constant_score", filtered=True)),
        ({"query": {"match_all": {}}, "post_filter": {}}, {}, Shape("match_all", filtered=True)),
        ({"knn": {"field": "v", "filter": {"term": {}}}}, {}, Shape("knn", filtered=True)),
        ({"retriever": {"rrf": {"retrievers": []}}}, {}, Shape("rrf")),
        ({"suggest": {}}, {}, Shape("suggest")),
        (
            {"retriever": {"standard": {"query": {"bool": {"filter": [{}]}}, "sort": ["a"]}}},
            {},
            Shape("standard", filtered=True, sorted=True),
        ),
        (
            {"retriever": {"rrf": {"retrievers": [{"knn": {"filter": {}}}, {"knn": {"filter": {"term": {}}}}]}}},
            {},
            Shape("rrf", filtered=True),
        ),
        (
            {"retriever": {"linear": {"retrievers": [{"retriever": {"knn": {"filter": [{}]}}, "weight": 2}, 3]}}},
            {},
            Shape("linear", filtered=True),
        ),
        ({"retriever": {"rescorer": {"retriever": {"standard": {"query": {"match": {}}}}}}}, {}, Shape("rescorer")),
        ({"retriever": {"rrf": {"retrievers": "text", "filter": None}}}, {}, Shape("rrf")),
        ({"query": {"my_secret_clause": {}}}, {}, Shape("other")),
        ({"retriever": {"my_secret": {}}}, {}, Shape("other")),
        (None, {"q": "secret", "size": "3", "sort": "a"}, Shape("query_string", sorted=True, size=3)),
        ({"sort": ["a"], "pit": {"id": "x"}}, {}, Shape("match_all", sorted=True, paging="pit")),
        ({"search_after": [1]}, {}, Shape("match_all", paging="search_after")),
        ({"size": True, "from": "x"}, {"scroll": "1m"}, Shape("match_all", paging="scroll")),
        ({"query": "text", "knn": 3}, {}, Shape("knn")),
        ({"query": {"bool": "text"}}, {}, Shape("bool")),
    ],
)
def test_the_shape_of_a_search(body: Any, parameters: dict[str, str], expected: Shape) -> None:
    assert shape_of(body, parameters) == expected
    assert query_type(body, parameters) == expected.type
