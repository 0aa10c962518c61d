"""Which endpoint's reply is read in which way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_search.elasticsearch.batch_replies import read_bulk, read_by_query, read_mget, read_msearch
from otel_search.elasticsearch.facts import HITS, Facts, read_shards
from otel_search.elasticsearch.search_replies import (
    read_async_search,
    read_eql,
    read_search,
    read_table,
    read_text_table,
)


def read(operation: str, body: Any) -> Facts:
    """The facts in the decoded `body` of a successful reply to `operation`."""
    facts = Facts()
    if type(body) is dict:
        _READERS.get(operation, _read_other)(body, facts)
    elif operation in _TABLES and isinstance(body, str):
        read_text_table(body, facts)
    elif operation in _TABLES and isinstance(body, bytes) and body:
        facts.outcome = HITS  # Arrow or CBOR, which is not ours to decode
    return facts


def _read_other(body: dict[str, Any], facts: Facts) -> None:
    """Writes whose replicas failed, and broadcasts to all shards."""
    if "_shards" in body:
        read_shards(body, facts)


_READERS: dict[str, Callable[[dict[str, Any], Facts], None]] = {
    "async_search.get": read_async_search,
    "async_search.submit": read_async_search,
    "bulk": read_bulk,
    "delete_by_query": read_by_query,
    "eql.get": read_eql,
    "eql.search": read_eql,
    "esql.async_query": read_table,
    "esql.async_query_get": read_table,
    "esql.query": read_table,
    "fleet.msearch": read_msearch,
    "fleet.search": read_search,
    "knn_search": read_search,
    "mget": read_mget,
    "monitoring.bulk": read_bulk,
    "msearch": read_msearch,
    "msearch_template": read_msearch,
    "reindex": read_by_query,
    "rollup.rollup_search": read_search,
    "scroll": read_search,
    "search": read_search,
    "search_application.search": read_search,
    "search_template": read_search,
    "sql.query": read_table,
    "update_by_query": read_by_query,
}

_TABLES = frozenset({"esql.async_query", "esql.query", "sql.query"})

SEARCHES = frozenset(
    {
        "async_search.submit",
        "eql.search",
        "esql.async_query",
        "esql.query",
        "fleet.msearch",
        "fleet.search",
        "knn_search",
        "msearch",
        "msearch_template",
        "rollup.rollup_search",
        "search",
        "search_application.search",
        "search_template",
        "sql.query",
    }
)
"""The endpoints that count as searches. Pages of a scroll belong to the search that opened it; `count` finds nothing."""
