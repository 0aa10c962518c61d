"""For any body that the query grammar allows: no value survives, the text is JSON, the structure is kept."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_search.query import LANGUAGE_BODY, MAX_LENGTH, SQL_BODY, mask_literals, query_hash, sanitize, shape_of
from otel_search.query.grammar import QUERY_TYPES

# Values are recognised by what no name of a field, clause or aggregation contains.
MARK = "zq"
FIELDS = st.sampled_from(["name", "price", "offers.seller", "field", "query", "exists", "fields", "path", "@timestamp"])
NAMES = st.sampled_from(["by_brand", "terms", "field", "filters", "aggs", "q1"])
VALUES = st.one_of(
    st.text(max_size=20).map(lambda text: MARK + text),
    st.text(max_size=20).map(lambda text: text + MARK),
    # Looks like a field's name, and is none.
    st.from_regex(r"[a-z]{0,5}zq[a-z_.]{0,5}", fullmatch=True),
    st.integers(min_value=10**9, max_value=10**12),
    st.floats(min_value=1e9, max_value=1e12),
)
SCALARS = st.one_of(VALUES, st.booleans(), st.none())
SECRET_TEXTS = st.text(max_size=20).map(lambda text: MARK + text)


def objects(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these members."""
    return st.fixed_dictionaries({}, optional=members)


def one(key: st.SearchStrategy[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(key, value, min_size=1, max_size=1)


LEAVES = st.one_of(
    one(
        st.sampled_from(["term", "match", "prefix", "wildcard", "match_phrase", "fuzzy", "regexp"]),
        one(
            FIELDS, st.one_of(SCALARS, objects(value=SCALARS, query=SCALARS, boost=VALUES, field=VALUES, fields=VALUES))
        ),
    ),
    one(st.just("terms"), one(FIELDS, st.lists(VALUES, max_size=5))),
    one(st.just("range"), one(FIELDS, objects(gte=VALUES, lt=VALUES, format=VALUES))),
    one(st.just("exists"), one(st.just("field"), FIELDS)),
    one(
        st.sampled_from(["multi_match", "query_string", "simple_query_string", "combined_fields"]),
        objects(query=VALUES, fields=st.lists(FIELDS, min_size=1, max_size=3), default_field=FIELDS, analyzer=VALUES),
    ),
    one(st.just("ids"), one(st.just("values"), st.lists(VALUES, max_size=3))),
    one(
        st.just("script"),
        one(st.just("script"), objects(source=VALUES, params=st.dictionaries(NAMES, SCALARS, max_size=3))),
    ),
    one(st.just("geo_distance"), one(FIELDS, objects(lat=VALUES, lon=VALUES))),
    one(st.just("more_like_this"), objects(fields=st.lists(FIELDS, max_size=2), like=st.lists(VALUES, max_size=2))),
    one(st.just("percolate"), objects(field=FIELDS, document=st.dictionaries(SECRET_TEXTS, SCALARS, max_size=3))),
    one(
        st.just("sparse_vector"), objects(field=FIELDS, query_vector=st.dictionaries(SECRET_TEXTS, VALUES, max_size=3))
    ),
    one(st.just("geo_shape"), one(FIELDS, objects(coordinates=st.lists(st.lists(VALUES, min_size=1), min_size=1)))),
    one(st.just("match_all"), st.just({})),
)


def compounds(query: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.one_of(query, st.lists(query, max_size=3))
    return st.one_of(
        one(st.just("bool"), objects(must=several, filter=several, should=several, must_not=several, boost=VALUES)),
        one(st.just("constant_score"), objects(filter=query, boost=VALUES)),
        one(st.just("dis_max"), objects(queries=st.lists(query, max_size=3), tie_breaker=VALUES)),
        one(st.just("nested"), objects(path=FIELDS, query=query, score_mode=VALUES)),
        one(st.just("boosting"), objects(positive=query, negative=query)),
        one(
            st.just("function_score"),
            objects(query=query, functions=st.lists(objects(filter=query, weight=VALUES), max_size=2)),
        ),
    )


QUERIES = st.recursive(LEAVES, compounds, max_leaves=8)


def aggregation_tree(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(
        NAMES,
        st.one_of(
            objects(terms=objects(field=FIELDS, size=VALUES, include=VALUES), aggs=inner),
            objects(date_histogram=objects(field=FIELDS, fixed_interval=VALUES), aggregations=inner),
            objects(filter=QUERIES, aggs=inner),
            objects(filters=objects(filters=st.dictionaries(NAMES, QUERIES, max_size=2))),
            objects(nested=objects(path=FIELDS), aggs=inner),
            objects(
                composite=objects(
                    sources=st.lists(one(NAMES, objects(terms=objects(field=FIELDS))), max_size=2),
                    after=one(NAMES, VALUES),
                )
            ),
            objects(top_hits=objects(size=VALUES, sort=st.lists(one(FIELDS, objects(order=VALUES)), max_size=2))),
        ),
        max_size=3,
    )


AGGREGATIONS = st.recursive(st.just({}), aggregation_tree, max_leaves=4)
KNN = objects(field=FIELDS, query_vector=st.lists(VALUES, max_size=40), k=VALUES, filter=QUERIES)
BODIES = objects(
    query=QUERIES,
    post_filter=QUERIES,
    aggs=AGGREGATIONS,
    aggregations=AGGREGATIONS,
    sort=st.one_of(FIELDS, st.lists(st.one_of(FIELDS, one(FIELDS, objects(order=VALUES, missing=VALUES))), max_size=3)),
    knn=st.one_of(KNN, st.lists(KNN, max_size=2)),
    retriever=one(
        st.sampled_from(["standard", "knn"]), objects(query=QUERIES, field=FIELDS, query_vector=st.lists(VALUES))
    ),
    suggest=objects(text=VALUES, s=objects(text=VALUES, term=objects(field=FIELDS))),
    search_after=st.lists(VALUES, max_size=2),
    pit=objects(id=VALUES, keep_alive=VALUES),
    size=VALUES,
    params=st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=3),
    runtime_mappings=one(FIELDS, objects(type=VALUES, script=objects(source=VALUES))),
    rescore=objects(query=objects(rescore_query=QUERIES), window_size=VALUES),
)
SEARCH_LINES = st.lists(st.tuples(objects(index=VALUES, routing=VALUES), BODIES), max_size=3).map(
    lambda pairs: [line for pair in pairs for line in pair]
)
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner, inner)),
)


