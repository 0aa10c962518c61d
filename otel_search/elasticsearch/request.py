"""What an Elasticsearch request says about itself: operation, target, address, query text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from otel_search.query import BODY, LANGUAGE_BODY, MAX_LENGTH, sanitize
from otel_search.redaction import REDACTED

QUERY_BODIES = dict.fromkeys(
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
) | dict.fromkeys(
    ("eql.search", "esql.async_query", "esql.query", "sql.query", "sql.translate"),
    LANGUAGE_BODY,
)
"""The endpoints whose bodies are queries, and what their bodies are by the grammar. Others carry documents
and settings: their bodies are never recorded."""

# A body that is text already must be parsed first: more than this is not worth it.
_MAX_PARSED = 256 * 1024

# Parameters that are the caller's choice of behaviour and not data; the values of all others go.
_PLAIN_PARAMETERS = frozenset(
    {
        "allow_no_indices",
        "allow_partial_search_results",
        "batched_reduce_size",
        "ccs_minimize_roundtrips",
        "conflicts",
        "error_trace",
        "expand_wildcards",
        "filter_path",
        "flat_settings",
        "format",
        "from",
        "human",
        "ignore_unavailable",
        "include_type_name",
        "keep_alive",
        "keep_on_completion",
        "level",
        "local",
        "master_timeout",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "max_docs",
        "op_type",
        "pre_filter_shard_size",
        "pretty",
        "realtime",
        "refresh",
        "request_cache",
        "requests_per_second",
        "rest_total_hits_as_int",
        "retry_on_conflict",
        "scroll",
        "scroll_size",
        "search_timeout",
        "search_type",
        "seq_no_primary_term",
        "size",
        "slices",
        "terminate_after",
        "timeout",
        "track_scores",
        "track_total_hits",
        "typed_keys",
        "v",
        "version_type",
        "wait_for_active_shards",
        "wait_for_completion",
        "wait_for_completion_timeout",
        "wait_for_no_initializing_shards",
        "wait_for_no_relocating_shards",
        "wait_for_nodes",
        "wait_for_status",
    }
)


def query_text(endpoint: str, body: Any, *, raw: bool) -> str | None:
    """The value of `db.query.text`.

    Args:
        endpoint: The endpoint's name in the client's API.
        body: The request body as the client hands it to its transport; an iterator is left alone.
        raw: Whether the user asked for the query as it is.

    Returns:
        The text, or `None` when the endpoint carries no query or the body cannot be read without side effects.
    """
    position = QUERY_BODIES.get(endpoint)
    if position is None or body is None:
        return None
    if raw:
        return _raw(body)
    body = decoded(body)
    return None if body is None else sanitize(body, position)[0]


def decoded(body: Any) -> Any:
    """The body as objects: parsed if it is text, as it is if it is objects, `None` if it cannot be read."""
    if isinstance(body, str | bytes | bytearray):
        if len(body) > _MAX_PARSED:
            return None
        try:
            return json.loads(body)
        except ValueError:
            return _lines(body)
    if isinstance(body, list | tuple):
        return [decoded(line) if isinstance(line, str | bytes) else line for line in body[:64]]
    return body if isinstance(body, Mapping) or hasattr(body, "to_dict") else None


def _lines(body: str | bytes | bytearray) -> list[Any] | None:
    text = body if isinstance(body, str) else bytes(body).decode("utf-8", "replace")
    try:
        return [json.loads(line) for line in text.split("\n", 64)[:64] if line.strip()]
    except ValueError:
        return None


def _raw(body: Any) -> str | None:
    if isinstance(body, bytes | bytearray):
        text = bytes(body[: 4 * MAX_LENGTH]).decode("utf-8", "replace")
    elif isinstance(body, str):
        text = body
    elif isinstance(body, Mapping | list | tuple):
        text = json.dumps(
            body, ensure_ascii=False, default=lambda value: value.to_dict() if hasattr(value, "to_dict") else str(value)
        )
    else:
        return None
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def templated_url(base_url: str, target: str, parts: Mapping[str, str]) -> str:
    """The value of `url.full`: the address with document ids and the values of parameters left out.

    Args:
        base_url: Scheme, host, port and prefix of the node.
        target: Path and query, as the transport sends them.
        parts: Values of the path's parts by name; all but `index` appear as `{name}`.
    """
    path, _, query = target.partition("?")
    values = {value: name for name, value in parts.items() if name != "index"}
    if values:
        path = "/".join(f"{{{values[segment]}}}" if segment in values else segment for segment in path.split("/"))
    if "@" in base_url:
        scheme, _, rest = base_url.partition("://")
        base_url = f"{scheme}://{rest.rpartition('@')[2]}"
    if not query:
        return base_url + path
    return f"{base_url}{path}?" + "&".join(_parameter(pair) for pair in query.split("&"))


def _parameter(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return pair if name in _PLAIN_PARAMETERS or not equals else f"{name}={REDACTED}"
