"""What the path of an Elasticsearch request says, where the client does not name its endpoint.

That is so in `client.perform_request(method, path)`.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote


class Endpoint(NamedTuple):
    """An endpoint with the parts of its path, named as in the client's own API."""

    operation: str
    parts: dict[str, str]


# Operations on documents: the segment after the index, then by HTTP method.
_DOCUMENT = {
    "_doc": {"GET": "get", "HEAD": "exists", "DELETE": "delete", "PUT": "index", "POST": "index"},
    "_source": {"GET": "get_source", "HEAD": "exists_source"},
    "_create": {"PUT": "create", "POST": "create"},
    "_update": {"POST": "update"},
    "_explain": {"GET": "explain", "POST": "explain"},
    "_termvectors": {"GET": "termvectors", "POST": "termvectors"},
}

# Everything else by its first one or two words; a mapping chooses by HTTP method.
_WORDS: dict[str, str | dict[str, str]] = {
    "_alias": {"GET": "indices.get_alias", "HEAD": "indices.exists_alias", "PUT": "indices.put_alias", "DELETE": "indices.delete_alias"},
    "_aliases": {"POST": "indices.update_aliases", "GET": "indices.get_alias"},
    "_analyze": "indices.analyze",
    "_async_search": {"POST": "async_search.submit", "GET": "async_search.get", "DELETE": "async_search.delete"},
    "_bulk": "bulk",
    "_cache/clear": "indices.clear_cache",
    "_close": "indices.close",
    "_cluster/health": "cluster.health",
    "_cluster/settings": {"GET": "cluster.get_settings", "PUT": "cluster.put_settings"},
    "_cluster/state": "cluster.state",
    "_cluster/stats": "cluster.stats",
    "_count": "count",
    "_data_stream": {"GET": "indices.get_data_stream", "PUT": "indices.create_data_stream", "DELETE": "indices.delete_data_stream"},
    "_delete_by_query": "delete_by_query",
    "_eql/search": {"POST": "eql.search", "GET": "eql.get", "DELETE": "eql.delete"},
    "_field_caps": "field_caps",
    "_flush": "indices.flush",
    "_forcemerge": "indices.forcemerge",
    "_index_template": {"GET": "indices.get_index_template", "PUT": "indices.put_index_template", "HEAD": "indices.exists_index_template", "DELETE": "indices.delete_index_template"},
    "_ingest/pipeline": {"GET": "ingest.get_pipeline", "PUT": "ingest.put_pipeline", "DELETE": "ingest.delete_pipeline"},
    "_mapping": {"GET": "indices.get_mapping", "PUT": "indices.put_mapping", "POST": "indices.put_mapping"},
    "_mget": "mget",
    "_msearch": "msearch",
    "_msearch/template": "msearch_template",
    "_mtermvectors": "mtermvectors",
    "_knn_search": "knn_search",
    "_nodes": "nodes.info",
    "_nodes/stats": "nodes.stats",
    "_open": "indices.open",
    "_pit": {"POST": "open_point_in_time", "DELETE": "close_point_in_time"},
    "_query": "esql.query",
    "_query/async": {"POST": "esql.async_query", "GET": "esql.async_query_get", "DELETE": "esql.async_query_delete"},
    "_rank_eval": "rank_eval",
    "_refresh": "indices.refresh",
    "_reindex": "reindex",
    "_render/template": "render_search_template",
    "_rollover": "indices.rollover",
    "_search": "search",
    "_search/point_in_time": {"POST": "open_point_in_time", "DELETE": "close_point_in_time"},
    "_search/scroll": {"POST": "scroll", "GET": "scroll", "DELETE": "clear_scroll"},
    "_search/template": "search_template",
    "_settings": {"GET": "indices.get_settings", "PUT": "indices.put_settings"},
    "_sql": "sql.query",
    "_sql/async": {"GET": "sql.get_async", "DELETE": "sql.delete_async"},
    "_sql/close": "sql.clear_cursor",
    "_sql/translate": "sql.translate",
    "_stats": "indices.stats",
    "_tasks": {"GET": "tasks.list", "POST": "tasks.cancel"},
    "_template": {"GET": "indices.get_template", "PUT": "indices.put_template", "HEAD": "indices.exists_template", "DELETE": "indices.delete_template"},
    "_terms_enum": "terms_enum",
    "_update_by_query": "update_by_query",
    "_validate/query": "indices.validate_query",
}  # fmt: skip

_INDEX = {"GET": "indices.get", "HEAD": "indices.exists", "PUT": "indices.create", "DELETE": "indices.delete"}


def endpoint_of(method: str, target: str) -> Endpoint:
    """The endpoint behind a request line.

    Args:
        method: The HTTP method.
        target: Path and query, as the transport sends them.

    Returns:
        The operation, and the values of the path's parts by name: `index`, `id`, and `part1`, `part2` for what
        this table does not know. An unknown path's operation is the HTTP method.
    """
    segments = [segment for segment in target.partition("?")[0].split("/") if segment]
    if not segments:
        return Endpoint("ping" if method == "HEAD" else "info" if method == "GET" else method, {})
    parts: dict[str, str] = {}
    if not segments[0].startswith("_") or segments[0] == "_all":
        parts["index"] = unquote(segments.pop(0))
        if not segments:
            return Endpoint(_INDEX.get(method, method), parts)
    if segments[0] in _DOCUMENT:
        operation = _DOCUMENT[segments[0]].get(method, method)
        rest = segments[1:]
        if rest:
            parts["id"] = rest[0]
        return Endpoint(operation, parts | _unnamed(rest[1:]))
    for words in (2, 1):
        found = _WORDS.get("/".join(segments[:words])) if len(segments) >= words else None
        if found is not None:
            operation = found if isinstance(found, str) else found.get(method, method)
            return Endpoint(operation, parts | _unnamed(segments[words:]))
    if segments[0] == "_cat" and len(segments) > 1 and segments[1].isalpha():
        return Endpoint(f"cat.{segments[1][:32]}", parts | _unnamed(segments[2:]))
    return Endpoint(method, parts | _unnamed(segments))


def _unnamed(segments: list[str]) -> dict[str, str]:
    """Segments that may be values: all but the API's own words, which begin with an underscore."""
    return {f"part{number}": segment for number, segment in enumerate(segments, 1) if not segment.startswith("_")}
