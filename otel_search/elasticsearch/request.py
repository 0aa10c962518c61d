"""What a request asks for: the text of its query, without values, and its shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import orjson

from otel_search import semconv
from otel_search.query import (
    BODY,
    LANGUAGE_BODY,
    MAX_LENGTH,
    SQL_BODY,
    Position,
    query_hash,
    query_type,
    sanitize,
    shape_of,
    target_of,
)

QUERY_BODIES: dict[str, Position] = (
    dict.fromkeys(
        (
            "async_search.submit",
            "count",
            "delete_by_query",
            "explain",
            "field_caps",
            "fleet.msearch",
            "fleet.search",
            "graph.explore",
            "indices.validate_query",
            "knn_search",
            "msearch",
            "msearch_template",
            "open_point_in_time",
            "rank_eval",
            "reindex",
            "render_search_template",
            "rollup.rollup_search",
            "search",
            "search_application.search",
            "search_mvt",
            "search_template",
            "terms_enum",
            "update_by_query",
        ),
        BODY,
    )
    | dict.fromkeys(
        ("eql.search", "esql.async_query", "esql.query"),
        LANGUAGE_BODY,
    )
    | dict.fromkeys(
        ("sql.query", "sql.translate"),
        SQL_BODY,
    )
)
"""The endpoints whose bodies are queries, and what their bodies are by the grammar. Others carry documents
and settings: their bodies are never recorded."""

# A body that is text already must be parsed first: more than this is not worth it.
_MAX_PARSED = 256 * 1024

_LANGUAGES = {
    "eql.search": "eql",
    "esql.async_query": "esql",
    "esql.query": "esql",
    "sql.query": "sql",
    "sql.translate": "sql",
}
_TEMPLATES = frozenset({"msearch_template", "render_search_template", "search_application.search", "search_template"})
_MULTIPLE = frozenset({"fleet.msearch", "msearch"})
_SHAPED = frozenset(
    {
        "async_search.submit",
        "count",
        "delete_by_query",
        "explain",
        "fleet.search",
        "indices.validate_query",
        "knn_search",
        "reindex",
        "rollup.rollup_search",
        "search",
        "search_mvt",
        "update_by_query",
    }
)
_MIXED = "mixed"


BODIES_WITH_TARGETS = frozenset({"esql.async_query", "esql.query", "reindex", "sql.query", "sql.translate"})
"""The endpoints whose targets stand in their bodies and not in their paths."""


def target_in(endpoint: str, body: Any) -> str | None:
    """What one of these endpoints reads, as far as a body of objects says it.

    Args:
        endpoint: The endpoint's name in the client's API.
        body: The request body, not serialized.
    """
    if not isinstance(body, Mapping):
        return None
    if endpoint == "reindex":
        source = body.get("source")
        found = source.get("index") if isinstance(source, Mapping) else None
        if isinstance(found, list | tuple):
            found = ",".join(map(str, found))
    else:
        query = body.get("query")
        found = target_of(query, sql=endpoint.startswith("sql.")) if isinstance(query, str) else None
    return found if isinstance(found, str) and found else None


def type_of(endpoint: str, body: Any, parameters: Mapping[str, str]) -> str | None:
    """The type of the query, as metrics have it.

    Args:
        endpoint: The endpoint's name in the client's API.
        body: The decoded request body.
        parameters: The parameters of the URL.

    Returns:
        The primary clause, the query language, `template`, `scroll`; `mixed` for searches of different types in
        one request; `None` for what is no query.
    """
    if endpoint in _SHAPED:
        return query_type(_search_in(endpoint, body), parameters)
    if endpoint in _LANGUAGES:
        return _LANGUAGES[endpoint]
    if endpoint in _MULTIPLE:
        types = {query_type(search, {}) for search in _searches_in(body)}
        return types.pop() if len(types) == 1 else _MIXED if types else None
    if endpoint in _TEMPLATES:
        return "template"
    return "scroll" if endpoint == "scroll" else None


def describe(endpoint: str, body: Any, parameters: Mapping[str, str], found: dict[str, Any], *, text: str) -> None:
    """Add what a request asks for to the attributes in `found`.

    Args:
        endpoint: The endpoint's name in the client's API.
        body: The request body, decoded.
        parameters: The parameters of the URL.
        found: Attributes under their schema names.
        text: `sanitized`, `raw` or `off`: the query text that the user wants.
    """
    if endpoint in _SHAPED:
        shape = shape_of(_search_in(endpoint, body), parameters)
        found[semconv.QUERY_TYPE] = shape.type
        found[semconv.QUERY_FILTERED] = shape.filtered
        found[semconv.QUERY_AGGREGATED] = shape.aggregated
        found[semconv.QUERY_SORTED] = shape.sorted
        if shape.size is not None:
            found[semconv.QUERY_SIZE] = shape.size
        if shape.offset is not None:
            found[semconv.QUERY_FROM] = shape.offset
        if shape.paging is not None:
            found[semconv.QUERY_PAGING] = shape.paging
    else:
        kind = type_of(endpoint, body, parameters)
        if kind is not None:
            found[semconv.QUERY_TYPE] = kind
    position = QUERY_BODIES.get(endpoint)
    if not body and "q" in parameters and endpoint in _SHAPED:
        body = _as_body(parameters)
    if text == "off" or position is None or body is None:
        return
    sanitized, depth = sanitize(body, position)
    if depth:
        found[semconv.QUERY_DEPTH] = depth
    found[semconv.QUERY_HASH] = query_hash(sanitized)
    found[semconv.DB_QUERY_TEXT] = sanitized if text == "sanitized" else raw_text(body)


def _as_body(parameters: Mapping[str, str]) -> dict[str, Any]:
    """A search by `q=` as the body that means the same, so that its shape has a text and a hash, too."""
    query = {"query": unquote_plus(parameters["q"])}
    if "df" in parameters:
        query["default_field"] = unquote_plus(parameters["df"])
    body: dict[str, Any] = {"query": {"query_string": query}}
    if "sort" in parameters:
        body["sort"] = unquote_plus(parameters["sort"]).split(",")
    return body


def _search_in(endpoint: str, body: Any) -> Any:
    return body.get("source") if endpoint == "reindex" and isinstance(body, Mapping) else body


def _searches_in(body: Any) -> list[Any]:
    """The searches of a multi-search: every second line, after its header."""
    return body[1::2] if isinstance(body, list) else []


def decoded(body: Any) -> Any:
    """The body as objects: parsed if it is text, as it is if it is objects, `None` if it cannot be read."""
    if isinstance(body, str | bytes | bytearray):
        if len(body) > _MAX_PARSED:
            return None
        try:
            return _parsed(body)
        except ValueError:
            return _lines(body)
    if isinstance(body, list | tuple):
        return [decoded(line) if isinstance(line, str | bytes) else line for line in body[:64]]
    return body if isinstance(body, Mapping) or hasattr(body, "to_dict") else None


def _parsed(text: str | bytes | bytearray) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # which knows NaN, and lone surrogates


def _lines(body: str | bytes | bytearray) -> list[Any] | None:
    text = body if isinstance(body, str) else bytes(body).decode("utf-8", "replace")
    try:
        return [_parsed(line) for line in text.split("\n", 64)[:64] if line.strip()]
    except ValueError:
        return None


def raw_text(body: Any) -> str:
    """The query as it is, cut to the same length as a sanitized one."""
    text = json.dumps(
        body, ensure_ascii=False, default=lambda value: value.to_dict() if hasattr(value, "to_dict") else str(value)
    )
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"