def values_in(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [value for inner in node.values() for value in values_in(inner)]
    if isinstance(node, list | tuple):
        return [value for inner in node for value in values_in(inner)]
    return [node]


def skeleton(node: Any) -> Any:
    """The structure alone: an array of scalars is one scalar, however long."""
    if isinstance(node, dict):
        opaque = {"document", "query_vector"}
        return {
            str(key): "?" if key in opaque and isinstance(value, dict) else skeleton(value)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        if node and all(isinstance(item, list) for item in node):
            return [skeleton(node[0])]
        inner = [skeleton(item) for item in node]
        return ["?"] if inner and all(item == "?" for item in inner) else inner
    return "?"


@settings(max_examples=120, deadline=None)
@given(st.one_of(BODIES, SEARCH_LINES))
def test_no_value_survives_and_the_structure_does(body: Any) -> None:
    text, depth = sanitize(body, limit=1_000_000)
    assert MARK not in text
    for value in values_in(body):
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert str(value) not in text
    assert skeleton(json.loads(text)) == skeleton(body)
    assert depth >= 0


@settings(max_examples=80, deadline=None)
@given(st.one_of(BODIES, SEARCH_LINES))
def test_the_quick_and_the_careful_way_write_the_same(body: Any) -> None:
    class Mapping(dict[str, Any]):
        """Not a plain dict: it takes the careful way."""

    careful = Mapping(body) if isinstance(body, dict) else body
    assert sanitize(careful, limit=1_000_000) == sanitize(body, limit=1_000_000)


@settings(max_examples=120, deadline=None)
@given(ANY_JSON, st.sampled_from([100, 500, MAX_LENGTH]))
def test_any_body_gives_bounded_json_and_never_raises(body: Any, limit: int) -> None:
    text, _ = sanitize(body, limit=limit)
    json.loads(text)
    assert len(text) <= limit
    shape = shape_of(body, {})
    assert shape.type in QUERY_TYPES | {"match_all", "knn", "suggest", "other"} | {"standard", "rrf", "linear"} | {
        "pinned",
        "rescorer",
        "rule",
        "text_similarity_reranker",
    }


def other_values(node: Any) -> Any:
    """The same request for something else: other values, and longer arrays of them."""
    if isinstance(node, dict):
        return {key: other_values(value) for key, value in node.items()}
    if isinstance(node, list):
        inner = [other_values(item) for item in node]
        return inner * 3 if inner and all(item == "something else" for item in inner) else inner
    return node if isinstance(node, str) and MARK not in node else "something else"


@settings(max_examples=100, deadline=None)
@given(BODIES)
def test_the_same_request_for_something_else_has_the_same_text(body: Any) -> None:
    text, _ = sanitize(body)
    other, _ = sanitize(other_values(body))
    assert text == other
    assert query_hash(text) == query_hash(other)


LITERAL_TEXT = st.text(max_size=12).map(lambda text: f"{text}{MARK}{text}")
WORDS = st.sampled_from(["FROM products", "| WHERE mail ==", "AND", "| EVAL x =", "| KEEP a.b", "(", ")", ","])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


PIPED_LITERALS = st.one_of(
    LITERAL_TEXT.map(quoted),
    LITERAL_TEXT.filter(lambda text: '"""' not in text and not text.endswith('"')).map(lambda text: f'"""{text}"""'),
    st.integers(min_value=10**9, max_value=10**12).map(str),
    LITERAL_TEXT.filter(lambda text: "\n" not in text).map(lambda text: f"// {text}\n"),
    LITERAL_TEXT.filter(lambda text: "*/" not in text and not text.endswith("*") and "/*" not in text).map(
        lambda text: f"/* {text} */"
    ),
)
SQL_LITERALS = st.one_of(
    LITERAL_TEXT.map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.floats(min_value=1e9, max_value=1e12).map(str),
    LITERAL_TEXT.filter(lambda text: "\n" not in text).map(lambda text: f"-- {text}\n"),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(WORDS, PIPED_LITERALS), max_size=12))
def test_no_literal_of_a_piped_query_survives(parts: list[str]) -> None:
    query = " ".join(parts)
    masked = mask_literals(query)
    assert MARK not in masked
    assert not any(number in masked for number in parts if number.isdigit())
    text, _ = sanitize({"query": query}, LANGUAGE_BODY)
    assert MARK not in text
    json.loads(text)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(WORDS, SQL_LITERALS), max_size=12))
def test_no_literal_of_an_sql_query_survives(parts: list[str]) -> None:
    query = " ".join(parts)
    assert MARK not in mask_literals(query, sql=True)
    assert MARK not in sanitize({"query": query}, SQL_BODY)[0]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(WORDS, PIPED_LITERALS), max_size=12), st.integers(min_value=0, max_value=200))
def test_a_query_that_is_cut_anywhere_leaks_nothing(parts: list[str], length: int) -> None:
    assert MARK not in mask_literals(" ".join(parts)[:length])
